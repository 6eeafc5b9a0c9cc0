"""Sizes of a tensor in a graph, in as few operations as they take."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["sizes_of", "sizes_to_reshape"]


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
