"""The table of how well each class is predicted."""

from __future__ import annotations

from expkit.cli.columns import columns
from expkit.training.by_class import ClassTable

__all__ = ["class_lines"]

SHOWN = 100
"""Number of classes that are printed: of more, those of the lowest F1."""


def class_lines(table: ClassTable) -> list[str]:
    """Return the lines of a table, with raw and EMA weights side by side."""
    count = len(table.names)
    rows = table.rows(table.lowest(SHOWN))
    more = [f"the {SHOWN} of {count:,} classes with the lowest F1"] if count > SHOWN else []
    return [*columns(rows, right=rows[0][1:]), *more]
