"""Columns of tables that are probably no features: those that never vary, and those that number the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from expkit.kinds.sources.on_disk import Array, scan

__all__ = ["column_warnings"]

FEWEST_ROWS = 20
"""Number of rows from which numbers without a gap hardly come by chance."""


def column_warnings(names: Sequence[str], array: Array) -> Iterator[str]:
    """Yield a sentence about each column of a field of numbers that is constant or numbers the rows.

    Args:
        names: names of the columns.
        array: the values of all rows, of shape [rows] or [rows, columns].
    """
    low, high, rows = np.full(len(names), np.inf), np.full(len(names), -np.inf), len(array)
    for _, values in scan(array):
        table = values.reshape(len(values), -1).astype(np.float64)
        low, high = np.fmin(low, np.fmin.reduce(table)), np.fmax(high, np.fmax.reduce(table))
    for place, name in enumerate(names):
        first, last = low[place], high[place]
        if not first < last:
            yield f"column '{name}' is the same in all {rows:,} rows, so a network learns nothing from it; leave it out"
        elif rows >= FEWEST_ROWS and last - first + 1 == rows and _numbers_rows(array, place, first):
            yield (
                f"column '{name}' numbers the rows, from {first:.0f} to {last:.0f}, and is read as a feature; leave it "
                "out unless it means more"
            )


def _numbers_rows(array: Array, place: int, first: float) -> bool:
    """Return True if every whole number from the first on occurs once."""
    if first != round(first):
        return False
    seen = np.zeros(len(array), bool)
    for _, values in scan(array):
        offsets = values.reshape(len(values), -1)[:, place] - first
        if not np.array_equal(offsets, np.round(offsets)):
            return False
        seen[offsets.astype(np.int64)] = True
    return bool(seen.all())
