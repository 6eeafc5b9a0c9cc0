"""Table of a sweep: a row for each run, with only the columns in which runs differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from expkit.errors import DataError, reading
from expkit.plots.axis_scale import number_text
from expkit.plots.class_tables import class_tables
from expkit.plots.data import PlotData
from expkit.report.runs import RunRow, Sweep
from expkit.run_folder import RunFolder

__all__ = ["Table", "are_numbers", "as_csv", "classes_of", "table_of"]

MOST_CLASSES = 100
"""Number of classes that are shown."""


@dataclass(frozen=True)
class Table:
    """A table of text."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    """True for columns of numbers, which are aligned right."""


def table_of(sweep: Sweep) -> Table:
    """Return the table, best run first; unfinished runs follow without a rank."""
    other = sweep.metric.removesuffix("/ema") if sweep.metric.endswith("/ema") else f"{sweep.metric}/ema"
    metrics = [sweep.metric, *([other] if any(other in row.last for row in sweep.rows) else [])]
    test = sweep.metric.removesuffix("/ema").replace("valid/", "test/", 1)
    metrics += [name for name in (test, f"{test}/ema") if any(name in row.last for row in sweep.rows)]
    metrics = list(dict.fromkeys(metrics))
    keys = {**sweep.names, **sweep.replicates}
    head = ["", *metrics, *keys.values(), "seconds", "parameters", "ended", "run"]
    finished = sweep.finished
    ranks = {run.name: str(place) for place, item in enumerate(sweep.standing.ranked, 1) for run in item.runs}
    lines = []
    for row in sweep.rows:
        rank = ranks[row.name] if row in finished else ""
        lines.append(
            (
                rank,
                *(_score(row.last.get(name)) for name in metrics),
                *(sweep.texts[key](row.values.get(key)) for key in keys),
                "" if row.seconds is None else f"{row.seconds:.1f}",
                "" if row.size is None else f"{row.size:,}",
                row.state.status.lower(),
                row.folder.name,
            )
        )
    numeric = [True] * (1 + len(metrics)) + [are_numbers([row.values.get(key) for row in sweep.rows]) for key in keys]
    return Table(tuple(head), tuple(lines), (*numeric, True, True, False, False))


def as_csv(sweep: Sweep) -> str:
    """Return all values of the runs, unrounded, with a line for each run."""
    metrics = list(dict.fromkeys(name for row in sweep.rows for name in row.last))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [*sweep.varied, *sweep.replicates]
    writer.writerow(["run", "status", *keys, "seconds", "parameters", *metrics, "error"])
    for row in sweep.rows:
        values = [row.values.get(key) for key in keys]
        scores = [row.last.get(name) for name in metrics]
        writer.writerow([row.folder.name, row.state.status, *values, row.seconds, row.size, *scores, row.state.error])
    return text.getvalue()


def classes_of(row: RunRow) -> dict[str, Table]:
    """Return how well a run predicts each class, by title: of many classes, those of the lowest F1."""
    file = RunFolder(row.folder).evidence_file
    if not file.is_file():
        return {}
    with reading(str(file), "not readable", raises=DataError):
        tables = class_tables(PlotData.load(file)).values()
    found = {}
    for table in tables:
        count = len(table.names)
        more = f"; the {MOST_CLASSES} of {count:,} classes with the lowest F1" if count > MOST_CLASSES else ""
        head, *lines = (tuple(line) for line in table.rows(table.lowest(MOST_CLASSES)))
        found[f"{table.title}{more}"] = Table(head, tuple(lines), (False, *(True for _ in head[1:])))
    return found


def _score(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else number_text(value)


def are_numbers(values: Sequence[object]) -> bool:
    """Return True if all values are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
