"""Custom kinds: a layer that gates its input, and a loss that is robust to outliers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from expkit import (
    Call,
    Declaration,
    GlorotUniform,
    Inputs,
    Layer,
    Loss,
    ShapeError,
    TensorSpec,
    Zeros,
    register,
)
from expkit import tf1 as tf


@register
class Gate(Layer):
    """``input * sigmoid(input @ kernel + bias)``; owns ``kernel`` and ``bias``."""

    kind: Literal["gate"] = "gate"
    openness: float = Field(default=0.0, ge=-10, le=10)
    """Added to the input of the sigmoid: the larger, the more open the gate."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``kernel`` [features, features] and ``bias`` [features]."""
        size = inputs[0].shape[-1]
        assert size is not None
        return Declaration("kernel", (size, size), GlorotUniform()), Declaration("bias", (size,), Zeros())

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        if len(inputs[0].shape) != 1 or inputs[0].shape[0] is None or inputs[0].dtype != "float32":
            raise ShapeError(f"gate needs [batch, features] float32, got {inputs[0]}")
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply by the gate."""
        gate = tf.matmul(inputs[0], variables["kernel"]) + variables["bias"] + self.openness
        return inputs[0] * tf.sigmoid(gate)


@register
class LogCosh(Loss):
    """``delta ** 2 * log(cosh(difference / delta))``: about half the square near 0, far from it linear."""

    kind: Literal["log_cosh"] = "log_cosh"
    delta: float = Field(default=1.0, gt=0)
    """Difference about which the loss becomes linear."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return the reason why the labels do not fit, if there is one."""
        if output.shape != labels.shape[1:]:
            return f"needs labels of shape {list(output.shape)}, got {list(labels.shape[1:])}"
        return None

    def values(self, output: Any, labels: Any) -> Any:
        """Return the loss of every value."""
        ratio = tf.abs(output - tf.cast(labels, output.dtype)) / self.delta
        return self.delta**2 * (ratio + tf.math.softplus(-2 * ratio) - tf.math.log(2.0))
