"""Files that are mapped into memory, whose pages are released once they are read."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from typing import final

import numpy as np

from expkit.kinds.sources.on_disk import DiskArray, aligned_empty, file_state

__all__ = ["MappedArray", "advise", "pieces"]

PIECE_EXAMPLES = 64
PIECE_BYTES = 1 << 25
"""Amount of a file that is read before its pages are released: this number of examples, or this span of bytes.

One example may map 2 MB around it, where the system keeps the file in large pages."""
COPIED_ALONE = 1 << 12
"""Size of an example from which on it is copied by a call of its own."""


@final
class MappedArray(DiskArray):
    """A memory-mapped array; pages are released once they are read, so that it takes no memory of the process."""

    def __init__(self, array: np.memmap) -> None:
        self._array = np.asarray(array)
        self._file: str | None = None if array.filename is None else os.fspath(array.filename)
        self._map: mmap.mmap = array._mmap  # type: ignore[attr-defined]  # not in NumPy's stubs
        self._start = array.offset % mmap.ALLOCATIONGRANULARITY
        self._map.madvise(mmap.MADV_RANDOM)  # otherwise every example would load 128 kB around it

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values, in the byte order of this machine."""
        return self._array.dtype.newbyteorder("=")

    def identity(self) -> bytes | None:
        """Return a digest of the file's name, size and time of change, and of the place of the values in it."""
        if self._file is None:
            return None
        whole = np.frombuffer(self._map, np.uint8)
        layout = self._array.ctypes.data - whole.ctypes.data, self._array.strides, self.shape, self._array.dtype.str
        return hashlib.sha256(f"{layout} {file_state(self._file)}".encode("utf-8", "surrogateescape")).digest()

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return examples, read in the order of the file."""
        values = aligned_empty((len(indices), *self.shape[1:]), self.dtype)
        order = np.argsort(indices, kind="stable")
        example = self._array.nbytes // max(1, len(self))
        for piece in pieces(indices[order] * example):
            positions = order[piece]
            rows = indices[positions]
            start, end = self._start + int(rows[0]) * example, self._start + (int(rows[-1]) + 1) * example
            if 2 * (end - start) <= 3 * len(rows) * example:  # most of the span is needed: request it at once
                advise(self._map, mmap.MADV_WILLNEED, start, end)
            if example < COPIED_ALONE:
                values[positions] = self._array[rows]
            else:  # Without an array of the whole piece between file and result.
                for position, row in zip(positions.tolist(), rows.tolist(), strict=True):
                    values[position] = self._array[row]
            advise(self._map, mmap.MADV_DONTNEED, start, end)
        return values

    def span(self, start: int, end: int) -> np.ndarray:
        """Return consecutive examples where they are mapped, without copying them; they are read-only."""
        rows = self._array[start:end]
        if not (rows.size and rows.flags.c_contiguous and rows.dtype.isnative):
            return self.take(np.arange(start, end))
        rows.flags.writeable = False
        first = self._start + start * (rows.nbytes // len(rows))
        advise(self._map, mmap.MADV_WILLNEED, first, first + rows.nbytes)
        return np.asarray(_Mapped(rows, self._map, first))


@final
class _Mapped:
    """Mapped examples; the pages are released with the last array that shows them."""

    def __init__(self, rows: np.ndarray, mapped: mmap.mmap, start: int) -> None:
        self.__array_interface__ = rows.__array_interface__
        self._rows = rows
        self._map = mapped
        self._start = start

    def __del__(self) -> None:
        advise(self._map, mmap.MADV_DONTNEED, self._start, self._start + self._rows.nbytes)


def pieces(starts: np.ndarray) -> Iterator[slice]:
    """Yield slices of examples to read before pages are released, given their ascending offsets in bytes."""
    first = 0
    while first < len(starts):
        near = int(np.searchsorted(starts, starts[first] + PIECE_BYTES, side="right"))
        after = max(first + PIECE_EXAMPLES, near)
        yield slice(first, after)
        first = after


def advise(mapped: mmap.mmap, advice: int, start: int, end: int) -> None:
    """Advise the system about the pages that hold a span of a mapped file.

    ``MADV_DONTNEED`` releases them: the process holds them no longer, the system as long as there is room.
    """
    start = start // mmap.PAGESIZE * mmap.PAGESIZE
    mapped.madvise(advice, start, max(end, start + 1) - start)
