"""The metrics that a run of a configuration records."""

from __future__ import annotations

from collections.abc import Iterator

from expkit.config.schema import Config
from expkit.errors import Problem, unknown
from expkit.kinds.of_classes import OfClasses
from expkit.metric_names import EMA, LOSS, loss_names

__all__ = ["metric_names", "unknown_metrics", "unknown_mode"]


def metric_names(config: Config, ema: bool) -> list[str]:
    """Return the names of all metrics that a run records of its losses and metrics, raw and EMA.

    Args:
        config: the configuration; of metrics of classes those are named whose classes it lists.
        ema: whether any variable has an EMA.
    """
    evaluated = ["valid", "test"] if config.data.split.valid is not None else ["test"]
    return [
        *_names_of(config, "train", ema=False),
        *(name for part in evaluated for name in _names_of(config, part, ema)),
    ]


def unknown_mode(metric: str) -> str:
    """Return the message that the mode of a metric is neither given nor declared by its kind."""
    return f"the kind of '{metric}' declares no best_mode; give max if larger values are better, or min"


def _names_of(config: Config, part: str, ema: bool) -> list[str]:
    parts = [
        f"{name}/{part}"
        for name, metric in config.train.metrics.items()
        if isinstance(metric, OfClasses)
        for part in metric.part_names(config.data.classes.get(metric.labels))
    ]
    names = (LOSS, *loss_names(config.train.losses).values(), *config.train.metrics, *parts)
    ends = ("", f"/{EMA}") if ema else ("",)
    return [f"{part}/{name}{end}" for name in names for end in ends]


def _no_metric(metric: str, known: list[str], config: Config) -> str:
    name, _, part = metric.removesuffix(f"/{EMA}").partition("/")[2].rpartition("/")
    of_class = config.train.metrics.get(name)
    if isinstance(of_class, OfClasses) and not of_class.part_names(config.data.classes.get(of_class.labels)):
        return (
            f"'{metric}' is the metric of a class, and its classes are known only with the data; list all names in "
            f"train.metrics.{name}.by_class: [{part}, ...]"
        )
    return unknown(f"no metric '{metric}'", metric, known)


def unknown_metrics(config: Config, ema: bool) -> Iterator[Problem]:
    """Yield the problems of settings that name a metric that no run records, or one of unknown mode."""
    train = config.train
    known = _names_of(config, "valid", ema)
    stopping = train.early_stopping
    requested = [
        ("train.best_metric", train.best_metric, "train.best_mode", train.best_mode),
        ("train.early_stopping.metric", stopping.metric, "train.early_stopping.mode", stopping.mode),
    ]
    for at, metric, at_mode, mode in requested:
        if metric is None:
            continue
        if config.data.split.valid is None:
            yield Problem(
                at,
                f"'{metric}' cannot be known: there is no validation data; give data.split.valid, or {at}=null",
            )
        elif metric not in known:
            yield Problem(at, _no_metric(metric, known, config))
        elif train.mode_of(metric, mode) is None:
            yield Problem(at_mode, unknown_mode(metric))
