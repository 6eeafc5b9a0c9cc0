"""Scores of each class of a run, in the words of ``expkit evaluate``: from the data of its plots."""

from __future__ import annotations

import csv
import io

from expkit.plots.data import PlotData
from expkit.training.by_class import ClassTable

__all__ = ["class_tables", "classes_csv"]


def class_tables(data: PlotData) -> dict[str, ClassTable]:
    """Return the tables of outputs with class labels, by name."""
    weights = "EMA weights" if data.weights == "ema" else "weights"
    return {
        name: head.class_table(
            f"{name}, {head.examples:,} test examples ({weights} of step {data.step:,})", data.weights
        )
        for name, head in data.heads.items()
    }


def classes_csv(table: ClassTable) -> str:
    """Return the values of all classes, unrounded, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.rows([])[0])
    for number, name in enumerate(table.names):
        values = [value for of in table.values.values() for value in of[number].tolist()]
        writer.writerow([name, *values, int(table.support[number])])
    return text.getvalue()
