"""Random access to the records of TFRecord files, by an index of their offsets."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np

from expkit.errors import DataError, comma_list
from expkit.kinds.sources.mapped import advise, pieces
from expkit.kinds.sources.tfrecord_example import Features, parse_example
from expkit.kinds.sources.tfrecord_files import AT, CHECKSUM, checksum, mapped, record_offsets

__all__ = ["Records"]

CACHED_BYTES = 1 << 26
"""Total size up to which parsed records are cached for the next field."""


@final
class Records:
    """The records of TFRecord files, numbered in the order of the files."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Map the files and index them in one pass, checking the checksum of every length; some may hold no record.

        Raises:
            DataError: no file holds a record, or one is truncated or damaged, or is not a TFRecord file.
        """
        filled = [(file, content) for file in files if (content := mapped(file)) is not None]
        if not filled:
            raise DataError.at(AT, f"{comma_list(map(str, files), 3)}: no record; give files that hold examples")
        self.files, self._maps = [file for file, _ in filled], [content for _, content in filled]
        indices = [record_offsets(file, content) for file, content in filled]
        for content in self._maps:
            content.madvise(mmap.MADV_RANDOM)
        self._offsets = np.concatenate([offsets for offsets, _ in indices])
        self._lengths = np.concatenate([lengths for _, lengths in indices])
        self._ends = np.cumsum(self._lengths)
        self._firsts = np.cumsum([0, *(len(offsets) for offsets, _ in indices)])
        self._last: tuple[np.ndarray, list[Features]] = (np.empty(0, np.int64), [])

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def nbytes(self) -> int:
        """Size of all records, in bytes."""
        return int(self._lengths.sum())

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Return the sizes of records, in bytes."""
        return self._lengths.take(indices)

    def read(self, indices: np.ndarray) -> Iterator[tuple[int, int, Features]]:
        """Yield records in the order of the files: the position among the indices, the index, the features."""
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        yield from zip(order.tolist(), ascending.tolist(), self.examples(ascending), strict=True)

    def examples(self, indices: np.ndarray) -> Iterator[Features]:
        """Yield the features of ascending records, each after comparing its checksum.

        Those of the last call are cached if they are few, so that several fields share one reading.

        Raises:
            DataError: a record is damaged, or is not a ``tf.train.Example``.
        """
        before, features = self._last  # One assignment, one reading: threads may share it.
        if np.array_equal(before, indices):
            yield from features
            return
        cached = int(self._lengths[indices].sum()) <= CACHED_BYTES
        kept: list[Features] = []
        for piece in pieces(self._ends[indices]):
            for index in indices[piece].tolist():
                example = self._example(index)
                if cached:
                    kept.append(example)
                yield example
            self._release(indices[piece])
        if cached:
            self._last = (indices, kept)

    def location(self, index: int) -> str:
        """Return the file and the position in it of a record, for messages."""
        file = self._file(index)
        return f"record {index - int(self._firsts[file])} of {self.files[file]}"

    def _release(self, indices: np.ndarray) -> None:
        """Release mapped pages from the first to the last of these ascending records."""
        for file in range(self._file(int(indices[0])), self._file(int(indices[-1])) + 1):
            inside = indices[(indices >= self._firsts[file]) & (indices < self._firsts[file + 1])]
            if len(inside):
                start, last = int(self._offsets[inside[0]]), int(inside[-1])
                end = int(self._offsets[last] + self._lengths[last])
                advise(self._maps[file], mmap.MADV_DONTNEED, start, end)

    def _file(self, index: int) -> int:
        return int(np.searchsorted(self._firsts, index, side="right")) - 1

    def _example(self, index: int) -> Features:
        content, start = self._maps[self._file(index)], int(self._offsets[index])
        end = start + int(self._lengths[index])
        record = content[start:end]
        if checksum(record) != content[end : end + CHECKSUM]:
            raise DataError.at(
                AT, f"{self.location(index)} is damaged: the checksum of its bytes is wrong; fetch the file again"
            )
        try:
            return parse_example(record)
        except ValueError as error:
            raise DataError.at(AT, f"{self.location(index)} is not a tf.train.Example: {error}") from None
