"""Runs of a sweep as rows of its report, read from their folders."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from expkit.errors import ExpkitError, RunError, unknown
from expkit.metric_names import is_rate
from expkit.network.elaborate import network_spec
from expkit.plots.axis_scale import value_text
from expkit.preflight import unknown_mode
from expkit.run_folder import RunFolder, flat, short_names
from expkit.sweeps.objective import Mode, Objective, default_metric, mode_of
from expkit.sweeps.sweep_folder import RunState, SweepFolder

__all__ = ["RunRow", "Sweep", "read_sweep"]

Points = Sequence[Mapping[str, float]]

_NEVER_VARIED = ("run.folder", "run.resume", "hydra.", "tracking")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run of a sweep."""

    folder: Path
    label: str
    """The values that differ from those of the other runs."""
    state: RunState
    overrides: tuple[str, ...] = ()
    values: Mapping[str, Any]
    """Its configuration by dotted key, with the overrides that are no keys of it, such as groups."""
    points: Points = ()
    """Its metrics in the order recorded."""
    size: int | None = None
    """Number of parameters of its network; ``None`` if its configuration cannot be read."""

    @property
    def command(self) -> str:
        """The command that runs it again, in a new folder."""
        arguments = [item for item in self.overrides if not _split(item)[0].startswith(_NEVER_VARIED)]
        return shlex.join(["expkit", "train", *arguments])

    @cached_property
    def last(self) -> dict[str, float]:
        """The last value of every metric, if it is finite."""
        return {name: value for name, value in self.state.values.items() if math.isfinite(value)}

    @cached_property
    def seconds(self) -> float | None:
        """Time of its training steps, without evaluating, saving and everything else."""
        total, previous = 0.0, 0
        for point in self.points:
            if rate := point.get("train/steps_per_second"):
                total, previous = total + (point["step"] - previous) / rate, int(point["step"])
        return total or None

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """Return steps and values of a metric."""
        pairs = [(int(point["step"]), point[metric]) for point in self.points if metric in point]
        return [step for step, _ in pairs], [value for _, value in pairs]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Rows of a sweep, finished runs first, the best of them on top."""

    name: str
    rows: tuple[RunRow, ...]
    objective: Objective
    names: Mapping[str, str]
    """Short names of the keys whose values differ."""
    constant: tuple[str, ...]
    """Overrides that all runs share."""

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
        """The best run, if any has finished."""
        return next(iter(self.finished), None)

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
    sizes: dict[str, int | None] = {}
    rows = [_row(RunFolder(folder), labels.get(folder.name, ""), sizes) for folder in sorted(folders, key=_number)]
    objective = _objective(rows, settings, metric, mode)
    varied, constant = _differences(rows)
    names = short_names(varied)
    rows = [row if row.label else _labelled(row, names) for row in rows]

    def order(row: RunRow) -> tuple[bool, bool, float]:
        missing = objective.metric not in row.last
        return row.state.status != "FINISHED", missing, 0 if missing else objective.cost(row.last)

    return Sweep(
        name=str(settings.get("name") or f"{rows[0].values.get('run.name', path.name)} sweep"),
        rows=tuple(sorted(rows, key=order)),
        objective=objective,
        names=names,
        constant=constant,
    )


def _row(folder: RunFolder, label: str, sizes: dict[str, int | None]) -> RunRow:
    settings, points = folder.state(), folder.metrics()
    state = RunState.of(settings, points)
    overrides: tuple[str, ...] = ()
    values: dict[str, Any] = {}
    try:
        values = flat(_yaml(folder.config_file) or {})
        overrides = tuple(str(override) for override in _yaml(folder.path / "overrides.yaml") or ())
    except (OSError, ValueError, yaml.YAMLError) as error:
        state = replace(state, error=state.error or f"its configuration cannot be read: {error}")
    given = dict(_split(override) for override in overrides)
    values |= {key: value for key, value in given.items() if key not in values}
    network = json.dumps({key: value for key, value in values.items() if key.startswith("network.")}, default=str)
    if network not in sizes:
        sizes[network] = _size(folder)
    return RunRow(
        folder=folder.path,
        label=str(settings.get("label") or label),
        state=state,
        overrides=overrides,
        values=values,
        points=points,
        size=sizes[network],
    )


def _size(folder: RunFolder) -> int | None:
    try:
        spec = network_spec(folder.config().network)
    except (ExpkitError, OSError):  # kinds of its plugins are missing here, or another version wrote it
        return None
    return sum(variable.size for variable in spec.variables.values())


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


def _differences(rows: Sequence[RunRow]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys whose values differ, and the overrides that all runs share.

    Keys are taken from the overrides; only if none of these differs, as among runs collected by hand, from the whole
    configurations.
    """
    overrides = list(dict.fromkeys(override for row in rows for override in row.overrides))
    varied = _varied(rows, [_split(override)[0] for override in overrides])
    varied = varied or _varied(rows, [key for row in rows for key in row.values])
    constant = [
        override
        for override in overrides
        if not _split(override)[0].startswith((*varied, *_NEVER_VARIED))
        and all(override in row.overrides for row in rows)
    ]
    return tuple(varied), tuple(constant)


def _varied(rows: Sequence[RunRow], keys: Sequence[str]) -> list[str]:
    return [
        key
        for key in dict.fromkeys(keys)
        if not key.startswith(_NEVER_VARIED) and len({value_text(row.values.get(key)) for row in rows}) > 1
    ]


def _labelled(row: RunRow, names: Mapping[str, str]) -> RunRow:
    label = ", ".join(f"{name}={value_text(row.values.get(key))}" for key, name in names.items())
    return replace(row, label=label or row.folder.name)


def _split(override: str) -> tuple[str, Any]:
    """Return key and value of an override; one that deletes a key has no value."""
    key, _, value = override.lstrip("+~").partition("=")
    try:
        return key, None if override.startswith("~") else yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value


def _number(folder: Path) -> tuple[float, str]:
    """Return a sort key: the number that the folder's name starts with."""
    first = folder.name.partition("_")[0]
    return (int(first) if first.isdigit() else math.inf), folder.as_posix()


def _yaml(file: Path) -> Any:
    return yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
