"""Look-up of vectors by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.network.initializers import RandomUniform
from expkit.network.layer import Call, Declaration, Layer, ShapeError, TensorSpec
from expkit.registry import register

__all__ = ["Embedding"]


@register
class Embedding(Layer):
    """One row of a table for every id; owns ``embeddings``."""

    kind: Literal["embedding"] = "embedding"
    input_dim: int = Field(gt=0)
    """Rows of the table: ids run from 0 to ``input_dim - 1``."""
    output_dim: int = Field(gt=0)
    """Size of each row."""

    def declare(self, inputs: Sequence[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``embeddings`` [input_dim, output_dim]."""
        return (Declaration("embeddings", (self.input_dim, self.output_dim), RandomUniform()),)

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the input's shape with ``output_dim`` added."""
        if inputs[0].dtype not in ("int32", "int64"):
            raise ShapeError(f"embedding needs int32 or int64 ids, got {inputs[0]}")
        return TensorSpec((*inputs[0].shape, self.output_dim))

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Look up."""
        return tf.gather(variables["embeddings"], inputs[0])
