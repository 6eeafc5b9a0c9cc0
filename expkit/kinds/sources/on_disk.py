"""Arrays on disk, whose examples are read on demand."""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import EllipsisType
from typing import final

import numpy as np

__all__ = [
    "Array",
    "DiskArray",
    "MappedArray",
    "Selection",
    "advise",
    "aligned_empty",
    "examples_at",
    "file_state",
    "hash_values",
    "identity_of",
    "name_of",
    "pieces",
    "rows_of",
    "scan",
]

CHUNK_VALUES = 1 << 22
"""Number of values that a pass over an array holds at once."""
CHUNK_BYTES = 1 << 25
"""Size of the strings that a pass over an array holds at once."""
PIECE_EXAMPLES = 64
PIECE_BYTES = 1 << 25
"""Amount of a file that is read before its pages are released: this number of examples, or this span of bytes.

One example may map 2 MB around it, where the system keeps the file in large pages."""
ALIGNMENT_BYTES = 64
"""TensorFlow reads an array in place when it begins at a multiple of this; any other it copies first."""


class DiskArray(ABC):
    """An array on disk; slices of it, and examples by index, are NumPy arrays."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype:
        """Dtype of the values."""

    @abstractmethod
    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the examples at indices counted from 0, in the order of the indices."""

    def describe(self, index: int) -> str:
        """Return a name of an example, for messages."""
        return f"example {index}"

    def identity(self) -> bytes | None:
        """Return a digest that differs where the values may differ, found without reading them; ``None`` for none."""
        return None

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of all examples in memory, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what the source left out."""
        return ()

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Return the int64 sizes in bytes of the examples at indices, without reading them; strings differ in size."""
        return np.full(len(indices), self.nbytes // max(1, len(self)), np.int64)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | np.ndarray | EllipsisType) -> np.ndarray:
        if chosen is ...:
            chosen = slice(None)
        return self.take(np.arange(*chosen.indices(len(self))) if isinstance(chosen, slice) else np.asarray(chosen))


Array = np.ndarray | DiskArray
"""Examples in memory or on disk."""


@final
class Selection(DiskArray):
    """A selection of the examples of an array on disk, in its own order; nothing is copied."""

    def __init__(self, whole: DiskArray, chosen: range | np.ndarray) -> None:
        self._whole = whole
        self._chosen = chosen

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return (len(self._chosen), *self._whole.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self._whole.dtype

    @property
    def nbytes(self) -> int:
        """Size of the selection in memory, in bytes; of strings, as many times the mean size."""
        return self._whole.nbytes * len(self) // max(1, len(self._whole))

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return examples of the selection."""
        return self._whole.take(self.whole_indices(indices))

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Return the sizes in bytes of examples of the selection."""
        return self._whole.sizes(self.whole_indices(indices))

    def describe(self, index: int) -> str:
        """Return the name that the whole array has for an example."""
        return self._whole.describe(int(self.whole_indices(np.array([index]))[0]))

    def identity(self) -> bytes | None:
        """Return the whole array's, with the indices of the selection."""
        whole = self._whole.identity()
        return None if whole is None else whole + hashlib.sha256(np.asarray(self._chosen).tobytes()).digest()

    def select(self, chosen: range | np.ndarray) -> Selection:
        """Return a selection of these examples."""
        return Selection(self._whole, self.whole_indices(np.asarray(chosen)))

    def whole_indices(self, indices: np.ndarray) -> np.ndarray:
        """Return indices into the whole array for indices into the selection."""
        return indices + self._chosen.start if isinstance(self._chosen, range) else self._chosen[indices]


@final
class MappedArray(DiskArray):
    """A memory-mapped array; pages are released after every piece, so that it takes no memory of the process."""

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
            values[positions] = self._array[rows]
            advise(self._map, mmap.MADV_DONTNEED, start, end)
        return values


def file_state(path: str, state: os.stat_result | None = None) -> str:
    """Return text that differs where a file is another or has changed, if its state is not given as it is now."""
    found = os.stat(path) if state is None else state
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {path}"


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


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array of arbitrary values that TensorFlow reads without copying it."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


def examples_at(array: Array, indices: np.ndarray) -> np.ndarray:
    """Return the examples at indices, numbers in an aligned array."""
    if isinstance(array, DiskArray):
        return array.take(indices)
    if array.dtype.hasobject:
        return array.take(indices, axis=0)
    into = aligned_empty((len(indices), *array.shape[1:]), array.dtype)
    return array.take(indices, axis=0, out=into, mode="clip")  # any other mode would copy once more


def rows_of(array: Array, chosen: range | np.ndarray) -> Array:
    """Return a selection of examples: read if they are in memory, by reference if they are on disk."""
    if isinstance(array, Selection):
        return array.select(chosen)
    if isinstance(array, DiskArray):
        return Selection(array, chosen)
    return array[chosen.start : chosen.stop] if isinstance(chosen, range) else array[chosen]


def name_of(array: Array, index: int) -> str:
    """Return a name of an example, for messages."""
    return array.describe(index) if isinstance(array, DiskArray) else f"example {index}"


def identity_of(array: Array) -> bytes | None:
    """Return the identity of an array on disk; ``None`` where it has none, or is in memory."""
    return array.identity() if isinstance(array, DiskArray) else None


def hash_values(digest: hashlib._Hash, values: np.ndarray) -> None:
    """Add numbers to a digest as they are in memory, and strings each after its length."""
    if not values.dtype.hasobject:
        digest.update(np.ascontiguousarray(values).data)
        return
    for value in values.reshape(-1).tolist():
        digest.update(len(value).to_bytes(8, "little") + value)


def scan(array: Array) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices and values of all examples in chunks, in the order that is fastest to read."""
    order = np.arange(len(array))
    if isinstance(array, Selection):
        order = np.argsort(array.whole_indices(order), kind="stable")
    if not isinstance(array, DiskArray):
        step = max(1, CHUNK_VALUES // max(1, math.prod(array.shape[1:])))
        yield from ((order[start : start + step], array[start : start + step]) for start in range(0, len(array), step))
        return
    start, ends = 0, _chunk_ends(array, order)
    for end in ends:
        yield order[start:end], array.take(order[start:end])
        start = end


def _chunk_ends(array: DiskArray, order: np.ndarray) -> list[int]:
    """Return the positions after the last example of each chunk, limited in values, of strings in bytes."""
    if not array.dtype.hasobject:
        step = max(1, CHUNK_VALUES // max(1, math.prod(array.shape[1:])))
        return [*range(step, len(order), step), len(order)] if len(order) else []
    ends, total = [], np.cumsum(array.sizes(order))
    start, before = 0, 0
    while start < len(order):
        start = max(start + 1, int(np.searchsorted(total, before + CHUNK_BYTES, side="right")))
        before = int(total[start - 1])
        ends.append(start)
    return ends
