"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.network.initializers import GlorotUniform, Zeros
from expkit.network.layer import Call, Declaration, Layer, ShapeError, TensorSpec
from expkit.network.layers.activations import ActivationName, activate
from expkit.registry import register

__all__ = ["Dense"]


@register
class Dense(Layer):
    """``activation(input @ kernel + bias)`` over the last dimension; owns ``kernel`` and ``bias``."""

    kind: Literal["dense"] = "dense"
    units: int = Field(gt=0)
    """Size of the output's last dimension."""
    activation: ActivationName = "linear"
    """Function of ``tf.nn`` applied to the result."""
    use_bias: bool = True
    """Whether a ``bias`` is added."""

    def declare(self, inputs: Sequence[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``kernel`` [features, units] and ``bias`` [units]."""
        kernel = Declaration("kernel", (_features(inputs[0]), self.units), GlorotUniform())
        return (kernel, Declaration("bias", (self.units,), Zeros())) if self.use_bias else (kernel,)

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the input's shape with ``units`` as its last dimension."""
        _features(inputs[0])
        return TensorSpec((*inputs[0].shape[:-1], self.units))

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Multiply, add, activate."""
        rank = inputs[0].shape.rank
        kernel = variables["kernel"]
        result = tf.matmul(inputs[0], kernel) if rank == 2 else tf.tensordot(inputs[0], kernel, [[rank - 1], [0]])
        if self.use_bias:
            result = tf.nn.bias_add(result, variables["bias"])
        return activate(self.activation, result)


def _features(spec: TensorSpec) -> int:
    if spec.dtype != "float32":
        raise ShapeError(f"dense needs float32 input, got {spec}")
    if not spec.shape or spec.shape[-1] is None:
        raise ShapeError(f"dense needs an input whose last dimension is known, got {spec}")
    return spec.shape[-1]
