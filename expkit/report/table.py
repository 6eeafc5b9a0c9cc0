"""The table of a sweep: a row a run, and only what tells the runs apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from expkit.plots.axis_scale import number, said
from expkit.report.runs import Sweep

__all__ = ["Table", "as_csv", "table_of"]


@dataclass(frozen=True)
class Table:
    """A table of text."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    """Which columns are numbers, to be set right."""


def table_of(sweep: Sweep) -> Table:
    """Return the table, best first; unfinished runs, which have no place, follow."""
    other = sweep.metric.removesuffix("/ema") if sweep.metric.endswith("/ema") else f"{sweep.metric}/ema"
    metrics = [sweep.metric, *([other] if any(other in row.last for row in sweep.rows) else [])]
    test = sweep.metric.removesuffix("/ema").replace("valid/", "test/", 1)
    metrics += [name for name in (test, f"{test}/ema") if any(name in row.last for row in sweep.rows)]
    metrics = list(dict.fromkeys(metrics))
    head = ["", *metrics, *(sweep.names[key] for key in sweep.varied), "seconds", "parameters", "ended", "run"]
    finished = sweep.finished
    lines = []
    for row in sweep.rows:
        place = str(finished.index(row) + 1) if row in finished else ""
        lines.append(
            (
                place,
                *(_score(row.last.get(name)) for name in metrics),
                *(said(row.values.get(key)) for key in sweep.varied),
                "" if row.seconds is None else f"{row.seconds:.1f}",
                "" if row.size is None else f"{row.size:,}",
                row.status.lower(),
                row.folder.name,
            )
        )
    numeric = [True] * (1 + len(metrics)) + [
        _numbers([row.values.get(key) for row in sweep.rows]) for key in sweep.varied
    ]
    return Table(tuple(head), tuple(lines), (*numeric, True, True, False, False))


def as_csv(sweep: Sweep) -> str:
    """Return all that is known of the runs, unrounded: a line a run."""
    metrics = list(dict.fromkeys(name for row in sweep.rows for name in row.last))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *sweep.varied, "seconds", "parameters", *metrics, "error"])
    for row in sweep.rows:
        values = [row.values.get(key) for key in sweep.varied]
        scores = [row.last.get(name) for name in metrics]
        writer.writerow([row.folder.name, row.status, *values, row.seconds, row.size, *scores, row.error])
    return text.getvalue()


def _score(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else number(value)


def _numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
