"""Layers that change the shape, order or dtype of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Cast", "Flatten", "Reshape", "Transpose"]


@register
class Flatten(Layer):
    """All dimensions but the batch joined into one."""

    kind: Literal["flatten"] = "flatten"

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return one dimension."""
        size = _size(inputs[0])
        if size is None:
            raise ShapeError(f"flatten needs an input whose sizes are all known, got {inputs[0]}")
        return TensorSpec((size,), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Reshape to [batch, size]."""
        return tf.reshape(inputs[0], (-1, math.prod(inputs[0].shape.as_list()[1:])))


@register
class Reshape(Layer):
    """The same values in another shape."""

    kind: Literal["reshape"] = "reshape"
    shape: tuple[Annotated[int, Field(ge=-1)], ...]
    """Sizes after the batch dimension; at most one may be -1, which is computed from the others."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the new shape; -1 is computed if all sizes of the input are known."""
        size = _size(inputs[0])
        known = math.prod(size for size in self.shape if size != -1)
        unknown = self.shape.count(-1)
        if size is None:
            if unknown != 1:
                raise ShapeError(f"reshape to {list(self.shape)} needs one -1: not all sizes of {inputs[0]} are known")
            return TensorSpec(tuple(None if new == -1 else new for new in self.shape), inputs[0].dtype)
        if unknown > 1 or (known != size if unknown == 0 else known == 0 or size % known != 0):
            raise ShapeError(f"reshape to {list(self.shape)} does not hold the {size} values of its input {inputs[0]}")
        return TensorSpec(tuple(size // known if new == -1 else new for new in self.shape), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Reshape to [batch, *shape]."""
        sizes = inputs[0].shape.as_list()[1:]
        if None in sizes:
            return tf.reshape(inputs[0], (tf.shape(inputs[0])[0], *self.shape))
        known = math.prod(size for size in self.shape if size != -1)
        return tf.reshape(inputs[0], (-1, *(math.prod(sizes) // known if size == -1 else size for size in self.shape)))


@register
class Transpose(Layer):
    """The dimensions after the batch in another order."""

    kind: Literal["transpose"] = "transpose"
    perm: tuple[int, ...]
    """Every dimension after the batch, in the new order, counted from 1: ``[3, 1, 2]`` puts channels first."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the sizes in the new order."""
        rank = len(inputs[0].shape) + 1
        if sorted(self.perm) != list(range(1, rank)):
            raise ShapeError(
                f"transpose by {list(self.perm)} needs every number from 1 to {rank - 1} once, for {inputs[0]}"
            )
        return TensorSpec(tuple(inputs[0].shape[axis - 1] for axis in self.perm), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Transpose."""
        return tf.transpose(inputs[0], (0, *self.perm))


@register
class Cast(Layer):
    """The values in another dtype."""

    kind: Literal["cast"] = "cast"
    dtype: Literal["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool"]
    """Type of the output."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape with the new type."""
        return TensorSpec(inputs[0].shape, self.dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Cast."""
        return tf.cast(inputs[0], self.dtype)


def _size(spec: TensorSpec) -> int | None:
    known = [size for size in spec.shape if size is not None]
    return math.prod(known) if len(known) == len(spec.shape) else None
