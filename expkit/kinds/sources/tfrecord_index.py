"""Random access to the records of TFRecord files, by an index of their offsets."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import google_crc32c
import numpy as np

from expkit.errors import DataError, unknown
from expkit.kinds.sources.on_disk import DiskArray, advise, aligned_empty, pieces
from expkit.kinds.sources.tfrecord_example import parse_example

__all__ = ["RecordField", "Records"]

LENGTH, CHECKSUM = 8, 4
HEADER = LENGTH + CHECKSUM
"""Bytes before a record: its length and the checksum of the length. Behind it is the checksum of its bytes."""
SCANNED_BYTES = 1 << 28
"""Bytes that are indexed before mapped pages are released."""
CACHED_BYTES = 1 << 26
"""Total size up to which parsed records are cached for the next field."""
AT = "data.source.files"

Features = dict[str, list[bytes] | np.ndarray]


@final
class Records:
    """The records of TFRecord files, numbered in the order of the files."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Map the files and index them in one pass, checking the checksum of every length.

        Raises:
            DataError: a file is empty, compressed, truncated or damaged, or is no TFRecord file.
        """
        self.files = tuple(files)
        self._maps = [_mapped(file) for file in files]
        indices = [_index(file, content) for file, content in zip(files, self._maps, strict=True)]
        for content in self._maps:
            content.madvise(mmap.MADV_RANDOM)
        self._offsets = np.concatenate([offsets for offsets, _ in indices])
        self._lengths = np.concatenate([lengths for _, lengths in indices])
        self._ends = np.cumsum(self._lengths)
        self._firsts = np.cumsum([0, *(len(offsets) for offsets, _ in indices)])
        self._last: tuple[np.ndarray, list[Features]] = (np.empty(0, np.int64), [])

    def __len__(self) -> int:
        return len(self._offsets)

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
        if _checksum(record) != content[end : end + CHECKSUM]:
            raise DataError.at(
                AT, f"{self.location(index)} is damaged: the checksum of its bytes is wrong; fetch the file again"
            )
        try:
            return parse_example(record)
        except ValueError as error:
            raise DataError.at(AT, f"{self.location(index)} is not a tf.train.Example: {error}") from None


@final
class RecordField(DiskArray):
    """A feature of all records as an array of one shape and dtype."""

    def __init__(self, records: Records, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._records = records
        self._name = name
        self._shape = (len(records), *shape)
        self._dtype = np.dtype(dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return self._shape

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self._dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the feature of some records, read in the order of the files.

        Raises:
            DataError: a record lacks the feature, or has another number of values.
        """
        values = aligned_empty((len(indices), *self.shape[1:]), self.dtype)
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        for position, index, features in zip(order, ascending, self._records.examples(ascending), strict=True):
            values[position] = self._values(features, int(index))
        return values

    def _values(self, features: Features, index: int) -> np.ndarray:
        at = f"data.source.features.{self._name}"
        if self._name not in features:
            sentence = f"{self._records.location(index)} has no such feature"
            raise DataError.at(at, unknown(sentence, self._name, sorted(features), label="it has"))
        found = features[self._name]
        size = math.prod(self.shape[1:])
        content = None if isinstance(found, np.ndarray) else b"".join(found)
        got, needed = (len(found), size) if content is None else (len(content), size * self.dtype.itemsize)
        if got != needed:
            raise DataError.at(
                at,
                f"{self._records.location(index)} has {got} {'values' if content is None else 'bytes'}, but shape "
                f"{list(self.shape[1:])} of {self.dtype} needs {needed}; give the shape and dtype that were written "
                "(encoded images are not decoded)",
            )
        if content is not None:
            return np.frombuffer(content, self.dtype).reshape(self.shape[1:])
        written = np.asarray(found)
        with np.errstate(invalid="ignore", over="ignore"):
            values = written.astype(self.dtype)
            differ = np.flatnonzero(values.astype(written.dtype) != written)
        if len(differ) and not written.dtype.kind == self.dtype.kind == "f":  # Floats are rounded to other floats.
            value, other = written[differ[0]], "float64" if written.dtype.kind == "f" else "int64"
            sentence = f"{self._records.location(index)} has the value {value}, which {self.dtype} does not hold"
            raise DataError.at(at, f"{sentence}; give another dtype, such as {other}")
        return values.reshape(self.shape[1:])


def _mapped(file: Path) -> mmap.mmap:
    try:
        with file.open("rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataError.at(AT, f"{file} cannot be read: {error}") from None


def _index(file: Path, content: mmap.mmap) -> tuple[np.ndarray, np.ndarray]:
    """Return the offset and the length of every record."""
    if content[:2] == b"\x1f\x8b":
        raise DataError.at(AT, f"{file} is compressed, which leaves no random access; unpack it with gunzip")
    offsets: list[int] = []
    lengths: list[int] = []
    at, released, end = 0, 0, len(content)
    while at + HEADER <= end:
        length, checksum = content[at : at + LENGTH], content[at + LENGTH : at + HEADER]
        if _checksum(length) != checksum:
            problem = "is damaged" if offsets else "is no TFRecord file"
            raise DataError.at(
                AT, f"{file} {problem}: the checksum of the length at byte {at} (record {len(offsets)}) is wrong"
            )
        offsets.append(at + HEADER)
        lengths.append(int.from_bytes(length, "little"))
        at += HEADER + lengths[-1] + CHECKSUM
        if at - released > SCANNED_BYTES:
            advise(content, mmap.MADV_DONTNEED, released, min(at, end))
            released = at
    advise(content, mmap.MADV_DONTNEED, 0, end)
    if at != end:
        complete = len(lengths) - (at > end)
        raise DataError.at(
            AT,
            f"{file} is truncated: {end} bytes end within record {complete}, after {complete} complete ones; "
            "fetch it again",
        )
    return np.array(offsets, np.int64), np.array(lengths, np.int64)


def _checksum(content: bytes) -> bytes:
    """Return the CRC-32C of bytes as TFRecord files store it: rotated, and with a number added."""
    crc = int(google_crc32c.value(content))
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")
