"""Activation functions by their names in ``tf.nn`` and Keras."""

from __future__ import annotations

import math
from typing import Any, Literal

from expkit import tf1 as tf

__all__ = ["ActivationName", "activate"]

ActivationName = Literal[
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "softmax",
    "log_softmax",
]


def activate(name: ActivationName, tensor: Any) -> Any:
    """Return the activation of a tensor; softmax and log_softmax work on its last dimension."""
    if name == "linear":
        return tensor
    if name == "gelu":  # tensorflow.compat.v1 has none.
        return 0.5 * tensor * (1.0 + tf.math.erf(tensor / math.sqrt(2.0)))
    return getattr(tf.nn, name)(tensor)
