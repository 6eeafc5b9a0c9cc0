"""Products with kernels, in the order of operations that a CPU computes fastest."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from expkit import tf1 as tf

__all__ = ["split_product"]

MIN_SPLIT_ELEMENTS = 500_000
"""Elements of a kernel from which on two cores are faster by half a product each, and an addition, than one core."""


def split_product(rows: Any, kernel: Any, bias: Any, *, splits: int, bfloat16: bool) -> Any:
    """Return ``rows @ kernel + bias``, [batch, units].

    Where an operation has one of several cores, a product with a large kernel is the sum of so many products, computed
    in parallel: nothing else could be done meanwhile. Its two gradients are computed in parallel as they are.

    TensorFlow fuses product and bias; in ``bfloat16`` that first brings the kernel into another order, which costs more
    than another pass over a result of far fewer rows. A reshape between them prevents it.
    """
    features, units = kernel.shape.as_list()
    if splits > 1 and features * units >= MIN_SPLIT_ELEMENTS and features % splits == 0:
        product = _sum_of_products(rows, tf.convert_to_tensor(kernel), splits)
    else:
        product = tf.matmul(rows, kernel)
    if bias is None:
        return product
    if bfloat16 and rows.shape[0] is not None and 8 * rows.shape[0] < features:
        return tf.reshape(tf.nn.bias_add(product[None], bias), [rows.shape[0], units])
    return tf.nn.bias_add(product, bias)


def _sum_of_products(rows: Any, kernel: Any, splits: int) -> Any:
    """Return ``rows @ kernel`` as the sum of products of equal splits of the features."""

    def product(rows: Any, kernel: Any) -> tuple[Any, Any]:
        def gradients(gradient: Any) -> tuple[Any, Any]:
            return tf.matmul(gradient, kernel, transpose_b=True), tf.matmul(rows, gradient, transpose_a=True)

        # Not ``add_n``, nor splits of unequal sizes: the rewrite to bfloat16 would cast each of them by itself.
        pairs = zip(tf.split(rows, splits, axis=1), tf.split(kernel, splits), strict=True)
        return reduce(add, [tf.matmul(*pair) for pair in pairs]), gradients

    return tf.custom_gradient(product)(rows, kernel)
