"""Statistics of a variable's numbers, with their histogram."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Stats", "stats_of"]

_BLOCK = 1 << 20
"""Count of numbers that are converted to float64 at once."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Statistics of the finite numbers of an array; ``nan`` where it has none."""

    mean: float
    std: float
    """Standard deviation."""
    minimum: float
    maximum: float
    nans: int
    infinities: int
    zeros: int
    counts: tuple[int, ...]
    """Histogram of the finite numbers in bins of equal width from the minimum to the maximum; all in the middle bin if
    these are equal."""


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
        none = dict.fromkeys(("mean", "std", "minimum", "maximum"), math.nan)
        return Stats(**none, nans=nans, infinities=infinities, zeros=0, counts=(0,) * bins)
    scale = max(abs(low), abs(high)) or 1.0  # So that squares and widths of the largest numbers stay finite.
    mean = sum(float((block[np.isfinite(block)] / scale).sum()) for block in _blocks(values)) / count
    start, span = low / scale, high / scale - low / scale
    squares, counts = 0.0, np.zeros(bins, np.int64)
    for block in _blocks(values):
        scaled = block[np.isfinite(block)] / scale
        squares += float(((scaled - mean) ** 2).sum())
        indices = (scaled - start) / span * bins if span else np.full(scaled.size, bins // 2)
        counts += np.bincount(np.minimum(indices.astype(np.int64), bins - 1), minlength=bins)
    return Stats(
        mean=mean * scale,
        std=math.sqrt(squares / count) * scale,
        minimum=float(low),
        maximum=float(high),
        nans=nans,
        infinities=infinities,
        zeros=zeros,
        counts=tuple(map(int, counts)),
    )


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    flat = np.ravel(values)
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK].astype(np.float64)
