"""The update of exponential moving averages (EMA)."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from expkit import tf1 as tf
from expkit.config.sections.ema import EmaConfig

__all__ = ["ema_update"]


def ema_update(ema: EmaConfig, names: Set[str], step: Any) -> Callable[[Any], Any]:
    """Return a function that, given a variable, returns the operation that updates its EMA after a training step.

    Args:
        ema: decay and start.
        names: variables that have an EMA; for others the operation does nothing.
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
