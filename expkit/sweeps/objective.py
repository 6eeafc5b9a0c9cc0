"""What a sweep is judged by: a metric, and whether its best is the largest or the smallest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, comma_list, unknown
from expkit.kinds.metrics import usual_mode
from expkit.preflight import check, metric_names

__all__ = ["Mode", "Objective", "front", "objectives_of"]

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Objective:
    """A metric to minimize or to maximize."""

    metric: str
    mode: Mode


def front(objectives: Sequence[Objective], values: Sequence[Mapping[str, float]]) -> list[int]:
    """Return the places of the runs that no other is better than, by the first objective, best first.

    Of one objective that is the best run, the first of equal ones. Runs that lack a metric, or have no number, are left
    out.

    Args:
        objectives: what runs are judged by.
        values: the metrics of every run.
    """
    points = {
        place: tuple(metrics[item.metric] * (1 if item.mode == "min" else -1) for item in objectives)
        for place, metrics in enumerate(values)
        if all(math.isfinite(metrics.get(item.metric, math.nan)) for item in objectives)
    }
    kept: dict[tuple[float, ...], int] = {}
    for place, point in sorted(points.items(), key=lambda item: item[1]):
        # What is sorted before is better in some objective, so a point is kept where none of them is so in all.
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in kept):
            kept[point] = place
    return list(kept.values())


def objectives_of(
    config: Config, metric: str | Sequence[str] | None, mode: Mode | Sequence[Mode] | None
) -> tuple[Objective, ...]:
    """Return what a sweep is judged by.

    Args:
        config: of any of its runs.
        metric: its name, or names; by default ``train.best_metric``, else the loss of the validation part, or of the
            test part.
        mode: of each; by default ``train.best_mode`` for the metric named there, ``min`` for losses and errors, else
            ``max``.

    Raises:
        ConfigError: no run has the metric.
    """
    known = metric_names(config, check(config))
    if metric is None:
        metric = config.train.best_metric or ("valid/loss" if "valid/loss" in known else "test/loss")
    names = [metric] if isinstance(metric, str) else list(metric)
    modes = [None] * len(names) if mode is None else [mode] if isinstance(mode, str) else list(mode)
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
        problems.append(Problem("hydra.sweeper.mode", f"has {len(modes)} for {len(names)} objectives; give each one"))
    if problems:
        raise ConfigError(*problems)
    return tuple(Objective(name, given or _mode(config, name)) for name, given in zip(names, modes, strict=True))


def _mode(config: Config, metric: str) -> Mode:
    measure = config.train.metrics.get(metric.split("/")[1])
    if metric == config.train.best_metric:
        return config.train.best_mode
    return usual_mode(None if measure is None else measure.kind)
