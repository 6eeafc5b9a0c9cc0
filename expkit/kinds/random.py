"""Random numbers with the same bits in every execution mode of a graph: as written, fused, or compiled by XLA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from expkit import tf1 as tf

__all__ = ["normal", "uniform"]


def uniform(shape: Sequence[Any], key: int, step: Any) -> Any:
    """Return float32 numbers in [0, 1), a pure function of (key, step, position).

    TensorFlow's stateless operations give other bits when XLA compiles them. These come from whole-number operations
    alone: a position is mixed with the mixed key and step by two multiplications and three shifts (the finalizer
    "lowbias32" of Wellons, https://nullprogram.com/blog/2018/07/31/), and 24 bits become the fraction.

    Args:
        shape: sizes, numbers or scalar tensors.
        key: in [0, 2**32): distinguishes this use from others.
        step: int64 scalar tensor.
    """
    fraction = tf.cast(tf.bitwise.right_shift(_bits(shape, key, step), _u32(8)), tf.float32)
    return fraction * 2.0**-24


def normal(shape: Sequence[Any], key: int, step: Any) -> Any:
    """Return float32 numbers of zero mean and unit standard deviation, a pure function of (key, step, position).

    Each is the sum of twelve uniform whole numbers of 16 bits, shifted and scaled (Irwin and Hall): logarithms and
    sines, on which other methods rest, round differently when XLA compiles them. It lies within 6, and its distribution
    function differs from the normal one by less than 0.003.

    Args:
        shape: sizes, numbers or scalar tensors.
        key: in [0, 2**32): distinguishes this use from others.
        step: int64 scalar tensor.
    """
    bits = _bits([6, *shape], key, step)
    halves = tf.bitwise.right_shift(bits, _u32(16)) + tf.bitwise.bitwise_and(bits, _u32(0xFFFF))
    total = tf.reduce_sum(tf.cast(halves, tf.int32), axis=0)
    return tf.cast(total - 6 * 0xFFFF, tf.float32) * 2.0**-16


def _bits(shape: Sequence[Any], key: int, step: Any) -> Any:
    size = math.prod(shape) if all(isinstance(one, int) for one in shape) else tf.reduce_prod(tf.stack(shape))
    mixed = _mix(tf.cast(step, tf.uint32) * _u32(0x9E3779B9) + _u32(key))
    return tf.reshape(_mix(tf.cast(tf.range(size), tf.uint32) + mixed), shape)


def _mix(x: Any) -> Any:
    x = _xor_shift(x, 16) * _u32(0x7FEB352D)
    x = _xor_shift(x, 15) * _u32(0x846CA68B)
    return _xor_shift(x, 16)


def _xor_shift(x: Any, bits: int) -> Any:
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _u32(bits)))


def _u32(value: int) -> Any:
    return tf.constant(value, tf.uint32)
