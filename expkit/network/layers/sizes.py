"""Sizes of a tensor in a graph, in as few operations as they take."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["sizes_of", "sizes_to_reshape", "times"]


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


def times(tensor: Any, kernel: Any, bias: Any = None) -> Any:
    """Return ``tensor @ kernel + bias`` over the last dimension of a tensor of rank 2 or more."""
    rows = tensor if tensor.shape.rank == 2 else tf.reshape(tensor, [-1, tensor.shape.as_list()[-1]])
    result = tf.matmul(rows, kernel)
    if bias is not None:
        result = tf.nn.bias_add(result, bias)
    if tensor.shape.rank == 2:
        return result
    return tf.reshape(result, [*sizes_to_reshape(tensor)[:-1], result.shape.as_list()[-1]])
