"""Layers that compare values, or select them by a condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.kinds.initializers import Constant
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import common_shape, listed_specs, same_dtype
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Compare", "Where"]


@register
class Compare(Layer):
    """True where the first input compares so with the second, or with ``value``; a dimension of size 1 broadcasts."""

    kind: Literal["compare"] = "compare"
    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    broadcasts = True
    function: Literal["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
    """Name of the comparison."""
    value: float | None = None
    """Number to compare a single input with."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the inputs' common shape, as bool."""
        dtype = same_dtype(inputs, self.kind)
        if (len(inputs) == 1) != (self.value is not None):
            raise ShapeError(f"compare needs either two inputs or one input and 'value', got {listed_specs(inputs)}")
        if dtype == "bool":
            raise ShapeError(f"compare needs numbers, got {listed_specs(inputs)}; convert them with kind 'cast'")
        if self.value is not None and (reason := Constant(value=self.value).unsuited(dtype)):
            raise ShapeError(f"compare with 'value': {reason}; convert the input with kind 'cast'")
        return TensorSpec(common_shape(inputs, self.kind), "bool")

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Compare."""
        second = inputs[1] if self.value is None else tf.cast(self.value, inputs[0].dtype)
        return getattr(tf.math, self.function)(inputs[0], second)


@register
class Where(Layer):
    """The first input's values where a condition is true, the second's elsewhere; a dimension of size 1 broadcasts.

    The gradient of what is not selected is 0, but NaN if the layers before are infinite there: limit their inputs, too.
    """

    kind: Literal["where"] = "where"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    reads: ClassVar[tuple[str, ...]] = ("condition",)
    broadcasts = True
    condition: str
    """Layer or network input that holds the condition, bool."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the common shape of the inputs and the condition."""
        dtype, condition = same_dtype(inputs, self.kind), inputs.named["condition"]
        if condition.dtype != "bool":
            raise ShapeError(
                f"where needs a condition of bool, got {condition}; make one with kind 'compare' or 'cast'"
            )
        return TensorSpec(common_shape((*inputs, condition), self.kind), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Select."""
        return tf.where_v2(inputs.named["condition"], *inputs)
