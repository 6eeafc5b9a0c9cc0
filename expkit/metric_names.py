"""Names under which a run records its metrics."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable

__all__ = [
    "EMA",
    "LEARNING_RATE",
    "LOSS",
    "RATES",
    "STEPS_PER_SECOND",
    "allowed_loss_name",
    "allowed_metric_name",
    "allowed_phase_name",
    "class_names",
    "is_rate",
    "loss_names",
    "rate_name",
]

LOSS = "loss"
"""The total loss; a loss of several is recorded under ``loss/NAME``."""
EMA = "ema"
"""Last part of the name of every metric of the EMA network: ``accuracy/ema``."""
LEARNING_RATE = "learning_rate"
"""Learning rate of the step; that of a phase is recorded under ``learning_rate/PHASE``."""
STEPS_PER_SECOND = "steps_per_second"
"""Steps per second since metrics were last recorded."""
RATES = (LEARNING_RATE, STEPS_PER_SECOND)
"""Metrics of training besides losses and metrics."""
_LONGEST_CLASS = 40
"""Characters of the name of a class in that of a metric."""
_LONGEST = 200  # MLflow takes 250, with what stands before and after the name: train.metrics.NAME.label_smoothing


def loss_names(losses: Collection[str]) -> dict[str, str]:
    """Return the name of every loss's own metric, by loss; a single loss has none, because it is the total."""
    return {name: f"{LOSS}/{name}" for name in losses} if len(losses) > 1 else {}


def rate_name(phase: str) -> str:
    """Return the name of the learning rate of a phase; the phase of a training without phases is called ``""``."""
    return f"{LEARNING_RATE}/{phase}" if phase else LEARNING_RATE


def class_names(names: Iterable[object]) -> list[str]:
    """Return a name for each class under which MLflow accepts a metric; all differ."""
    found: list[str] = []
    for number, name in enumerate(names):
        text = re.sub(r"[^\w.\- :]", "_", str(name)).strip()[:_LONGEST_CLASS]
        if not text.strip(".") or text == EMA or text in found:
            text = f"{text}_{number}"
        while text in found:
            text += "_"
        found.append(text)
    return found


def is_rate(name: str) -> bool:
    """Return True for a metric of training that is neither a loss nor a metric of the configuration."""
    return name.partition("/")[0] in RATES


def allowed_metric_name(name: str) -> str:
    """Return the name of a metric.

    Raises:
        ValueError: it is recorded of something else, or MLflow does not accept it.
    """
    first, last = name.partition("/")[0], name.rpartition("/")[2]
    if name == STEPS_PER_SECOND or first in (LOSS, LEARNING_RATE) or last == EMA:
        raise ValueError(
            f"'{name}' is not allowed, because expkit records other values under it; not allowed are "
            f"{', '.join((LOSS, LEARNING_RATE, STEPS_PER_SECOND, EMA))}, {LOSS}/..., {LEARNING_RATE}/... and "
            f".../{EMA}; choose another name"
        )
    return _accepted_by_mlflow(name)


def allowed_loss_name(name: str) -> str:
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


def allowed_phase_name(name: str) -> str:
    """Return the name of a phase.

    Raises:
        ValueError: it cannot be the first part of the names of variables.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_\-]*", name) or len(name) > _LONGEST:
        raise ValueError(
            f"'{name}' is not a name of a phase, under which its slots are saved; allowed: at most {_LONGEST} letters, "
            "digits, _ and -, starting with a letter or a digit"
        )
    return name


def _accepted_by_mlflow(name: str) -> str:
    """Return a name that MLflow accepts in metrics and params: a path with one spelling."""
    if wrong := re.search(r"[^/\w.\- :]", name):
        raise ValueError(f"{wrong[0]!r} is not allowed in '{name}'; allowed: letters, digits, / _ . : - and space")
    if not name or posixpath.normpath(f"/{name}") != f"/{name}" or name.startswith("/"):
        raise ValueError(f"'{name}' is not a name for MLflow: no part between / may be empty, . or ..")
    if len(name) > _LONGEST:
        raise ValueError(f"a name has at most {_LONGEST} characters, this one has {len(name)}")
    return name
