"""Random numbers that are the same on every path a graph can take: as written, fused, or compiled by XLA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expkit import tf1 as tf

__all__ = ["uniform"]


def uniform(shape: Sequence[int], key: int, step: Any) -> Any:
    """Return float32 numbers in [0, 1), a pure function of (key, step, place).

    TensorFlow's stateless operations give other bits when XLA compiles them. These come from whole-number operations
    alone: a place is mixed with the mixed key and step by two multiplications and three shifts (the finalizer
    "lowbias32" of Wellons, https://nullprogram.com/blog/2018/07/31/), and 24 bits become the fraction.

    Args:
        shape: static sizes.
        key: in [0, 2**32): what tells this use from others.
        step: int64 scalar tensor.
    """
    size = 1
    for part in shape:
        size *= part
    mixed = _mix(tf.cast(step, tf.uint32) * _u32(0x9E3779B9) + _u32(key))
    bits = _mix(tf.cast(tf.range(size), tf.uint32) + mixed)
    fraction = tf.cast(tf.bitwise.right_shift(bits, _u32(8)), tf.float32)
    return tf.reshape(fraction * 2.0**-24, shape)


def _mix(x: Any) -> Any:
    x = _xor_shift(x, 16) * _u32(0x7FEB352D)
    x = _xor_shift(x, 15) * _u32(0x846CA68B)
    return _xor_shift(x, 16)


def _xor_shift(x: Any, places: int) -> Any:
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _u32(places)))


def _u32(value: int) -> Any:
    return tf.constant(value, tf.uint32)
