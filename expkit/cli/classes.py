"""The table of how well each class is predicted."""

from __future__ import annotations

from expkit.cli.columns import columns
from expkit.kinds.sources.folder import printable
from expkit.training.by_class import ClassTable

__all__ = ["class_lines"]

COLUMNS = ("precision", "recall", "F1")
SHOWN = 100
"""Number of classes that are printed: of more, those of the lowest F1."""


def class_lines(table: ClassTable) -> list[str]:
    """Return the lines of a table, with raw and EMA weights side by side."""
    suffixes = {"raw": "", "ema": " EMA"}
    headings = [f"{column}{suffixes[weights]}" for weights in table.values for column in COLUMNS]
    count = len(table.names)
    *_, last = table.values.values()
    chosen = sorted(last[:, COLUMNS.index("F1")].argsort(kind="stable")[:SHOWN].tolist())
    rows = [["class", *headings, "support"]]
    for number in chosen:
        values = [f"{value:.4f}" for of in table.values.values() for value in of[number].tolist()]
        rows.append([printable(table.names[number]), *values, f"{table.support[number]:,}"])
    more = [f"the {SHOWN} of {count:,} classes with the lowest F1"] if count > SHOWN else []
    return [*columns(rows, right=(*headings, "support")), *more]
