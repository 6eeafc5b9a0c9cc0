"""Exponential moving averages: which variables have one, and the operation that moves them."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import EmaConfig
from expkit.errors import ConfigError, Problem, listed
from expkit.network.spec import NetworkSpec

__all__ = ["averaged_names", "moving_averages"]


def averaged_names(ema: EmaConfig, spec: NetworkSpec) -> tuple[str, ...]:
    """Return the names of the variables that have an average.

    Raises:
        ConfigError: averages are enabled, but the regular expression is none or matches no trained variable.
    """
    if not ema.enabled:
        return ()
    try:
        names = tuple(name for name in spec.trainable if re.fullmatch(ema.variables, name))
    except re.error as error:
        raise ConfigError(Problem("ema.variables", f"'{ema.variables}' is no regular expression: {error}")) from None
    if not names:
        raise ConfigError(
            Problem(
                "ema.variables",
                f"'{ema.variables}' matches no trained variable; variables: {listed(spec.trainable)}; "
                "use ema=none for no averages",
            )
        )
    return names


def moving_averages(ema: EmaConfig, names: Set[str], step: Any) -> Callable[[Any], Any]:
    """Return a function that, given a variable, returns the operation that moves its average after a training step.

    Args:
        ema: decay, and how early averages move.
        names: variables that have an average; nothing is done for others.
        step: int64 scalar, the step just done, counted from 0; ``num_updates`` is ``step + 1``.
    """
    decay = tf.constant(ema.decay, tf.float32)
    if ema.start_step:
        decay = tf.where(step < ema.start_step, 0.0, decay)
    if ema.num_updates:  # As ExponentialMovingAverage would, for every variable anew.
        updates = tf.cast(step + 1, tf.float32)
        decay = tf.minimum(decay, (1.0 + updates) / (10.0 + updates))
    average = tf.train.ExponentialMovingAverage(decay)
    return lambda variable: average.apply([variable]) if variable.op.name in names else tf.no_op()
