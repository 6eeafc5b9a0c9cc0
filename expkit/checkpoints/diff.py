"""How two sources of variables differ: in names, shapes, dtypes and values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from expkit.checkpoints.formats.source import Source

__all__ = ["Apart", "Comparison", "compare_sources"]


@dataclass(frozen=True)
class Apart:
    """How far the values of one variable differ."""

    numbers: int
    """How many."""
    maximum: float | None
    """The largest difference; ``nan`` where one side has none of a number, ``None`` for strings."""
    relative: float | None
    """The largest difference, as a part of the first one's largest number."""


@dataclass(frozen=True)
class Comparison:
    """What is in one source and not in the other, or otherwise."""

    gone: tuple[str, ...]
    """Only the first has it."""
    added: tuple[str, ...]
    """Only the second has it."""
    shapes: tuple[str, ...]
    dtypes: tuple[str, ...]
    """Of another dtype, the shape is the same."""
    values: dict[str, Apart]
    same: tuple[str, ...]
    """Equal in every bit."""

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return bool(self.gone or self.added or self.shapes or self.dtypes or self.values)


def compare_sources(first: Source, second: Source, names: Collection[str]) -> Comparison:
    """Compare two sources in the variables of some names, value by value, one at a time.

    Raises:
        CheckpointError: one of them is damaged.
    """
    both = [name for name in names if name in first.shapes and name in second.shapes]
    shapes = [name for name in both if first.shapes[name] != second.shapes[name]]
    dtypes = [name for name in both if name not in shapes and first.dtypes[name] != second.dtypes[name]]
    values: dict[str, Apart] = {}
    same = []
    for name in both:
        if name in shapes or name in dtypes:
            continue
        apart = _apart(first.read(name), second.read(name))
        if apart is None:
            same.append(name)
        else:
            values[name] = apart
    return Comparison(
        tuple(name for name in names if name not in second.shapes),
        tuple(name for name in names if name not in first.shapes),
        tuple(shapes),
        tuple(dtypes),
        values,
        tuple(same),
    )


def _apart(first: np.ndarray, second: np.ndarray) -> Apart | None:
    """Return how far two arrays of one shape and dtype differ; ``None`` where they are equal in every bit."""
    if first.dtype == object:
        differ = int(np.sum(first != second))
        return Apart(differ, None, None) if differ else None
    if first.tobytes() == second.tobytes():
        return None
    numbers = int(np.sum((_bytes(first) != _bytes(second)).any(axis=1)))
    distance, size = _distance(np.atleast_1d(first), np.atleast_1d(second))
    return Apart(numbers, distance, distance / size if size else float("inf"))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.frombuffer(values.tobytes(), np.uint8).reshape(-1, values.dtype.itemsize)


def _distance(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the largest difference, and the largest number of the first."""
    if first.dtype.kind in "iub":  # Differences of 64-bit integers are exact without a sign.
        low, high = np.minimum(first, second).astype(np.uint64), np.maximum(first, second).astype(np.uint64)
        return float((high - low).max()), float(np.abs(first.astype(np.float64)).max())
    wide = np.complex128 if first.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(first.astype(wide) - second.astype(wide))
    distance[first == second] = 0  # Infinities of one sign.
    return float(distance.max()), float(np.abs(first.astype(wide)).max())
