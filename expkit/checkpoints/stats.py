"""What a variable's numbers look like: mean, spread, ends, how many are none, and how they are distributed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Stats", "stats_of"]

_BLOCK = 1 << 20
"""How many numbers are widened to float64 at once."""


@dataclass(frozen=True)
class Stats:
    """Of the finite numbers of an array; ``nan`` where there are none."""

    mean: float
    spread: float
    """Standard deviation."""
    minimum: float
    maximum: float
    nans: int
    infinities: int
    zeros: int
    counts: tuple[int, ...]
    """How many finite numbers are in each part of the way from the minimum to the maximum, all parts of one width; all
    in the middle where both are the same."""


def stats_of(values: np.ndarray, bins: int = 40) -> Stats:
    """Return the statistics of an array of numbers, computed in float64, a block at a time."""
    nans = infinities = zeros = count = 0
    low, high = np.inf, -np.inf
    for block in _blocks(values):
        finite = block[np.isfinite(block)]
        missing = int(np.isnan(block).sum())
        nans += missing
        infinities += block.size - finite.size - missing
        zeros += int((finite == 0).sum())
        count += finite.size
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    if not count:
        return Stats(np.nan, np.nan, np.nan, np.nan, nans, infinities, 0, (0,) * bins)
    scale = max(abs(low), abs(high)) or 1.0  # So that squares and widths of the largest numbers stay finite.
    mean = sum(float((block[np.isfinite(block)] / scale).sum()) for block in _blocks(values)) / count
    start, span = low / scale, high / scale - low / scale
    squares, counts = 0.0, np.zeros(bins, np.int64)
    for block in _blocks(values):
        scaled = block[np.isfinite(block)] / scale
        squares += float(((scaled - mean) ** 2).sum())
        places = (scaled - start) / span * bins if span else np.full(scaled.size, bins // 2)
        counts += np.bincount(np.minimum(places.astype(np.int64), bins - 1), minlength=bins)
    spread = math.sqrt(squares / count) * scale
    return Stats(mean * scale, spread, float(low), float(high), nans, infinities, zeros, tuple(map(int, counts)))


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    flat = np.ravel(values)
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK].astype(np.float64)
