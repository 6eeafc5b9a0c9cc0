"""Random numbers with the same bits in every execution mode of a graph: as written, fused, or compiled by XLA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from expkit import tf1 as tf
from expkit.kinds.numbers import scalar

if TYPE_CHECKING:
    import numpy as np

__all__ = ["normal", "of_time", "uniform"]


def uniform(shape: Sequence[Any], key: Any, step: Any) -> Any:
    """Return float32 numbers in [0, 1), a pure function of (key, step, position).

    TensorFlow's stateless operations give other bits when XLA compiles them. These come from whole-number operations
    alone: a position is multiplied by an odd number and added to another, both of key and step, and mixed by two
    multiplications and three shifts (the finalizer "lowbias32" of Wellons,
    https://nullprogram.com/blog/2018/07/31/); 24 bits become the fraction. The odd numbers of 2**31 steps in a row are
    all different, so that no step's numbers are those of another, shifted.

    Args:
        shape: sizes, numbers or scalar tensors.
        key: in [0, 2**32), a number or a uint32 scalar tensor: distinguishes this use from others.
        step: int64 scalar tensor.
    """
    fraction = tf.cast(tf.bitwise.right_shift(_bits(shape, key, step), _u32(8)), tf.float32)
    return fraction * 2.0**-24


def normal(shape: Sequence[Any], key: Any, step: Any) -> Any:
    """Return float32 numbers of zero mean and unit standard deviation, a pure function of (key, step, position).

    Logarithms and sines, on which other methods rest, round differently when XLA compiles them. These are quantiles of
    the normal distribution, from a table, between whose entries they are interpolated in whole numbers: one bit is the
    sign, 31 bits the probability to lie further out, down to 2**-32. The largest number is 6.3.

    Args:
        shape: sizes, numbers or scalar tensors.
        key: in [0, 2**32), a number or a uint32 scalar tensor: distinguishes this use from others.
        step: int64 scalar tensor.
    """
    bits = _bits(shape, key, step)
    tail = tf.cast(tf.bitwise.right_shift(bits, _u32(1)), tf.int32)
    # As a float32 a probability is its octave and its place there: the upper bits are an index, equal steps within.
    place = tf.bitcast(tf.cast(tail, tf.float32) + 0.5, tf.int32) - _FIRST
    index = tf.bitwise.right_shift(place, _PLACES)
    between = tf.bitwise.bitwise_and(place, (1 << _PLACES) - 1)
    low, high = (tf.gather(tf.constant(_quantiles()[start:], tf.int32), index) for start in (0, 1))
    moved = tf.bitwise.right_shift((low - high) * between, _PLACES)
    size = tf.cast(low - moved, tf.float32) * 2.0**-_FRACTION
    return tf.where_v2(tf.equal(tf.bitwise.bitwise_and(bits, _u32(1)), 0), size, -size)


_FIRST = 126 << 23
"""Bits of the float32 0.5, the smallest one that is looked up."""
_PLACES = 16
"""Bits between two entries of the table, which has 128 in every octave."""
_FRACTION = 20
"""Bits after the point of its entries."""


@cache
def _quantiles() -> np.ndarray:
    """Return the magnitude that a normal number exceeds with probability p, for p from 2**-32 to 1, times 2**20."""
    import numpy as np

    edges = (
        np.arange(_FIRST, (127 + 31 << 23) + (2 << _PLACES), 1 << _PLACES, dtype=np.int32)
        .view(np.float32)
        .astype(np.float64)
    )
    inverse = NormalDist().inv_cdf
    return np.array([round(-inverse(edge * 2.0**-32) * 2**_FRACTION) for edge in edges], np.int32)


def of_time(step: Any, index: Any) -> Any:
    """Return an int64 scalar that stands for one index of the loop of a training step: each has its own numbers.

    Args:
        step: int64 scalar tensor.
        index: of the loop, an integer or scalar tensor.
    """
    mixed = _mix(tf.cast(step, tf.uint32) * _u32(0x9E3779B9) + _u32(0x85EBCA6B))
    return tf.cast(mixed + tf.cast(index, tf.uint32) * _u32(0xC2B2AE35), tf.int64)


def _bits(shape: Sequence[Any], key: Any, step: Any) -> Any:
    size = math.prod(shape) if all(isinstance(one, int) for one in shape) else tf.reduce_prod(tf.stack(shape))
    step = tf.cast(step, tf.uint32)
    first = _mix(step * _u32(0x9E3779B9) + _u32(key))
    stride = (_mix(_u32(key)) + step) * _u32(2) + _u32(1)
    return tf.reshape(_mix(tf.cast(tf.range(size), tf.uint32) * stride + first), shape)


def _mix(x: Any) -> Any:
    x = _xor_shift(x, 16) * _u32(0x7FEB352D)
    x = _xor_shift(x, 15) * _u32(0x846CA68B)
    return _xor_shift(x, 16)


def _xor_shift(x: Any, bits: int) -> Any:
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _u32(bits)))


def _u32(value: Any) -> Any:
    return scalar(value, tf.uint32)
