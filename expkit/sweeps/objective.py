"""What a sweep is judged by: a metric, and whether its best is the largest or the smallest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, did_you_mean, listed
from expkit.preflight import check, metric_names

__all__ = ["Mode", "Objective", "objective_of"]

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Objective:
    """A metric to minimize or to maximize."""

    metric: str
    mode: Mode

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than another, or than none; one that is no number never is."""
        if value != value:
            return False
        return than is None or (value < than if self.mode == "min" else value > than)

    def best(self, values: Iterable[Mapping[str, float]]) -> int | None:
        """Return the place of the best of several runs' metrics, or ``None`` where no run has the metric."""
        best: float | None = None
        place = None
        for at, metrics in enumerate(values):
            if self.metric in metrics and self.better(metrics[self.metric], best):
                best, place = metrics[self.metric], at
        return place


def objective_of(config: Config, metric: str | None, mode: Mode | None) -> Objective:
    """Return what a sweep is judged by.

    Args:
        config: of any of its runs.
        metric: its name; by default ``train.best_metric``, else the loss of the validation part, or of the test part.
        mode: by default ``train.best_mode`` for the metric named there, ``min`` for losses and errors, else ``max``.

    Raises:
        ConfigError: no run has the metric.
    """
    known = metric_names(config, check(config))
    if metric is None:
        metric = config.train.best_metric or ("valid/loss" if "valid/loss" in known else "test/loss")
    if metric not in known:
        near = did_you_mean(metric, known) or ";"
        raise ConfigError(
            Problem("hydra.sweeper.objective", f"no metric '{metric}'{near} allowed: {listed(known, 40)}")
        )
    if mode is None:
        measure = config.train.metrics.get(metric.split("/")[1])
        least = measure is None or measure.kind.endswith("_error")
        mode = config.train.best_mode if metric == config.train.best_metric else "min" if least else "max"
    return Objective(metric, mode)
