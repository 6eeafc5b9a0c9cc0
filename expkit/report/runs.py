"""The runs of a sweep as rows, read from their folders."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from expkit.errors import ExpkitError, RunError, unknown
from expkit.kinds.metrics import usual_mode
from expkit.network.spec import network_spec
from expkit.plots.axis_scale import said
from expkit.run_folder import RunFolder, flat, short_names

__all__ = ["Mode", "Row", "Sweep", "read_sweep"]

Mode = Literal["max", "min"]
Points = Sequence[Mapping[str, float]]

_NEVER_VARIED = ("run.folder", "run.resume", "hydra.", "tracking")
_RATES = ("train/learning_rate", "train/steps_per_second")


@dataclass(frozen=True)
class Row:
    """A run of a sweep."""

    folder: Path
    label: str
    """What tells it from its siblings."""
    status: str
    error: str | None
    overrides: tuple[str, ...]
    values: Mapping[str, Any]
    """All of its configuration, keys joined by dots, and what its overrides set besides, such as groups."""
    points: Points
    """Metrics as they were logged."""
    size: int | None
    """Parameters of its network; ``None`` where its configuration cannot be read here."""

    @property
    def command(self) -> str:
        """What runs it again, wherever runs are kept there."""
        words = [word for word in self.overrides if not _split(word)[0].startswith(_NEVER_VARIED)]
        return shlex.join(["expkit", "train", *words])

    @cached_property
    def last(self) -> dict[str, float]:
        """The last value of every metric, where that is a finite number."""
        found: dict[str, float] = {}
        for point in self.points:
            found |= {name: value for name, value in point.items() if name != "step"}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    @cached_property
    def steps(self) -> int:
        """The last step that was logged."""
        return max((int(point["step"]) for point in self.points), default=0)

    @cached_property
    def seconds(self) -> float | None:
        """Seconds that its steps took: evaluating, saving and everything else not counted."""
        total, before = 0.0, 0
        for point in self.points:
            if rate := point.get("train/steps_per_second"):
                total, before = total + (point["step"] - before) / rate, int(point["step"])
        return total or None

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """Return steps and values of a metric."""
        pairs = [(int(point["step"]), point[metric]) for point in self.points if metric in point]
        return [step for step, _ in pairs], [value for _, value in pairs]


@dataclass(frozen=True)
class Sweep:
    """A sweep's rows and what they are judged by: finished ones first, the best of them on top."""

    name: str
    rows: tuple[Row, ...]
    metric: str
    mode: Mode
    varied: tuple[str, ...]
    """Keys whose values differ."""
    constant: tuple[str, ...]
    """Overrides that all runs have."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Short names of the varied keys."""

    @property
    def finished(self) -> list[Row]:
        """The runs that ended as they should and have the objective, best first."""
        return [row for row in self.rows if row.status == "FINISHED" and self.metric in row.last]

    @property
    def others(self) -> list[Row]:
        """The runs that did not."""
        finished = self.finished
        return [row for row in self.rows if row not in finished]

    @property
    def best(self) -> Row | None:
        """The best run, where one has finished."""
        return next(iter(self.finished), None)

    def score(self, row: Row) -> float:
        """Return a finished run's objective."""
        return row.last[self.metric]


def read_sweep(folder: Path, metric: str | None = None, mode: Mode | None = None) -> Sweep:
    """Read the runs beneath a sweep's folder, at most two levels down, or one run's folder.

    Args:
        folder: of the sweep.
        metric: what runs are judged by; by default what the sweep itself was, else ``train.best_metric``, else a loss.
        mode: whether the best is the largest or the smallest; by default what goes with the metric.

    Raises:
        RunError: there is no run in it, or no run has the metric.
    """
    found = [file.parent for pattern in ("", "*/", "*/*/") for file in folder.glob(f"{pattern}run.json")]
    folders = [path for path in dict.fromkeys(found) if (path / "config.yaml").is_file()]
    if not folders:
        what = "no run in it (a run has config.yaml and run.json)" if folder.is_dir() else "does not exist"
        raise RunError.at(str(folder), f"{what}; give the folder of a sweep, such as runs/multirun/DATE/TIME_NAME")
    kept = _json(folder / "sweep.json")
    labels = {name: str(run.get("label") or "") for name, run in dict(kept.get("runs", {})).items()}
    sizes: dict[str, int | None] = {}
    rows = [_row(RunFolder(path), labels.get(path.name, ""), sizes) for path in sorted(folders, key=_number)]
    metric, mode = _objective(rows, kept, metric, mode)
    varied, constant = _told_apart(rows)
    names = short_names(varied)
    rows = [row if row.label else _labelled(row, names) for row in rows]
    sign = -1 if mode == "max" else 1

    def order(row: Row) -> tuple[bool, bool, float]:
        missing = metric not in row.last
        return row.status != "FINISHED", missing, 0 if missing else sign * row.last[metric]

    name = str(kept.get("name") or f"{rows[0].values.get('run.name', folder.name)} sweep")
    return Sweep(name, tuple(sorted(rows, key=order)), metric, mode, varied, constant, names)


def _row(folder: RunFolder, label: str, sizes: dict[str, int | None]) -> Row:
    state = folder.state()
    error = state.get("error")
    overrides: tuple[str, ...] = ()
    values: dict[str, Any] = {}
    try:
        values = flat(_yaml(folder.config_file) or {})
        overrides = tuple(str(word) for word in _yaml(folder.path / "overrides.yaml") or ())
    except (OSError, ValueError, yaml.YAMLError) as problem:
        error = error or f"its configuration cannot be read: {problem}"
    given = dict(_split(word) for word in overrides)
    values |= {key: value for key, value in given.items() if key not in values}
    network = json.dumps({key: value for key, value in values.items() if key.startswith("network.")}, default=str)
    if network not in sizes:
        sizes[network] = _size(folder)
    return Row(
        folder.path,
        str(state.get("label") or label),
        str(state.get("status", "UNKNOWN")),
        None if error is None else str(error),
        overrides,
        values,
        folder.metrics(),
        sizes[network],
    )


def _size(folder: RunFolder) -> int | None:
    try:
        spec = network_spec(folder.config().network)
    except (ExpkitError, OSError):  # kinds of its plugins are not here, or it was written by another version
        return None
    return sum(variable.size for variable in spec.variables.values())


def _objective(rows: Sequence[Row], kept: Mapping[str, Any], metric: str | None, mode: Mode | None) -> tuple[str, Mode]:
    """Return metric and mode, by the first run's configuration where the sweep does not say."""
    known = sorted({name for row in rows for name in row.last if name not in _RATES})
    values = rows[0].values
    usual: dict[str, Mode] = {}
    for name, its in ((kept.get("objective"), kept.get("mode")), _best_of(values)):
        if isinstance(name, str) and its in ("max", "min"):
            usual.setdefault(name, its)
    if metric is None:
        losses = [name for name in ("valid/loss", "test/loss", "train/loss") if name in known]
        metric = next(iter([*usual, *losses]), None)
    if metric is None:
        raise RunError.at("--metric", "no run has recorded any metric yet")
    if metric not in known and known:
        message = unknown(f"no run has a metric '{metric}'", metric, known, label="there are", most=40)
        raise RunError.at("--metric", message)
    if mode is None:
        kind = values.get(f"train.metrics.{metric.split('/')[1]}.kind") if "/" in metric else None
        mode = usual.get(metric) or usual_mode(None if kind is None else str(kind))
    return metric, mode


def _best_of(values: Mapping[str, Any]) -> tuple[Any, Any]:
    return values.get("train.best_metric"), values.get("train.best_mode", "max")


def _told_apart(rows: Sequence[Row]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys that differ, and the overrides that are everywhere.

    They are looked for among the overrides; only where none differs, as with runs that were put together by hand, among
    all of the configurations.
    """
    every = list(dict.fromkeys(word for row in rows for word in row.overrides))
    keys = list(dict.fromkeys(_split(word)[0] for word in every))
    varied = [key for key in keys if not key.startswith(_NEVER_VARIED) and _differs(rows, key)]
    if not varied:
        every_key = dict.fromkeys(key for row in rows for key in row.values)
        varied = [key for key in every_key if not key.startswith(_NEVER_VARIED) and _differs(rows, key)]
    constant = [
        word
        for word in every
        if not _split(word)[0].startswith((*varied, *_NEVER_VARIED)) and all(word in row.overrides for row in rows)
    ]
    return tuple(varied), tuple(constant)


def _differs(rows: Sequence[Row], key: str) -> bool:
    return len({said(row.values.get(key)) for row in rows}) > 1


def _labelled(row: Row, names: Mapping[str, str]) -> Row:
    label = ", ".join(f"{name}={said(row.values.get(key))}" for key, name in names.items())
    return replace(row, label=label or row.folder.name)


def _split(word: str) -> tuple[str, Any]:
    """Return the key and the value of an override; one that deletes has none."""
    key, _, value = word.lstrip("+~").partition("=")
    try:
        return key, None if word.startswith("~") else yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value


def _number(path: Path) -> tuple[float, str]:
    """Sort by the number that a child's folder begins with."""
    first = path.name.partition("_")[0]
    return (int(first) if first.isdigit() else math.inf), path.as_posix()


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return {}


def _yaml(file: Path) -> Any:
    return yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
