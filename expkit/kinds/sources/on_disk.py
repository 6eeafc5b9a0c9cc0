"""Arrays on disk, whose examples are read on demand."""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from types import EllipsisType
from typing import final

import numpy as np

__all__ = [
    "Array",
    "DiskArray",
    "Selection",
    "aligned_empty",
    "examples_at",
    "file_state",
    "hash_values",
    "identity_of",
    "name_of",
    "rows_of",
    "scan",
]

CHUNK_VALUES = 1 << 22
"""Number of values that a pass over an array holds at once."""
CHUNK_BYTES = 1 << 25
"""Size of the strings that a pass over an array holds at once."""
HASHED_STRINGS = 4096
"""Strings that are added to a digest at once, which is several times as fast as one by one."""
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

    def span(self, start: int, end: int) -> np.ndarray:
        """Return consecutive examples, which may be read-only."""
        return self.take(np.arange(start, end))

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
        if not isinstance(chosen, slice):
            return self.take(np.asarray(chosen))
        start, end, step = chosen.indices(len(self))
        return self.span(start, max(start, end)) if step == 1 else self.take(np.arange(start, end, step))


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

    def span(self, start: int, end: int) -> np.ndarray:
        """Return consecutive examples of the selection."""
        if isinstance(self._chosen, range):
            return self._whole.span(self._chosen.start + start, self._chosen.start + end)
        return self.take(np.arange(start, end))

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


def file_state(path: str, state: os.stat_result | None = None) -> str:
    """Return text that differs where a file is another or has changed, if its state is not given as it is now."""
    found = os.stat(path) if state is None else state
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {path}"


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
    for start in range(0, values.size, HASHED_STRINGS):
        strings = values.reshape(-1)[start : start + HASHED_STRINGS].tolist()
        lengths = [len(value) for value in strings]
        heads = {length: length.to_bytes(8, "little") for length in set(lengths)}
        digest.update(b"".join(chain.from_iterable(zip((heads[length] for length in lengths), strings, strict=True))))


def scan(array: Array) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices and values of all examples in chunks, in the order that is fastest to read."""
    order = np.arange(len(array))
    if isinstance(array, Selection):
        order = np.argsort(array.whole_indices(order), kind="stable")
    start = 0
    for end in _chunk_ends(array, order):
        chosen = order[start:end]
        yield chosen, array[chosen] if isinstance(array, Selection) else array[start:end]
        start = end


def _chunk_ends(array: Array, order: np.ndarray) -> list[int]:
    """Return the positions after the last example of each chunk, limited in values, of strings in bytes."""
    if not (isinstance(array, DiskArray) and array.dtype.hasobject):
        step = max(1, CHUNK_VALUES // max(1, math.prod(array.shape[1:])))
        return [*range(step, len(order), step), len(order)] if len(order) else []
    ends, total = [], np.cumsum(array.sizes(order))
    start, before = 0, 0
    while start < len(order):
        start = max(start + 1, int(np.searchsorted(total, before + CHUNK_BYTES, side="right")))
        before = int(total[start - 1])
        ends.append(start)
    return ends
