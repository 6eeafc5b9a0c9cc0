"""The precision in which layers, losses and metrics compute sums."""

from __future__ import annotations

from typing import Any

from expkit import tf1 as tf

__all__ = ["widened"]


def widened(tensor: Any) -> Any:
    """Return a float16 or bfloat16 tensor in float32, any other as it is.

    In 16 bits a sum of squares overflows at values of 256, and a mean of a thousand values keeps three digits.
    """
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.float16, tf.bfloat16) else tensor
