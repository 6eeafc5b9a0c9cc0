"""Windows of one long sequence as examples."""

from __future__ import annotations

from typing import final

import numpy as np

from expkit.config.sections.data import WindowsConfig
from expkit.errors import ConfigError, DataError, unknown
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, DiskArray

__all__ = ["windowed"]


def windowed(fields: Fields, windows: WindowsConfig, split: str) -> Fields:
    """Return windows of the fields of a split, [steps, ...], as examples [windows, length, ...], in order.

    Args:
        fields: the steps of a split.
        windows: the length of windows, and the field to predict one step ahead.
        split: name of the split, for messages.

    Raises:
        ConfigError: there is no such field to predict, or one of the label's name already.
        DataError: the split is shorter than a window.
    """
    steps, ahead = len(next(iter(fields.values()))), int(windows.field is not None)
    if windows.field is not None:
        if windows.field not in fields:
            message = unknown(f"the data has no field '{windows.field}'", windows.field, fields, label="fields")
            raise ConfigError.at("data.windows.field", message)
        if windows.label in fields:
            message = f"the data has a field '{windows.label}' already; give the next values another name"
            raise ConfigError.at("data.windows.label", message)
    count = (steps - ahead) // windows.length
    if count < 1:
        label = ", and one more for its label" if ahead else ""
        raise DataError.at(
            "data.windows.length",
            f"a window has {windows.length} steps{label}, the {split} split has {steps}; decrease it, or increase "
            f"data.split.{split}",
        )
    found = {name: _cut(array, windows.length, count, 0) for name, array in fields.items()}
    if windows.field is not None:
        found[windows.label] = _cut(fields[windows.field], windows.length, count, 1)
    return found


def _cut(array: Array, length: int, count: int, first: int) -> Array:
    if isinstance(array, DiskArray):
        return _Windows(array, length, count, first)
    return array[first : first + count * length].reshape(count, length, *array.shape[1:])


@final
class _Windows(DiskArray):
    """Windows of an array on disk; nothing is copied."""

    def __init__(self, whole: DiskArray, length: int, count: int, first: int) -> None:
        self._whole = whole
        self._length = length
        self._count = count
        self._first = first

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, windows first."""
        return (self._count, self._length, *self._whole.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values."""
        return self._whole.dtype

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the windows at indices."""
        steps = self._first + indices[:, np.newaxis] * self._length + np.arange(self._length)
        return self._whole.take(steps.ravel()).reshape(len(indices), *self.shape[1:])
