"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from expkit.kinds.initializers import GlorotUniform, Zeros
from expkit.kinds.layers.activations import ActivationName, activate, activated
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.checks import last_size
from expkit.kinds.layers.operations import dense_product
from expkit.kinds.layers.pytorch import Layout
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

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

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``kernel`` [features, units] and ``bias`` [units]."""
        features, dtype = last_size(inputs[0], self.kind), inputs[0].dtype
        kernel = Declaration("kernel", (features, self.units), GlorotUniform(), dtype=dtype, pytorch=Layout((1, 0)))
        return (kernel, Declaration("bias", (self.units,), Zeros(), dtype=dtype)) if self.use_bias else (kernel,)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape with ``units`` as its last dimension."""
        last_size(inputs[0], self.kind)
        return activated(self.activation, TensorSpec((*inputs[0].shape[:-1], self.units), inputs[0].dtype))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply, add, activate."""
        return activate(self.activation, dense_product(inputs[0], variables["kernel"], variables.get("bias")))
