"""Layers that join several inputs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import common_shape, inner_axis, listed_specs, need_floats, same_dtype
from expkit.kinds.precision import widened
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = [
    "Add",
    "Average",
    "Concat",
    "Divide",
    "Maximum",
    "Minimum",
    "Multiply",
    "Stack",
    "Subtract",
]


@register
class Concat(Layer):
    """Inputs joined along one dimension."""

    kind: Literal["concat"] = "concat"
    arity: ClassVar[tuple[int, int | None]] = (2, None)
    axis: int = -1
    """Dimension to join; 0 is the batch and cannot be joined."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the inputs' shape with the sum of the sizes along the joined dimension."""
        dtype = same_dtype(inputs, "concat")
        axis = inner_axis(self.axis, len(inputs[0].shape) + 1, "concat") - 1
        others = {(*spec.shape[:axis], *spec.shape[axis + 1 :]) for spec in inputs}
        if len({len(spec.shape) for spec in inputs}) > 1 or len(others) > 1:
            raise ShapeError(f"concat along axis {axis + 1} needs the other sizes equal, got {listed_specs(inputs)}")
        sizes = [spec.shape[axis] for spec in inputs]
        joined = None if None in sizes else sum(size for size in sizes if size is not None)
        shape = inputs[0].shape
        return TensorSpec((*shape[:axis], joined, *shape[axis + 1 :]), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Join."""
        return tf.concat(list(inputs), axis=self.axis)


@register
class Stack(Layer):
    """Inputs of one shape stacked along a new dimension."""

    kind: Literal["stack"] = "stack"
    arity: ClassVar[tuple[int, int | None]] = (2, None)
    axis: int = 1
    """Index of the new dimension, the batch counted as 0."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the inputs' shape with their number as a new dimension."""
        dtype = same_dtype(inputs, "stack")
        if len({spec.shape for spec in inputs}) > 1:
            raise ShapeError(f"stack needs inputs of one shape, got {listed_specs(inputs)}")
        shape = inputs[0].shape
        axis = inner_axis(self.axis, len(shape) + 2, "stack") - 1
        return TensorSpec((*shape[:axis], len(inputs), *shape[axis:]), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Stack."""
        return tf.stack(list(inputs), axis=self.axis)


class Elementwise(Layer):
    """Base of the elementwise operations of several inputs; a dimension of size 1 broadcasts."""

    arity: ClassVar[tuple[int, int | None]] = (2, None)
    broadcasts = True

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the inputs' common shape."""
        dtype = same_dtype(inputs, self.kind)
        if dtype == "bool":
            raise ShapeError(f"{self.kind} needs numbers, got {listed_specs(inputs)}; convert them with kind 'cast'")
        if self.kind in ("average", "divide"):
            need_floats(inputs[0], self.kind)
        return TensorSpec(common_shape(inputs, self.kind), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Apply the operation from left to right."""
        if self.kind == "average":
            return tf.cast(reduce(tf.add, map(widened, inputs)) / len(inputs), inputs[0].dtype)
        return reduce(getattr(tf, self.kind), inputs)


@register
class Add(Elementwise):
    """Sum of the inputs."""

    kind: Literal["add"] = "add"


@register
class Subtract(Elementwise):
    """The first input minus the second."""

    kind: Literal["subtract"] = "subtract"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)


@register
class Multiply(Elementwise):
    """Product of the inputs."""

    kind: Literal["multiply"] = "multiply"


@register
class Divide(Elementwise):
    """The first input divided by the second; infinite or NaN where that is 0."""

    kind: Literal["divide"] = "divide"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)


@register
class Average(Elementwise):
    """Mean of the inputs."""

    kind: Literal["average"] = "average"


@register
class Maximum(Elementwise):
    """Largest of the inputs."""

    kind: Literal["maximum"] = "maximum"


@register
class Minimum(Elementwise):
    """Smallest of the inputs."""

    kind: Literal["minimum"] = "minimum"
