"""Comparison of sweeps: the best configuration of each, tested against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expkit.errors import RunError
from expkit.report.runs import Sweep
from expkit.report.table import Table
from expkit.sweeps.standing import Configuration, Entry, mean_text, score_text, standing_of

__all__ = ["SweepComparison", "compare_sweeps"]


@dataclass(frozen=True)
class SweepComparison:
    """The best configurations of several sweeps."""

    table: Table
    """A line for each sweep, best first."""
    lines: tuple[str, ...]
    """The best, and the sweeps that are tied with it."""


def compare_sweeps(sweeps: Sequence[Sweep]) -> SweepComparison:
    """Return the comparison of sweeps by the objective of the first; equal seeds of two sweeps are compared in pairs.

    Raises:
        RunError: no run of a sweep has finished, or their modes differ.
    """
    objective = sweeps[0].objective
    if any(sweep.objective != objective for sweep in sweeps):
        raise RunError.at("--mode", f"is not the same in all sweeps for {objective.metric}; give --mode max or min")
    names = _names(sweeps)
    best = {name: _best(sweep) for name, sweep in zip(names, sweeps, strict=True)}
    entries = [
        Entry(
            name=run.name,
            label=run.label,
            configuration=name,
            point=f"{name}: {item.label}",
            replicate=run.replicate,
            status=run.status,
            metrics=run.metrics,
            parameters=run.parameters,
        )
        for name, item in best.items()
        for run in item.runs
    ]
    standing = standing_of(entries, objective, None, sweeps[0].standing.examples, sweeps[0].standing.kinds)
    sizes = {name: len(sweep.standing.configurations) for name, sweep in zip(names, sweeps, strict=True)}
    lines = []
    for place, (item, found) in enumerate(zip(standing.ranked, standing.summaries, strict=True)):
        name = item.runs[0].configuration
        deviation = "" if found.deviation is None else score_text(found.deviation)
        chosen = (best[name].label, str(sizes[name]), standing.against(item))
        lines.append((str(place + 1), name, mean_text(found), str(found.n), deviation, *chosen))
    columns = ("", "sweep", f"{objective.metric} (95 %)", "n", "sd", "best configuration", "of", "against the best")
    table = Table(columns, tuple(lines), (True, False, True, True, True, False, True, False))
    said = [f"best {standing.result}", standing.verdict, standing.choice]
    if any(size > 1 for size in sizes.values()):
        said.append("each was selected as the best of its sweep, and its mean is too good by that")
    return SweepComparison(table, tuple(line for line in said if line is not None))


def _best(sweep: Sweep) -> Configuration:
    if sweep.standing.best is None:
        raise RunError.at(sweep.name, f"no run has finished with {sweep.metric}; wait for one, or omit this sweep")
    return sweep.standing.best


def _names(sweeps: Sequence[Sweep]) -> list[str]:
    """Return the names of sweeps, with the folder behind those that are not unique."""
    names = [sweep.name for sweep in sweeps]
    folders = [sweep.rows[0].folder.parent.name for sweep in sweeps]
    return [
        name if names.count(name) == 1 else f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)
    ]
