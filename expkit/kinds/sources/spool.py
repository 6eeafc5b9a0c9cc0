"""Columns that arrive in chunks: in memory while they are few, otherwise in a temporary file that is read by index."""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, final

import numpy as np

from expkit.errors import DataError
from expkit.kinds.sources.mapped import advise
from expkit.kinds.sources.on_disk import ALIGNMENT_BYTES, Array, DiskArray, aligned_empty
from expkit.kinds.sources.strings import strings
from expkit.machine import size_text

__all__ = ["Spool", "Strings", "temporary_file", "write_temporary"]

MEMORY_BYTES = 1 << 27
"""Size of all columns up to which they are in memory."""
SPARE_BYTES = 1 << 30
"""Space that is left on the disk of temporary files."""


@dataclass(frozen=True)
class Strings:
    """Byte strings, one behind the other: string i is ``data[offsets[i]:offsets[i + 1]]``."""

    offsets: np.ndarray
    data: np.ndarray
    columns: int | None = None
    """Number of strings of a row, which follow each other; ``None`` for one per row, without a dimension of its own."""

    def __len__(self) -> int:
        return (len(self.offsets) - 1) // (self.columns or 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of strings."""
        return (len(self),) if self.columns is None else (len(self), self.columns)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.offsets.nbytes + self.data.nbytes

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return some of the rows."""
        content, shape = self.data.data, (len(rows), *self.shape[1:])
        if self.columns is not None:
            rows = (rows[:, None] * self.columns + np.arange(self.columns)).reshape(-1)
        starts, ends = self.offsets[rows].tolist(), self.offsets[rows + 1].tolist()
        return strings([bytes(content[start:end]) for start, end in zip(starts, ends, strict=True)], shape)

    def all(self) -> np.ndarray:
        """Return all rows."""
        content, ends = self.data.tobytes(), self.offsets.tolist()
        return strings([content[start:end] for start, end in pairwise(ends)], self.shape)

    @classmethod
    def joined(cls, columns: list[Strings]) -> Strings:
        """Return the strings of columns as rows."""
        lists = [column.all().tolist() for column in columns]
        values = [value for row in zip(*lists, strict=True) for value in row]
        offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
        return cls(offsets, np.frombuffer(b"".join(values), np.uint8), len(columns))


Chunk = np.ndarray | Strings


def temporary_file() -> IO[bytes]:
    """Return a file in the folder of temporary files; the system removes it when it is closed or the process ends."""
    return tempfile.TemporaryFile(prefix="expkit-")


def write_temporary(file: IO[bytes], content: bytes | np.ndarray, at: str, what: str) -> None:
    """Append to a temporary file.

    Raises:
        DataError: the disk would be full.
    """
    size = content.nbytes if isinstance(content, np.ndarray) else len(content)
    folder = tempfile.gettempdir()
    try:
        free = shutil.disk_usage(folder).free
        if size + SPARE_BYTES <= free:
            file.write(np.ascontiguousarray(content).data if isinstance(content, np.ndarray) else content)
            return
        cause = f"{size_text(free)} of it are free"
    except OSError as error:
        cause = error.strerror or type(error).__name__
    raise DataError.at(
        at,
        f"{what} needs more than {size_text(max(1, file.tell()))} of temporary disk space in {folder}: {cause}; name a "
        "folder on a larger disk in the environment variable TMPDIR",
    )


@final
class Spool:
    """Collects the chunks of columns, and returns each column as an array."""

    def __init__(self, at: str, what: str) -> None:
        """Create an empty spool.

        Args:
            at: setting that messages name.
            what: subject of messages, such as the file that is read.
        """
        self._at = at
        self._what = what
        self._held: dict[str, list[Chunk]] = {}
        self._size = 0
        self._file: IO[bytes] | None = None
        self._segments: dict[str, list[_Segment]] = {}

    def append(self, chunks: Mapping[str, Chunk]) -> None:
        """Add a chunk to each column; chunks of a call have the same length, those of a column the same dtype.

        Raises:
            DataError: the disk of temporary files would be full.
        """
        for name, chunk in chunks.items():
            if self._file is not None:
                self._write(name, chunk)
            else:
                self._held.setdefault(name, []).append(chunk)
                self._size += chunk.nbytes
        if self._file is None and self._size > MEMORY_BYTES:
            self._file = temporary_file()
            for name, held in self._held.items():
                for chunk in held:
                    self._write(name, chunk)
            self._held.clear()

    def arrays(self) -> dict[str, Array]:
        """Return the columns; there is at least one chunk of each."""
        if self._file is None:
            return {name: _joined(chunks) for name, chunks in self._held.items()}
        self._file.flush()
        with self._file:
            content = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        content.madvise(mmap.MADV_RANDOM)
        return {name: SpooledColumn(content, segments) for name, segments in self._segments.items()}

    def _write(self, name: str, chunk: Chunk) -> None:
        assert self._file is not None
        starts = []
        for part in (chunk.offsets, chunk.data) if isinstance(chunk, Strings) else (chunk,):
            write_temporary(self._file, bytes(-self._file.tell() % ALIGNMENT_BYTES), self._at, self._what)
            starts.append(self._file.tell())
            write_temporary(self._file, part, self._at, self._what)
        dtype = np.dtype(object) if isinstance(chunk, Strings) else chunk.dtype
        segment = _Segment(starts=tuple(starts), end=self._file.tell(), shape=chunk.shape, dtype=dtype)
        self._segments.setdefault(name, []).append(segment)


def _joined(chunks: list[Chunk]) -> np.ndarray:
    return np.concatenate([chunk.all() if isinstance(chunk, Strings) else chunk for chunk in chunks])


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """A chunk in the file."""

    starts: tuple[int, ...]
    """Offset of the numbers; of strings that of their offsets and that of their bytes."""
    end: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, content: mmap.mmap, rows: np.ndarray) -> np.ndarray:
        """Return some rows."""
        if not self.dtype.hasobject:
            count = math.prod(self.shape)
            return np.frombuffer(content, self.dtype, count, self.starts[0]).reshape(self.shape).take(rows, axis=0)
        offsets = self.offsets(content)
        data = np.frombuffer(content, np.uint8, int(offsets[-1]), self.starts[1]) if offsets[-1] else offsets[:0]
        return Strings(offsets, data, *self.shape[1:]).take(rows)

    def offsets(self, content: mmap.mmap) -> np.ndarray:
        """Return where the strings begin in their bytes, and where the last one ends."""
        return np.frombuffer(content, np.int64, math.prod(self.shape) + 1, self.starts[0])


@final
class SpooledColumn(DiskArray):
    """A column in a temporary file; pages are released after reading, so that it takes no memory of the process."""

    def __init__(self, content: mmap.mmap, segments: list[_Segment]) -> None:
        self._mapped = content
        self._segments = segments
        self._firsts = np.cumsum([0, *(segment.shape[0] for segment in segments)])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return (int(self._firsts[-1]), *self._segments[0].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self._segments[0].dtype

    @property
    def nbytes(self) -> int:
        """Size of all examples, in bytes."""
        return sum(segment.end - segment.starts[-1] for segment in self._segments)

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Return the sizes in bytes of the examples at indices."""
        if not self.dtype.hasobject:
            return super().sizes(indices)
        ends = [segment.offsets(self._mapped)[:: math.prod(segment.shape[1:])] for segment in self._segments]
        return np.concatenate([np.diff(offsets) for offsets in ends]).take(indices)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the examples at indices, read in the order of the file."""
        shape = (len(indices), *self.shape[1:])
        values = np.empty(shape, object) if self.dtype.hasobject else aligned_empty(shape, self.dtype)
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        for number in np.unique(np.searchsorted(self._firsts, ascending, side="right") - 1).tolist():
            start, end = np.searchsorted(ascending, self._firsts[number : number + 2])
            segment = self._segments[number]
            values[order[start:end]] = segment.read(self._mapped, ascending[start:end] - self._firsts[number])
            advise(self._mapped, mmap.MADV_DONTNEED, segment.starts[0], segment.end)
        return values
