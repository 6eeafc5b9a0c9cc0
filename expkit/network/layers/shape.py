"""Layers that change only the shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.network.layer import Call, Layer, ShapeError, TensorSpec
from expkit.registry import register

__all__ = ["Flatten", "Reshape"]


@register
class Flatten(Layer):
    """All dimensions but the batch joined into one."""

    kind: Literal["flatten"] = "flatten"

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return one dimension."""
        return TensorSpec((_size(inputs[0], "flatten"),), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Reshape to [batch, size]."""
        return tf.reshape(inputs[0], (-1, math.prod(inputs[0].shape.as_list()[1:])))


@register
class Reshape(Layer):
    """The same values in another shape."""

    kind: Literal["reshape"] = "reshape"
    shape: tuple[Annotated[int, Field(ge=-1)], ...]
    """Sizes after the batch dimension; at most one may be -1, which stands for what is left."""

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the new shape, with -1 worked out."""
        size = _size(inputs[0], "reshape")
        known = math.prod(part for part in self.shape if part != -1)
        unknown = self.shape.count(-1)
        if unknown > 1 or (known != size if unknown == 0 else known == 0 or size % known != 0):
            raise ShapeError(f"reshape to {list(self.shape)} does not hold the {size} values of its input {inputs[0]}")
        return TensorSpec(tuple(size // known if part == -1 else part for part in self.shape), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Reshape to [batch, *shape]."""
        size = math.prod(inputs[0].shape.as_list()[1:])
        known = math.prod(part for part in self.shape if part != -1)
        return tf.reshape(inputs[0], (-1, *(size // known if part == -1 else part for part in self.shape)))


def _size(spec: TensorSpec, kind: str) -> int:
    if any(size is None for size in spec.shape):
        raise ShapeError(f"{kind} needs an input whose sizes are all known, got {spec}")
    return math.prod(size for size in spec.shape if size is not None)
