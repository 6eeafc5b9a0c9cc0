"""Objectives of a sweep: metrics with the mode that says which values are better."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from expkit.config.load import plain
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, comma_list, unknown
from expkit.kinds.metrics import Mode, mode_of_metric
from expkit.run_folder import flat

__all__ = ["Direction", "Mode", "Objective", "default_metric", "mode_of", "objectives_of", "pareto_front"]

Direction = Literal["minimize", "maximize"]
_MODES: dict[Direction, Mode] = {"minimize": "min", "maximize": "max"}


@dataclass(frozen=True)
class Objective:
    """A metric to minimize or to maximize."""

    metric: str
    mode: Mode

    @property
    def better(self) -> str:
        """``larger`` or ``smaller``."""
        return "larger" if self.mode == "max" else "smaller"

    def cost(self, metrics: Mapping[str, float]) -> float:
        """Return the metric, negated where larger is better; NaN where it is missing."""
        value = metrics.get(self.metric, math.nan)
        return -value if self.mode == "max" else value


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, sorted by their first coordinate.

    Every coordinate is minimized, so in one dimension this is the best point. The first of equal points is kept; points
    with coordinates that are not finite are left out.
    """
    finite = [index for index, point in enumerate(points) if all(map(math.isfinite, point))]
    front: list[int] = []
    for index in sorted(finite, key=lambda index: tuple(points[index])):
        # A point sorted later never dominates an earlier one, so comparing with the front so far is enough.
        if not any(all(a <= b for a, b in zip(points[kept], points[index], strict=True)) for kept in front):
            front.append(index)
    return front


def default_metric(values: Mapping[str, Any], known: Collection[str]) -> str | None:
    """Return ``train.best_metric``, else the loss of the validation, test or training split, the first that is known.

    Args:
        values: configuration of a run, by dotted key.
        known: metrics of the run.
    """
    losses = [name for name in ("valid/loss", "test/loss", "train/loss") if name in known]
    return values.get("train.best_metric") or next(iter(losses), None)


def mode_of(values: Mapping[str, Any], metric: str) -> Mode | None:
    """Return the mode of a metric: that of the configuration for ``train.best_metric``, else that of its kind.

    Args:
        values: configuration of a run, by dotted key.
        metric: ``SPLIT/NAME`` or ``SPLIT/NAME/ema``.
    """
    modes: dict[Any, Mode] = {"max": "max", "min": "min"}
    given = modes.get(values.get("train.best_mode")) if metric == values.get("train.best_metric") else None
    return given or mode_of_metric(metric, lambda name: values.get(f"train.metrics.{name}.kind"))


def objectives_of(
    config: Config,
    known: Collection[str],
    metric: str | Sequence[str] | None,
    direction: Direction | Sequence[Direction] | None,
) -> tuple[Objective, ...]:
    """Return the objectives of a sweep.

    Args:
        config: configuration of any of its runs.
        known: names of the metrics that its runs record.
        metric: one or several names; ``default_metric`` if ``None``.
        direction: of each; by ``mode_of`` if ``None``.

    Raises:
        ConfigError: no run has the metric.
    """
    values = flat(plain(config))
    names = [metric] if isinstance(metric, str) else list(metric or ())
    if metric is None and (usual := default_metric(values, known)) is not None:
        names = [usual]
    given = [direction] if isinstance(direction, str) else list(direction or ())
    modes = [None] * len(names) if direction is None else [_MODES[item] for item in given]
    problems = [
        Problem("hydra.sweeper.objective", unknown(f"no metric '{name}'", name, known, most=40))
        for name in names
        if name not in known
    ]
    if not names:
        problems.append(Problem("hydra.sweeper.objective", f"names no metric; allowed: {comma_list(known, 40)}"))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem("hydra.sweeper.objective", f"names {comma_list(twice)} twice"))
    if len(modes) != len(names):
        problems.append(
            Problem("hydra.sweeper.direction", f"has {len(modes)} for {len(names)} objectives; give one for each")
        )
    if problems:
        raise ConfigError(*problems)
    found = {name: chosen or mode_of(values, name) for name, chosen in zip(names, modes, strict=True)}
    objectives = tuple(Objective(name, mode) for name, mode in found.items() if mode is not None)
    if len(objectives) < len(found):
        missing = (name for name, mode in found.items() if mode is None)
        raise ConfigError(
            *(
                Problem(
                    "hydra.sweeper.direction",
                    f"the kind of '{name}' declares no best_mode; give maximize if larger is better, or minimize",
                )
                for name in missing
            )
        )
    return objectives
