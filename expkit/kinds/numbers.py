"""Numbers that a graph may be fed: in place of a field's number, when a graph is built, may stand a tensor."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["in_dtype", "is_fed", "scalar"]


def is_fed(number: Any) -> bool:
    """Return whether a number is fed: a scalar tensor, int64 or float64.

    In float64, arithmetic with it gives the bits of Python's, which a graph has as a constant otherwise.
    """
    return not isinstance(number, int | float)


def in_dtype(number: Any, dtype: Any) -> Any:
    """Return a number as it is, for TensorFlow to convert; one that is fed cast to a dtype."""
    return tf.cast(number, dtype) if is_fed(number) else number


def scalar(number: Any, dtype: Any) -> Any:
    """Return a number as a tensor: a constant, or one that is fed cast to the dtype."""
    return tf.cast(number, dtype) if is_fed(number) else tf.constant(number, dtype)
