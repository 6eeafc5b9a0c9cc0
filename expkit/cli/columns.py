"""Tables of plain text: columns as wide as what is in them, never wrapped."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["columns", "sizes"]


def columns(rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: cells; the first row is the heading.
        right: headings of the columns that are set to the right, as numbers are.
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


def sizes(shape: Sequence[int]) -> str:
    """Return a shape as it is shown: ``[784, 500]``."""
    return f"[{', '.join(map(str, shape))}]"
