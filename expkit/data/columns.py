"""Columns of tables that are probably no features: those that never vary, and those that identify the rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from expkit.kinds.sources.on_disk import Array, scan

__all__ = ["category_warnings", "column_warnings", "identifier"]

FEWEST_ROWS = 20
"""Number of rows from which values that are all different hardly come by chance."""
CROWDED = 20
"""Squared rows per possible value from which on values that are all different hardly come by chance.

Of n values drawn from R all differ with a probability of at most exp(-n * (n - 1) / 2R), of which this makes e-10.
"""
NEARLY_ALL = 0.95
"""Fraction of different values from which on a column identifies rows, if its name says so or it is a category."""
IDENTIFIERS = {"id", "ids", "uid", "uuid", "guid", "key", "pk", "idx", "index", "rowid", "userid"}
"""Words of names that say so, in lower case."""
SAMPLED_ROWS = 10_000
"""Rows of each chunk by which most columns are known to be measurements."""
HELD_COLUMNS = 16
"""Columns of a field whose values are in memory at once."""


def column_warnings(names: Sequence[str], array: Array) -> Iterator[str]:
    """Yield a sentence about each column of a field of numbers that is constant or probably identifies the rows.

    Args:
        names: names of the columns.
        array: the values of all rows, of shape [rows] or [rows, columns].
    """
    low, high, rows = np.full(len(names), np.inf), np.full(len(names), -np.inf), len(array)
    whole = np.ones(len(names), bool)
    for _, values in scan(array):
        table = values.reshape(len(values), -1).astype(np.float64)
        low, high = np.fmin(low, np.fmin.reduce(table)), np.fmax(high, np.fmax.reduce(table))
        for index in np.flatnonzero(whole).tolist():
            whole[index] = _differ(table[:SAMPLED_ROWS, index])
    constant = f"is the same in all {rows:,} rows, so a network learns nothing from it; leave it out"
    reasons = dict.fromkeys(np.flatnonzero(~(low < high)).tolist(), constant)
    varying = np.flatnonzero(whole & (low < high)).tolist()
    for start in range(0, len(varying), HELD_COLUMNS):
        indices = varying[start : start + HELD_COLUMNS]
        for index, values in zip(indices, _columns(array, indices), strict=True):
            if reason := identifier(names[index], values):
                reasons[index] = f"{reason}, and is read as a feature; leave it out unless it means more"
    yield from (f"column '{names[index]}' {reasons[index]}" for index in sorted(reasons))


def category_warnings(names: Sequence[str], array: Array) -> Iterator[str]:
    """Yield a sentence about each column of categories, text or whole numbers, that probably identifies the rows.

    Args:
        names: names of the columns.
        array: the values of all rows, of shape [rows] or [rows, columns].
    """
    seen, rows = [set[object]() for _ in names], len(array)
    for done, values in scan(array):
        for column, cells in zip(seen, values.reshape(len(values), -1).T, strict=True):
            column.update(cells.tolist())
        if len(done) >= FEWEST_ROWS and not any(len(column) >= NEARLY_ALL * len(done) for column in seen):
            return
    for name, column in zip(names, seen, strict=True):
        if rows >= FEWEST_ROWS and len(column) >= NEARLY_ALL * rows:
            yield (
                f"column '{name}' probably identifies the rows: {len(column):,} different values in {rows:,} rows, "
                "read as categories, which tell nothing about other rows; leave it out"
            )


def identifier(name: str, values: np.ndarray) -> str | None:
    """Return why a column of numbers probably identifies the rows, as a sentence goes on after its name, if it does.

    Its values are whole numbers, and all different: without a gap, in order, or in a range in which measurements would
    repeat. Nearly all different are enough where a word of the name, such as ``id`` or ``key``, says so.
    """
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    rows = len(present)
    if rows < FEWEST_ROWS or not np.array_equal(present, np.round(present)):
        return None
    different = np.unique(present)
    low, high = int(different[0]), int(different[-1])
    if len(different) == rows:
        if high - low + 1 == rows == len(values):
            return f"numbers the rows, from {low} to {high}"
        steps = np.diff(present)
        if (steps > 0).all() or (steps < 0).all():
            return f"probably identifies the rows: {rows:,} whole numbers in order, all different"
        if (high - low + 1) * CROWDED <= rows**2:
            return (
                f"probably identifies the rows: {rows:,} whole numbers from {low} to {high}, all different, of which "
                "measurements would repeat some"
            )
    if len(different) >= NEARLY_ALL * rows and not IDENTIFIERS.isdisjoint(_words(name)):
        return f"probably identifies the rows, as its name says: {len(different):,} whole numbers in {rows:,} rows"
    return None


def _words(name: str) -> list[str]:
    """Return the words of a name such as ``PassengerId``, ``customer_id`` or ``row ID``, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _differ(values: np.ndarray) -> bool:
    """Return whether some values are whole numbers, nearly all of them different, those that are missing aside."""
    present = values[~np.isnan(values)]
    return np.array_equal(present, np.round(present)) and len(np.unique(present)) >= NEARLY_ALL * len(present)


def _columns(array: Array, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the values of columns, in the order of the rows."""
    held = np.empty((len(indices), len(array)), array.dtype)
    for rows, values in scan(array):
        held[:, rows] = values.reshape(len(values), -1)[:, list(indices)].T
    yield from held
