"""Names under which a run records its metrics."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass, fields

__all__ = ["EMA", "LOSS", "RATES", "Rates", "loss_names", "loss_that_may_be_named", "metric_that_may_be_named"]

LOSS = "loss"
"""The total loss; a loss of several is recorded under ``loss/NAME``."""
EMA = "ema"
"""Last part of the name of every metric of the EMA network: ``accuracy/ema``."""
_LONGEST = 200  # MLflow takes 250, with what stands before and after the name: train.metrics.NAME.label_smoothing


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Metrics of training besides losses and metrics; each is recorded under the name of its field."""

    learning_rate: float
    """Learning rate of the step."""
    steps_per_second: float
    """Steps per second since metrics were last recorded."""


RATES = tuple(field.name for field in fields(Rates))
"""Names of ``Rates``."""


def loss_names(losses: Collection[str]) -> dict[str, str]:
    """Return the name of every loss's own metric, by loss; a single loss has none, because it is the total."""
    return {name: f"{LOSS}/{name}" for name in losses} if len(losses) > 1 else {}


def metric_that_may_be_named(name: str) -> str:
    """Return the name of a metric.

    Raises:
        ValueError: it is recorded of something else, or MLflow does not accept it.
    """
    first, last = name.partition("/")[0], name.rpartition("/")[2]
    if name in RATES or first == LOSS or last == EMA:
        raise ValueError(
            f"'{name}' is not allowed, because expkit records other values under it; not allowed are "
            f"{', '.join((LOSS, *RATES, EMA))}, {LOSS}/... and .../{EMA}; choose another name"
        )
    return _accepted_by_mlflow(name)


def loss_that_may_be_named(name: str) -> str:
    """Return the name of a loss.

    Raises:
        ValueError: it is recorded of something else, or MLflow does not accept it.
    """
    if name.rpartition("/")[2] == EMA:
        raise ValueError(
            f"'{name}' is not allowed, because {LOSS}/{EMA} is recorded of the EMA network; not allowed are {EMA} "
            f"and .../{EMA}; choose another name"
        )
    return _accepted_by_mlflow(name)


def _accepted_by_mlflow(name: str) -> str:
    """Return a name that MLflow accepts in metrics and params: a path with one spelling."""
    if wrong := re.search(r"[^/\w.\- :]", name):
        raise ValueError(f"{wrong[0]!r} is not allowed in '{name}'; allowed: letters, digits, / _ . : - and space")
    if not name or posixpath.normpath(f"/{name}") != f"/{name}" or name.startswith("/"):
        raise ValueError(f"'{name}' is no name for MLflow: no part between / may be empty, . or ..")
    if len(name) > _LONGEST:
        raise ValueError(f"a name has at most {_LONGEST} characters, this one has {len(name)}")
    return name
