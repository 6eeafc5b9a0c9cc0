"""Products of two inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import listed_specs, need_floats, same_dtype
from expkit.kinds.precision import widened
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec, fits

__all__ = ["Dot", "Matmul", "Similarity"]


@register
class Dot(Layer):
    """Inner product of two inputs along the last dimension, which is removed."""

    kind: Literal["dot"] = "dot"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    broadcasts = True
    normalize: bool = False
    """Whether both are divided by their norms first, which gives the cosine similarity; a norm below 1e-6 counts as
    1e-6, as in ``tf.nn.l2_normalize``."""
    keepdims: bool = False
    """Whether the dimension is kept, with size 1."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the inputs' shape without the last dimension."""
        dtype = need_floats(inputs[0], self.kind).dtype
        same_dtype(inputs, self.kind)
        if not inputs[0].shape or not fits(inputs[0].shape, inputs[1].shape):
            raise ShapeError(f"dot needs two inputs of one shape with a last dimension, got {listed_specs(inputs)}")
        return TensorSpec((*inputs[0].shape[:-1], *((1,) if self.keepdims else ())), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply and add up."""
        left, right = map(widened, inputs)
        if self.normalize:
            left, right = (tf.nn.l2_normalize(x, axis=-1) for x in (left, right))
        return tf.cast(tf.reduce_sum(left * right, axis=-1, keepdims=self.keepdims), inputs[0].dtype)


@register
class Matmul(Layer):
    """Matrix product of two inputs [batch, ..., rows, columns], matrix by matrix."""

    kind: Literal["matmul"] = "matmul"
    arity: ClassVar[tuple[int, int | None]] = (2, 2)
    broadcasts = True
    transpose_a: bool = False
    """Whether the first input's matrices are transposed."""
    transpose_b: bool = False
    """Whether the second input's matrices are transposed."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [..., rows of the first, columns of the second]."""
        dtype = need_floats(inputs[0], self.kind).dtype
        same_dtype(inputs, self.kind)
        a, b = (spec.shape for spec in inputs)
        if len(a) < 2 or len(a) != len(b) or not fits(a[:-2], b[:-2]):
            raise ShapeError(
                "matmul needs two inputs [batch, ..., rows, columns] that differ in rows and columns only, "
                f"got {listed_specs(inputs)}"
            )
        rows, inner = (a[-1], a[-2]) if self.transpose_a else (a[-2], a[-1])
        other, columns = (b[-1], b[-2]) if self.transpose_b else (b[-2], b[-1])
        if not fits((inner,), (other,)):
            first, second = (str(flag).lower() for flag in (self.transpose_a, self.transpose_b))
            raise ShapeError(
                f"matmul needs as many columns in the first as rows in the second, got {inner} and {other}, of "
                f"{listed_specs(inputs)} with transpose_a: {first}, transpose_b: {second}"
            )
        return TensorSpec((*a[:-2], rows, columns), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply."""
        return tf.matmul(*inputs, transpose_a=self.transpose_a, transpose_b=self.transpose_b)


@register
class Similarity(Layer):
    """Every example of the batch compared with every other, or with those of a second input: [batch, batch].

    What it gives for an example depends on the others of the batch, in evaluation on ``evaluation_batch_size``, too:
    only outputs with ``use: training`` may need it.
    """

    kind: Literal["similarity"] = "similarity"
    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    couples_examples = True
    function: Literal["dot", "cosine", "euclidean"]
    """Inner product, that of vectors divided by their norms (a norm below 1e-6 counts as 1e-6), or distance."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return one number for each example of the batch."""
        dtype = need_floats(inputs[0], self.kind).dtype
        same_dtype(inputs, self.kind)
        if len(inputs[0].shape) != 1 or not fits(inputs[0].shape, inputs[-1].shape):
            raise ShapeError(f"similarity needs inputs [batch, values] of one size, got {listed_specs(inputs)}")
        return TensorSpec((None,), dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Compare."""
        left, right = widened(inputs[0]), widened(inputs[-1])
        if self.function == "euclidean":
            return tf.cast(_distances(left, right), inputs[0].dtype)
        if self.function == "cosine":
            left, right = (tf.nn.l2_normalize(x, axis=-1) for x in (left, right))
        return tf.cast(tf.matmul(left, right, transpose_b=True), inputs[0].dtype)


def _distances(left: Any, right: Any) -> Any:
    """Return the distances of rows, from products, which need less memory than all differences.

    These lose half of the digits, so that they are of float64, and of rows around their mean. Distances below 3e-7 of
    the norms, which only rounding has, are 0, with a gradient of 0.
    """
    left, right = tf.cast(left, tf.float64), tf.cast(right, tf.float64)
    middle = tf.stop_gradient(tf.reduce_mean(left, axis=0))
    left, right = left - middle, right - middle
    norms = [tf.reduce_sum(tf.square(x), axis=-1) for x in (left, right)]
    both = norms[0][:, None] + norms[1][None, :]
    squares = both - 2 * tf.matmul(left, right, transpose_b=True)
    apart = squares > 1e-13 * both
    return tf.where_v2(apart, tf.sqrt(tf.where_v2(apart, squares, tf.ones_like(squares))), tf.zeros_like(squares))
