"""Runs of a sweep as rows of its report, read from their folders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from expkit.errors import ExpkitError, RunError, unknown
from expkit.metric_names import is_rate
from expkit.network.elaborate import network_spec
from expkit.plots.axis_scale import value_texts
from expkit.recorded import unknown_mode
from expkit.report.rows import RunRow, Text, differences, identified, split_override, values_text, varied_keys
from expkit.run_folder import RunFolder, flat, short_names
from expkit.sweeps.jobs import SEEDS, is_under
from expkit.sweeps.objective import Mode, Objective, default_metric, mode_of
from expkit.sweeps.standing import Configuration, Entry, Standing, standing_of
from expkit.sweeps.sweep_folder import RunState, SweepFolder

__all__ = ["RunRow", "Sweep", "read_sweep"]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Rows of a sweep, finished runs first, the best of them on top."""

    name: str
    rows: tuple[RunRow, ...]
    objective: Objective
    names: Mapping[str, str]
    """Short names of the keys whose values differ, without replicates."""
    replicates: Mapping[str, str]
    """Short names of the keys in which replicates differ."""
    texts: Mapping[str, Text]
    """Text of the values of each of these keys, which differs where the values do."""
    constant: tuple[str, ...]
    """Overrides that all runs share."""
    standing: Standing
    """Its configurations, ranked over their replicates."""

    @property
    def metric(self) -> str:
        """Metric of the objective."""
        return self.objective.metric

    @property
    def varied(self) -> tuple[str, ...]:
        """Keys whose values differ."""
        return tuple(self.names)

    @property
    def finished(self) -> list[RunRow]:
        """The runs that have finished and recorded the objective, best first."""
        return [row for row in self.rows if row.state.status == "FINISHED" and self.metric in row.last]

    @property
    def unfinished(self) -> list[RunRow]:
        """The other runs."""
        finished = self.finished
        return [row for row in self.rows if row not in finished]

    @property
    def best(self) -> RunRow | None:
        """The first run of the best configuration, if any has finished."""
        return next(iter(self.finished), None)

    @cached_property
    def by_name(self) -> Mapping[str, RunRow]:
        """Rows by the names of their folders."""
        return {row.name: row for row in self.rows}

    @cached_property
    def configurations(self) -> list[tuple[Configuration, list[RunRow]]]:
        """Configurations, best first, each with its rows."""
        return [
            (configuration, [self.by_name[run.name] for run in configuration.runs])
            for configuration in self.standing.configurations
        ]

    def score(self, row: RunRow) -> float:
        """Return a finished run's objective."""
        return row.last[self.metric]


def read_sweep(path: Path, metric: str | None = None, mode: Mode | None = None) -> Sweep:
    """Read the runs in a sweep's folder, at most two levels down, or one run's folder.

    Args:
        path: folder of the sweep.
        metric: the objective; by default the sweep's own, else ``train.best_metric``, else a loss.
        mode: mode of the objective; by default the usual one of the metric.

    Raises:
        RunError: there is no run in the folder, or no run has the metric.
    """
    found = [file.parent for pattern in ("", "*/", "*/*/") for file in path.glob(f"{pattern}run.json")]
    folders = [folder for folder in dict.fromkeys(found) if (folder / "config.yaml").is_file()]
    if not folders:
        problem = "contains no run (a run has config.yaml and run.json)" if path.is_dir() else "does not exist"
        raise RunError.at(str(path), f"{problem}; give the folder of a sweep, such as runs/multirun/DATE/TIME_NAME")
    settings = SweepFolder(path).settings()
    labels = {name: str(run.get("label") or "") for name, run in dict(settings.get("runs", {})).items()}
    sizes: dict[str, tuple[int | None, int | None]] = {}
    rows = [_row(RunFolder(folder), labels.get(folder.name, ""), sizes) for folder in sorted(folders, key=_number)]
    objective = _objective(rows, settings, metric, mode)
    replicated = tuple(settings.get("repeat_over") or SEEDS)
    varied, constant = differences(rows, replicated)
    replicates = varied_keys(rows, [key for row in rows for key in row.values if is_under(key, replicated)])
    names = short_names([*varied, *replicates])
    texts = {key: value_texts([row.values.get(key) for row in rows]) for key in names}
    rows = [row if row.label else replace(row, label=values_text(row, names, texts) or row.folder.name) for row in rows]
    rows = [identified(row, replicated) for row in rows]
    points = {row.name: values_text(row, {key: names[key] for key in varied}, texts) for row in rows}
    standing = _standing(rows, objective, points, settings)
    chosen = standing.best
    places = {
        run.name: -1 if item is chosen else place
        for place, item in enumerate(standing.configurations)
        for run in item.runs
    }

    def order(row: RunRow) -> tuple[bool, bool, int]:
        return row.state.status != "FINISHED", objective.metric not in row.last, places[row.name]

    return Sweep(
        name=str(settings.get("name") or f"{rows[0].values.get('run.name', path.name)} sweep"),
        rows=tuple(sorted(rows, key=order)),
        objective=objective,
        names={key: names[key] for key in varied},
        replicates={key: names[key] for key in replicates},
        texts=texts,
        constant=constant,
        standing=standing,
    )


def _row(folder: RunFolder, label: str, sizes: dict[str, tuple[int | None, int | None]]) -> RunRow:
    settings, points = folder.state(), folder.metrics()
    state = RunState.of(settings, points)
    overrides: tuple[str, ...] = ()
    values: dict[str, Any] = {}
    try:
        values = flat(_yaml(folder.config_file) or {})
        overrides = tuple(str(override) for override in _yaml(folder.path / "overrides.yaml") or ())
    except (OSError, ValueError, yaml.YAMLError) as error:
        state = replace(state, error=state.error or f"its configuration cannot be read: {error}")
    given = dict(split_override(override) for override in overrides)
    values |= {key: value for key, value in given.items() if key not in values}
    network = json.dumps({key: value for key, value in values.items() if key.startswith("network.")}, default=str)
    if network not in sizes:
        sizes[network] = _sizes(folder)
    return RunRow(
        folder=folder.path,
        label=str(settings.get("label") or label),
        state=state,
        overrides=overrides,
        values=values,
        points=points,
        examples=dict(settings.get("examples") or {}),
        size=sizes[network][0],
        trained=sizes[network][1],
    )


def _sizes(folder: RunFolder) -> tuple[int | None, int | None]:
    """Return the numbers of parameters and of trained parameters of a run's network."""
    try:
        spec = network_spec(folder.config().network)
    except (ExpkitError, OSError):  # kinds of its plugins are missing here, or another version wrote it
        return None, None
    return sum(variable.size for variable in spec.variables.values()), spec.trained_parameters


def _objective(rows: Sequence[RunRow], settings: Mapping[str, Any], metric: str | None, mode: Mode | None) -> Objective:
    """Return the requested objective, else the sweep's own, else the default of the first run's configuration."""
    known = sorted({name for row in rows for name in row.last if not is_rate(name.removeprefix("train/"))})
    values, recorded = rows[0].values, settings.get("objective")
    metric = metric or recorded or default_metric(values, known)
    if metric is None:
        raise RunError.at("--metric", "no run has recorded any metric yet")
    if metric not in known and known:
        raise RunError.at("--metric", unknown(f"no run has a metric '{metric}'", metric, known, most=40))
    if mode is None and metric == recorded:
        mode = settings.get("mode")
    mode = mode or mode_of(values, metric)
    if mode is None:
        raise RunError.at("--mode", unknown_mode(metric))
    return Objective(metric, mode)


def _number(folder: Path) -> tuple[float, str]:
    """Return a sort key: the number that the folder's name starts with."""
    first = folder.name.partition("_")[0]
    return (int(first) if first.isdigit() else math.inf), folder.as_posix()


def _yaml(file: Path) -> Any:
    return yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _standing(
    rows: Sequence[RunRow], objective: Objective, points: Mapping[str, str], settings: Mapping[str, Any]
) -> Standing:
    """Return the standing of rows, given the labels of their configurations and the content of ``sweep.json``."""
    entries = [
        Entry(
            name=row.name,
            label=row.label,
            configuration=row.configuration,
            point=points[row.name] or str(row.values.get("run.name", row.folder.name)),
            replicate=row.replicate,
            status=row.state.status,
            metrics=row.last,
            parameters=row.trained,
        )
        for row in rows
    ]
    on_tie = settings.get("on_tie")
    examples = next((row.examples for row in rows if row.examples), {})
    start, end = "train.metrics.", ".kind"
    kinds = {
        key[len(start) : -len(end)]: str(value)
        for key, value in rows[0].values.items()
        if key.startswith(start) and key.endswith(end)
    }
    return standing_of(entries, objective, on_tie if on_tie in ("simplest", "first") else None, examples, kinds)
