"""Layers that join several inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.network.layer import Call, Layer, ShapeError, TensorSpec
from expkit.registry import register

__all__ = ["Add", "Concat", "Multiply"]


def _same_dtype(inputs: Sequence[TensorSpec], kind: str) -> str:
    if len({spec.dtype for spec in inputs}) > 1:
        raise ShapeError(f"{kind} needs inputs of one dtype, got {_listed(inputs)}")
    return inputs[0].dtype


def _listed(inputs: Sequence[TensorSpec]) -> str:
    return " and ".join(str(spec) for spec in inputs)


@register
class Concat(Layer):
    """Inputs joined along one dimension."""

    kind: Literal["concat"] = "concat"
    arity: ClassVar[tuple[int, int | None]] = (2, None)
    axis: int = -1
    """Dimension to join; 0 is the batch and cannot be joined."""

    def _axis(self, inputs: Sequence[TensorSpec]) -> int:
        rank = len(inputs[0].shape) + 1
        axis = self.axis + rank if self.axis < 0 else self.axis
        if not 1 <= axis < rank:
            raise ShapeError(f"concat along axis {self.axis}: inputs of rank {rank} have axes 1 to {rank - 1} to join")
        return axis - 1

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the inputs' shape, the joined dimension added up."""
        dtype = _same_dtype(inputs, "concat")
        axis = self._axis(inputs)
        others = {(*spec.shape[:axis], *spec.shape[axis + 1 :]) for spec in inputs}
        if len({len(spec.shape) for spec in inputs}) > 1 or len(others) > 1:
            raise ShapeError(f"concat along axis {axis + 1} needs the other sizes equal, got {_listed(inputs)}")
        sizes = [spec.shape[axis] for spec in inputs]
        joined = None if None in sizes else sum(size for size in sizes if size is not None)
        shape = inputs[0].shape
        return TensorSpec((*shape[:axis], joined, *shape[axis + 1 :]), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Join."""
        return tf.concat(inputs, axis=self.axis)


class Elementwise(Layer):
    """Base of the layers that join inputs of one shape value by value."""

    arity: ClassVar[tuple[int, int | None]] = (2, None)
    broadcasts = True

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the inputs' common shape."""
        dtype = _same_dtype(inputs, self.kind)
        if len({spec.shape for spec in inputs}) > 1:
            raise ShapeError(f"{self.kind} needs inputs of one shape, got {_listed(inputs)}")
        return TensorSpec(inputs[0].shape, dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Join from left to right."""
        return reduce(tf.add if self.kind == "add" else tf.multiply, inputs)


@register
class Add(Elementwise):
    """Sum of the inputs."""

    kind: Literal["add"] = "add"


@register
class Multiply(Elementwise):
    """Product of the inputs."""

    kind: Literal["multiply"] = "multiply"
