"""Tables of plain text, whose columns are as wide as their contents and never wrapped."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["columns"]


def columns(rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: cells; the first row is the heading.
        right: headings of the columns to align right, as for numbers.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    numbers = [heading in right for heading in rows[0]]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in rows
    ]
