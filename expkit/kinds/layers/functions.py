"""Layers that apply a mathematical function to the values of a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import inner_axis, need_floats
from expkit.kinds.precision import widened
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["ArgMax", "Clip", "CumSum", "Math"]

_OF_INTEGERS = ("abs", "negative", "sign", "square")
"""Functions that map integers to integers."""


def _need_numbers(spec: TensorSpec, kind: str) -> TensorSpec:
    if spec.dtype == "bool":
        raise ShapeError(f"{kind} needs numbers, got {spec}; convert them with kind 'cast'")
    return spec


@register
class Math(Layer):
    """A function of ``tf.math``, value by value."""

    kind: Literal["math"] = "math"
    function: Literal[
        "abs",
        "cos",
        "exp",
        "floor",
        "log",
        "negative",
        "reciprocal",
        "rsqrt",
        "sign",
        "sin",
        "sqrt",
        "square",
    ]
    """Name of the function; abs, negative, sign and square take int32 and int64, too."""

    def passes_gradient(self, field: str) -> bool:
        """Return False for the functions that are constant almost everywhere."""
        return self.function not in ("floor", "sign")

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        if self.function in _OF_INTEGERS and inputs[0].dtype in ("int32", "int64"):
            return inputs[0]
        return need_floats(inputs[0], f"math with function '{self.function}'")

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Apply the function."""
        return getattr(tf.math, self.function)(inputs[0])


@register
class Clip(Layer):
    """The values limited to a range (``tf.clip_by_value``); outside of it the gradient is 0."""

    kind: Literal["clip"] = "clip"
    minimum: float | None = None
    """Smallest value; by default no limit."""
    maximum: float | None = None
    """Largest value; by default no limit."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Clip:
        if self.minimum is None and self.maximum is None:
            raise ValueError("clip needs 'minimum', 'maximum' or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}; exchange them")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return need_floats(inputs[0], self.kind)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Clip."""
        values = inputs[0]
        if self.minimum is not None:
            values = tf.maximum(values, tf.cast(self.minimum, values.dtype))
        return values if self.maximum is None else tf.minimum(values, tf.cast(self.maximum, values.dtype))


@register
class ArgMax(Layer):
    """Index of the largest value along one dimension, the first of equal ones (``tf.argmax``), as int64."""

    kind: Literal["argmax"] = "argmax"
    axis: int = -1
    """Dimension, the batch counted as 0; it is removed."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the other dimensions."""
        shape = _need_numbers(inputs[0], self.kind).shape
        axis = inner_axis(self.axis, len(shape) + 1, self.kind)
        return TensorSpec((*shape[: axis - 1], *shape[axis:]), "int64")

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Return the indices."""
        return tf.argmax(inputs[0], axis=self.axis, output_type=tf.int64)


@register
class CumSum(Layer):
    """Running sum along one dimension (``tf.cumsum``)."""

    kind: Literal["cumsum"] = "cumsum"
    axis: int = 1
    """Dimension, the batch counted as 0."""
    exclusive: bool = False
    """Whether a sum leaves out the value at its own index, so that the first is 0."""
    reverse: bool = False
    """Whether to sum from the end."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        inner_axis(self.axis, len(_need_numbers(inputs[0], self.kind).shape) + 1, self.kind)
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Sum."""
        sums = tf.cumsum(widened(inputs[0]), axis=self.axis, exclusive=self.exclusive, reverse=self.reverse)
        return tf.cast(sums, inputs[0].dtype)
