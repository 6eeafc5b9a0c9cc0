"""Activation functions by their names in ``tf.nn`` and Keras."""

from __future__ import annotations

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
    return tensor if name == "linear" else getattr(tf.nn, name)(tensor)
