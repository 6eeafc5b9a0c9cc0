"""Sizes of a tensor in a graph, in as few operations as they take."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from expkit import tf1 as tf

__all__ = ["sizes_of", "sizes_to_reshape", "times"]

LEAST_SPLIT = 500_000
"""Elements of a kernel from which on two cores are faster by half a product each, and an addition, than one core."""


def sizes_of(tensor: Any) -> list[Any]:
    """Return the size of every dimension: a number where it is known, otherwise a scalar tensor that measures it."""
    static = tensor.shape.as_list()
    if None not in static:
        return list(static)
    measured = tf.shape(tensor)
    return [measured[axis] if size is None else size for axis, size in enumerate(static)]


def sizes_to_reshape(tensor: Any) -> list[Any]:
    """Return the sizes for ``tf.reshape`` to something of as many values per size: a single unknown one is -1."""
    static = tensor.shape.as_list()
    return [-1 if size is None else size for size in static] if static.count(None) == 1 else sizes_of(tensor)


def times(tensor: Any, kernel: Any, bias: Any = None, *, bfloat16: bool = False, parts: int = 1) -> Any:
    """Return ``tensor @ kernel + bias`` over the last dimension of a tensor of rank 2 or more.

    Where an operation has one of several cores, a product with a large kernel is the sum of ``parts`` products, side by
    side: nothing else could be done meanwhile. Its two gradients are side by side as they are.

    TensorFlow joins product and bias in one operation; in ``bfloat16`` that first brings the kernel into another order,
    which costs more than another pass over a result of far fewer rows. A reshape between them keeps them apart.
    """
    rank, features = tensor.shape.rank, tensor.shape.as_list()[-1]
    rows = tensor if rank == 2 else tf.reshape(tensor, [-1, features])
    split = parts > 1 and kernel.shape.num_elements() >= LEAST_SPLIT and features % parts == 0
    result = _sum_of_products(rows, tf.convert_to_tensor(kernel), parts) if split else tf.matmul(rows, kernel)
    apart = bias is not None and bfloat16 and rows.shape[0] is not None and 8 * rows.shape[0] < features
    if apart:
        result = result[None]
    if bias is not None:
        result = tf.nn.bias_add(result, bias)
    if rank == 2 and not apart:
        return result
    return tf.reshape(result, [*sizes_to_reshape(tensor)[:-1], result.shape.as_list()[-1]])


def _sum_of_products(rows: Any, kernel: Any, parts: int) -> Any:
    """Return ``rows @ kernel``, [batch, units], as the sum of products of equal parts of the features."""

    def product(rows: Any, kernel: Any) -> tuple[Any, Any]:
        def gradients(gradient: Any) -> tuple[Any, Any]:
            return tf.matmul(gradient, kernel, transpose_b=True), tf.matmul(rows, gradient, transpose_a=True)

        # Not ``add_n``, nor parts of unlike sizes: the rewrite to bfloat16 would cast each of them by itself.
        pairs = zip(tf.split(rows, parts, axis=1), tf.split(kernel, parts), strict=True)
        return reduce(add, [tf.matmul(*pair) for pair in pairs]), gradients

    return tf.custom_gradient(product)(rows, kernel)
