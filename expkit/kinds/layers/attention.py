"""Attention over sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.initializers import GlorotUniform, Zeros
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.checks import last_size, same_dtype
from expkit.kinds.layers.operations import dense_product
from expkit.kinds.layers.pytorch import Layout
from expkit.kinds.layers.tensor_shapes import sizes_of, sizes_to_reshape
from expkit.kinds.numbers import in_dtype, is_fed
from expkit.kinds.precision import widened
from expkit.kinds.random import uniform
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec, fits

__all__ = ["Attention"]


@register
class Attention(Layer):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017) over [batch, positions, size].

    One input attends to itself; of two the first attends to the second; three are queries, keys and values. A query
    that may attend to no key gets zeros, before the projection to ``output_dim``.
    Owns ``query/kernel``, ``key/kernel``, ``value/kernel`` [size, num_heads * key_dim] with their biases, and
    ``output/kernel``, ``output/bias`` where ``output_dim`` is given. Under the scope ``attention/self`` the first six
    have BERT's names.
    """

    kind: Literal["attention"] = "attention"
    arity: ClassVar[tuple[int, int | None]] = (1, 3)
    reads = ("mask",)
    num_heads: Positive
    """Number of heads."""
    key_dim: Positive | None = None
    """Size of queries, keys and values of each head; by default the first input's size divided by ``num_heads``."""
    output_dim: Positive | None = None
    """Size to which the joined heads are projected; by default they are not projected."""
    mask: str | None = None
    """Layer or input that is 1 or true where to attend and 0 or false elsewhere: [batch, keys], or
    [batch, queries, keys]."""
    causal: bool = False
    """Whether a position attends only to itself and those before it."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the attention weights dropped in training."""
    use_bias: bool = True
    """Whether biases are added to the products."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return the kernels and biases of queries, keys, values and the output."""
        joined, dtype = self.num_heads * self._per_head(inputs[0].shape[-1]), inputs[0].dtype
        read = dict(zip(("query", "key", "value"), _sources(inputs), strict=True))
        shapes = {name: (last_size(spec, self.kind), joined) for name, spec in read.items()}
        if self.output_dim is not None:
            shapes["output"] = (joined, self.output_dim)
        return tuple(
            declared
            for name, shape in shapes.items()
            for declared in (
                Declaration(f"{name}/kernel", shape, GlorotUniform(), dtype=dtype, pytorch=Layout((1, 0))),
                Declaration(f"{name}/bias", shape[1:], Zeros(), dtype=dtype),
            )
            if self.use_bias or declared.name.endswith("kernel")
        )

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [queries, output size]."""
        for spec in inputs:
            last_size(spec, self.kind)
            if len(spec.shape) != 2:
                raise ShapeError(f"attention needs [batch, positions, size], got {spec}")
        dtype = same_dtype(inputs, self.kind)
        query, key, value = _sources(inputs)
        queries, keys = query.shape[0], key.shape[0]
        if not fits((keys,), value.shape[:1]):
            raise ShapeError(f"attention needs as many values as keys, got {key} and {value}")
        if self.causal and not fits((queries,), (keys,)):
            raise ShapeError(f"attention with causal: true needs as many queries as keys, got {query} and {key}")
        if (mask := inputs.named.get("mask")) and not (fits(mask.shape, (keys,)) or fits(mask.shape, (queries, keys))):
            raise ShapeError(
                f"attention of {query} to {key} needs a mask [batch, keys] or [batch, queries, keys], got {mask}"
            )
        per_head = self._per_head(query.shape[1])
        return TensorSpec((queries, self.output_dim or self.num_heads * per_head), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Compute the weights of queries and keys, average the values by them, join the heads."""
        per_head = self._per_head(inputs[0].shape.as_list()[-1])
        query, key, value = (
            widened(self._heads(x, name, per_head, variables))
            for x, name in zip(_sources(inputs), ("query", "key", "value"), strict=True)
        )
        scores = tf.matmul(query, key, transpose_b=True) * (1 / math.sqrt(per_head))
        allowed = self._allowed(inputs.named.get("mask"), query)
        if allowed is None:
            weights = tf.nn.softmax(scores)
        else:  # Selected, because a number subtracted from scores hides none that are larger.
            weights = tf.nn.softmax(tf.where_v2(allowed, scores, scores.dtype.min))
            weights = tf.where_v2(allowed, weights, tf.zeros_like(weights))
        if call.training and (is_fed(self.dropout) or self.dropout > 0):
            noise = uniform(sizes_of(weights), call.key, call.step)
            kept = tf.cast(noise >= in_dtype(self.dropout, noise.dtype), weights.dtype)
            weights *= kept * in_dtype(1 / (1 - self.dropout), weights.dtype)
        result = tf.transpose(tf.cast(tf.matmul(weights, value), inputs[0].dtype), (0, 2, 1, 3))
        batch, queries, _, _ = sizes_to_reshape(result)
        result = tf.reshape(result, [batch, queries, self.num_heads * per_head])
        return result if self.output_dim is None else self._times(result, "output", variables)

    def _allowed(self, mask: Any | None, query: Any) -> Any | None:
        """Return where a query may attend to a key, for all heads; ``None`` if it may everywhere."""
        allowed = None
        if mask is not None:
            mask = tf.cast(mask, tf.bool)
            allowed = mask[:, None, None, :] if mask.shape.rank == 2 else mask[:, None, :, :]
        if self.causal:
            positions = tf.range(sizes_of(query)[2])
            earlier = positions[None, :] <= positions[:, None]
            allowed = earlier if allowed is None else tf.logical_and(allowed, earlier)
        return allowed

    def _per_head(self, size: Any) -> int:
        """Return ``key_dim``, or by default that for a query of this size."""
        if self.key_dim is not None:
            return self.key_dim
        if size % self.num_heads:
            raise ShapeError(f"attention of {self.num_heads} heads needs a size that is a multiple, got {size}")
        return int(size // self.num_heads)

    def _heads(self, x: Any, name: str, per_head: int, variables: Mapping[str, Any]) -> Any:
        """Return [batch, heads, positions, per_head]."""
        batch, positions, _ = sizes_to_reshape(x)
        result = tf.reshape(self._times(x, name, variables), [batch, positions, self.num_heads, per_head])
        return tf.transpose(result, (0, 2, 1, 3))

    def _times(self, x: Any, name: str, variables: Mapping[str, Any]) -> Any:
        return dense_product(x, variables[f"{name}/kernel"], variables.get(f"{name}/bias"))


def _sources(inputs: Any) -> Any:
    """Return the inputs of queries, keys and values."""
    return (inputs[0], inputs[min(1, len(inputs) - 1)], inputs[-1])
