"""Sizes of a tensor in a graph, with as few operations as possible."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["sizes_of", "sizes_to_reshape"]


def sizes_of(tensor: Any) -> list[Any]:
    """Return the size of each dimension: a number if it is known, otherwise a scalar tensor."""
    static = tensor.shape.as_list()
    if None not in static:
        return list(static)
    measured = tf.shape(tensor)
    return [measured[axis] if size is None else size for axis, size in enumerate(static)]


def sizes_to_reshape(tensor: Any) -> list[Any]:
    """Return the sizes of a tensor for ``tf.reshape``, in which a single unknown size is -1."""
    static = tensor.shape.as_list()
    return [-1 if size is None else size for size in static] if static.count(None) == 1 else sizes_of(tensor)
