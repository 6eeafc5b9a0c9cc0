"""Activations on their own, with or without noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.network.layer import Call, Layer, ShapeError, TensorSpec
from expkit.network.layers.activations import ActivationName, activate
from expkit.network.random import uniform
from expkit.registry import register

__all__ = ["Activation", "Dropout"]


@register
class Activation(Layer):
    """A function of ``tf.nn``, value by value (softmax: over the last dimension)."""

    kind: Literal["activation"] = "activation"
    function: ActivationName
    """Name of the function."""

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return _floats(inputs[0], self.kind)

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Activate."""
        return activate(self.function, inputs[0])


@register
class Dropout(Layer):
    """In training, values set to 0 at random and the others scaled up; the mask depends on (seed, global_step)."""

    kind: Literal["dropout"] = "dropout"
    rate: float = Field(ge=0, lt=1)
    """Share of the values that are dropped, in [0, 1)."""

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return _floats(inputs[0], self.kind)

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Drop in training, pass through otherwise."""
        if not call.training or self.rate == 0:
            return inputs[0]
        noise = uniform(inputs[0].shape.as_list(), call.key, call.step)
        kept = tf.cast(noise >= self.rate, inputs[0].dtype)
        return inputs[0] * kept * (1 / (1 - self.rate))


def _floats(spec: TensorSpec, kind: str) -> TensorSpec:
    if spec.dtype != "float32":
        raise ShapeError(f"{kind} needs float32 input, got {spec}")
    return spec
