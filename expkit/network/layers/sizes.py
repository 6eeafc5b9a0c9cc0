"""Sizes of a tensor in a graph."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["sizes_of"]


def sizes_of(tensor: Any) -> list[Any]:
    """Return the size of every dimension: a number where it is known, otherwise a scalar tensor that measures it."""
    static = tensor.shape.as_list()
    if None not in static:
        return list(static)
    measured = tf.shape(tensor)
    return [measured[axis] if size is None else size for axis, size in enumerate(static)]
