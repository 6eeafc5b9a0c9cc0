"""The fields that a preprocessed field is split into, where the last step yields several."""

from __future__ import annotations

from typing import final

import numpy as np

from expkit.data.preprocess import FieldPreprocessing
from expkit.kinds.sources.on_disk import Array, DiskArray

__all__ = ["parts_of"]


def parts_of(item: FieldPreprocessing, kept: Array) -> dict[str, Array]:
    """Return the values that are kept by field that comes of them: views of values on disk, copies of others."""
    if isinstance(kept, DiskArray):
        names = enumerate(item.names)
        return {item.field: kept} if item.names == (item.field,) else {name: Part(kept, place) for place, name in names}
    return {name: np.ascontiguousarray(part) for name, part in item.parts(kept).items()}


@final
class Part(DiskArray):
    """One of the rows that every example of an array on disk has."""

    def __init__(self, whole: DiskArray, place: int) -> None:
        self._whole = whole
        self._place = place

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return (len(self._whole), *self._whole.shape[2:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self._whole.dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return this part of examples."""
        return np.ascontiguousarray(self._whole.take(indices)[:, self._place])

    def describe(self, index: int) -> str:
        """Return the name that the whole array has for an example."""
        return self._whole.describe(index)
