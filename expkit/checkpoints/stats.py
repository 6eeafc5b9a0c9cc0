"""What a variable's numbers look like: mean, spread, ends, how many are none, and how they are distributed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Stats", "stats_of"]


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
    """Return the statistics of an array of numbers, computed in float64."""
    wide = np.asarray(values).astype(np.float64).ravel()
    finite = wide[np.isfinite(wide)]
    nans = int(np.isnan(wide).sum())
    infinities = int(wide.size - finite.size - nans)
    if not finite.size:
        return Stats(np.nan, np.nan, np.nan, np.nan, nans, infinities, 0, (0,) * bins)
    low, high = float(finite.min()), float(finite.max())
    scale = max(abs(low), abs(high)) or 1.0  # So that squares and widths of the largest numbers stay finite.
    span = high / scale - low / scale
    places = (finite / scale - low / scale) / span * bins if span else np.full(finite.size, bins // 2)
    counts = np.bincount(np.minimum(places.astype(np.int64), bins - 1), minlength=bins)
    return Stats(
        float((finite / scale).mean()) * scale,
        float((finite / scale).std()) * scale,
        low,
        high,
        nans,
        infinities,
        int((finite == 0).sum()),
        tuple(map(int, counts)),
    )
