"""Vectors for ids or positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.initializers import RandomUniform
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.checks import last_size
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Embedding", "OneHot", "PositionEmbedding", "PositionEncoding"]


@register
class Embedding(Layer):
    """One row of a table for each id, for ids of any shape; owns ``embeddings``."""

    kind: Literal["embedding"] = "embedding"
    input_dim: int = Field(gt=0)
    """Rows of the table: ids run from 0 to ``input_dim - 1``."""
    output_dim: int = Field(gt=0)
    """Size of each row."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``embeddings`` [input_dim, output_dim]."""
        return (Declaration("embeddings", (self.input_dim, self.output_dim), RandomUniform()),)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape with ``output_dim`` added."""
        return TensorSpec((*_ids(inputs[0], self.kind).shape, self.output_dim))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Look up."""
        return tf.gather(variables["embeddings"], inputs[0])


@register
class OneHot(Layer):
    """For each id a row of zeros with a one at the id's index."""

    kind: Literal["one_hot"] = "one_hot"
    depth: int = Field(gt=0)
    """Size of each row: ids run from 0 to ``depth - 1``; any other id gives zeros only."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape with ``depth`` added."""
        return TensorSpec((*_ids(inputs[0], self.kind).shape, self.depth))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Return the rows."""
        return tf.one_hot(inputs[0], self.depth)


@register
class PositionEmbedding(Layer):
    """A learned row for each position, added to [batch, positions, size]; owns ``embeddings``.

    BERT calls it ``position_embeddings``.
    """

    kind: Literal["position_embedding"] = "position_embedding"
    max_length: int = Field(gt=0)
    """Rows of the table: the maximum number of positions of an input."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``embeddings`` [max_length, size]."""
        spec = inputs[0]
        return (
            Declaration("embeddings", (self.max_length, _size(spec, self.kind)), RandomUniform(), dtype=spec.dtype),
        )

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        _size(inputs[0], self.kind)
        length = inputs[0].shape[0]
        if length is not None and length > self.max_length:
            raise ShapeError(f"position_embedding has max_length {self.max_length}, but its input {length} positions")
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Add the first rows."""
        return inputs[0] + tf.convert_to_tensor(variables["embeddings"])[: sizes_of(inputs[0])[1]]


@register
class PositionEncoding(Layer):
    """Sines and cosines of the position, added to [batch, positions, size] (Vaswani et al. 2017).

    The first half of the last dimension gets ``sin(position / t)``, the second ``cos(position / t)``, t increasing by a
    constant factor from 1 to ``max_timescale``, as in tensor2tensor.
    """

    kind: Literal["position_encoding"] = "position_encoding"
    max_timescale: float = Field(default=10000.0, gt=1)
    """The longest period, divided by 2 pi."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        if (size := _size(inputs[0], self.kind)) % 2 or size < 4:
            raise ShapeError(f"position_encoding needs an even last dimension of 4 or more, got {inputs[0]}")
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Add the waves."""
        _, length, size = sizes_of(inputs[0])
        half = size // 2
        rates = [self.max_timescale ** (-index / (half - 1)) for index in range(half)]
        angles = tf.cast(tf.range(length), tf.float32)[:, None] * tf.constant(rates, tf.float32)
        return inputs[0] + tf.cast(tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1), inputs[0].dtype)


def _ids(spec: TensorSpec, kind: str) -> TensorSpec:
    if spec.dtype not in ("int32", "int64"):
        raise ShapeError(f"{kind} needs int32 or int64 ids, got {spec}")
    return spec


def _size(spec: TensorSpec, kind: str) -> int:
    size = last_size(spec, kind)
    if len(spec.shape) != 2:
        raise ShapeError(f"{kind} needs [batch, positions, size], got {spec}")
    return size
