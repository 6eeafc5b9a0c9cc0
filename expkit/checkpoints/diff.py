"""Differences between two sources of variables, in names, shapes, dtypes or values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from expkit.checkpoints.formats.source import VariableSource

__all__ = ["CheckpointDiff", "ValueDiff", "diff_variables"]


@dataclass(frozen=True)
class ValueDiff:
    """Difference between two values of one variable."""

    numbers: int
    """Count of the numbers that differ."""
    maximum: float | None
    """Largest difference; ``nan`` where a number is NaN on one side, ``None`` for strings."""
    relative: float | None
    """Largest difference, as a fraction of the largest number of the first value."""


@dataclass(frozen=True, kw_only=True)
class CheckpointDiff:
    """Names by the way in which two sources differ in them."""

    gone: tuple[str, ...]
    """In the first source only."""
    added: tuple[str, ...]
    """In the second source only."""
    shapes: tuple[str, ...]
    dtypes: tuple[str, ...]
    """Equal shapes, different dtypes."""
    values: dict[str, ValueDiff]
    same: tuple[str, ...]
    """Equal bit for bit."""

    @property
    def differs(self) -> bool:
        """True if the sources differ in anything."""
        return bool(self.gone or self.added or self.shapes or self.dtypes or self.values)


def diff_variables(first: VariableSource, second: VariableSource, names: Collection[str]) -> CheckpointDiff:
    """Compare the named variables of two sources, one value at a time.

    Raises:
        CheckpointError: a source is damaged.
    """
    a, b = first.variables, second.variables
    both = [name for name in names if name in a and name in b]
    shapes = [name for name in both if a[name].shape != b[name].shape]
    dtypes = [name for name in both if name not in shapes and a[name].dtype != b[name].dtype]
    values: dict[str, ValueDiff] = {}
    same = []
    for name in both:
        if name in shapes or name in dtypes:
            continue
        difference = _value_diff(first.read(name), second.read(name))
        if difference is None:
            same.append(name)
        else:
            values[name] = difference
    return CheckpointDiff(
        gone=tuple(name for name in names if name not in b),
        added=tuple(name for name in names if name not in a),
        shapes=tuple(shapes),
        dtypes=tuple(dtypes),
        values=values,
        same=tuple(same),
    )


def _value_diff(first: np.ndarray, second: np.ndarray) -> ValueDiff | None:
    """Return the difference between two arrays of one shape and dtype; ``None`` if they are equal bit for bit."""
    if first.dtype == object:
        differ = int(np.sum(first != second))
        return ValueDiff(differ, None, None) if differ else None
    if first.tobytes() == second.tobytes():
        return None
    numbers = int(np.sum((_bytes(first) != _bytes(second)).any(axis=1)))
    distance, size = _distance(np.atleast_1d(first), np.atleast_1d(second))
    return ValueDiff(numbers, distance, distance / size if size else float("inf"))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.frombuffer(values.tobytes(), np.uint8).reshape(-1, values.dtype.itemsize)


def _distance(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the largest difference, and the largest number of the first array."""
    if first.dtype.kind in "iub":  # Unsigned differences of 64-bit integers are exact.
        low, high = np.minimum(first, second).astype(np.uint64), np.maximum(first, second).astype(np.uint64)
        return float((high - low).max()), float(np.abs(first.astype(np.float64)).max())
    wide = np.complex128 if first.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(first.astype(wide) - second.astype(wide))
    distance[first == second] = 0  # Infinities of one sign.
    return float(distance.max()), float(np.abs(first.astype(wide)).max())
