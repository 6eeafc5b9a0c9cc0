"""The update of exponential moving averages (EMA)."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from expkit import tf1 as tf
from expkit.config.sections.ema import EmaConfig
from expkit.kinds.numbers import scalar
from expkit.network.names import ema_name

__all__ = ["ema_update"]


def ema_update(ema: EmaConfig, names: Set[str], step: Any) -> Callable[[Any], Any]:
    """Return a function that, given a variable, returns the operation that updates its EMA after a training step.

    An EMA variable that exists is updated, because the network reads it; others are created.

    Args:
        ema: decay and start.
        names: variables that have an EMA; for others the operation does nothing.
        step: int64 scalar, the step just done, counted from 0; ``num_updates`` is ``step + 1``.
    """
    decay = scalar(ema.decay, tf.float32)
    if ema.start_step:
        decay = tf.where(step < ema.start_step, 0.0, decay)
    if ema.num_updates:  # As ExponentialMovingAverage would, for every variable anew.
        updates = tf.cast(step + 1, tf.float32)
        decay = tf.minimum(decay, (1.0 + updates) / (10.0 + updates))
    average = tf.train.ExponentialMovingAverage(decay)
    with tf.init_scope():
        read = {variable.op.name: variable for variable in tf.global_variables()}

    def update(variable: Any) -> Any:
        if variable.op.name not in names:
            return tf.no_op()
        if (existing := read.get(ema_name(variable.op.name))) is None:
            return average.apply([variable])
        # As ExponentialMovingAverage would update the variable that it creates itself.
        difference = (existing - variable) * tf.cast(1.0 - decay, variable.dtype.base_dtype)
        return existing.assign_sub(difference, read_value=False)

    return update
