"""Activation functions by their names in ``tf.nn`` and Keras."""

from __future__ import annotations

import math
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.precision import widened
from expkit.tensor_spec import TensorSpec

__all__ = ["ActivationName", "CellActivationName", "activate", "activated"]

CellActivationName = Literal[
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "hard_silu",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "softmax",
    "log_softmax",
]
"""Those that keep the size of the last dimension, as a recurrent cell needs."""

ActivationName = Literal[CellActivationName, "crelu"]


def activate(name: ActivationName, tensor: Any) -> Any:
    """Return the activation of a tensor; crelu, softmax and log_softmax act on the last dimension."""
    match name:
        case "linear":
            return tensor
        case "gelu":  # tensorflow.compat.v1 has neither this nor gelu_tanh.
            return 0.5 * tensor * (1.0 + tf.math.erf(tensor / math.sqrt(2.0)))
        case "gelu_tanh":
            return 0.5 * tensor * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (tensor + 0.044715 * tensor**3)))
        case "hard_sigmoid":
            return tf.nn.relu6(tensor + 3.0) / 6.0
        case "hard_silu":
            return tensor * tf.nn.relu6(tensor + 3.0) / 6.0
        case "softmax" | "log_softmax":
            return tf.cast(getattr(tf.nn, name)(widened(tensor)), tensor.dtype)
    return getattr(tf.nn, name)(tensor)


def activated(name: ActivationName, spec: TensorSpec) -> TensorSpec:
    """Return the spec after an activation: crelu doubles the last dimension."""
    if name != "crelu" or not spec.shape or spec.shape[-1] is None:
        return spec
    return TensorSpec((*spec.shape[:-1], 2 * spec.shape[-1]), spec.dtype)
