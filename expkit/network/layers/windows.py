"""Sizes of sliding windows, shared by convolution and pooling."""

from __future__ import annotations

from typing import Literal

from expkit.network.layer import ShapeError, TensorSpec

__all__ = ["Padding", "Size2D", "image", "pair", "window_output"]

Padding = Literal["same", "valid"]
Size2D = int | tuple[int, int]


def pair(size: Size2D) -> tuple[int, int]:
    """Return height and width of a size given once for both or one by one."""
    return (size, size) if isinstance(size, int) else size


def image(spec: TensorSpec, kind: str) -> tuple[int | None, int | None, int]:
    """Return height, width and channels of an image batch.

    Raises:
        ShapeError: the tensor is not [batch, height, width, channels] of float32 with known channels.
    """
    if len(spec.shape) != 3 or spec.dtype != "float32":
        raise ShapeError(f"{kind} needs [batch, height, width, channels] float32, got {spec}")
    height, width, channels = spec.shape
    if channels is None:
        raise ShapeError(f"{kind} needs a known number of channels, got {spec}")
    return height, width, channels


def window_output(size: int | None, window: int, stride: int, padding: Padding, kind: str) -> int | None:
    """Return how many places a window has along a dimension.

    Raises:
        ShapeError: a 'valid' window is larger than the dimension.
    """
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    if window > size:
        raise ShapeError(f"{kind} with padding 'valid' needs a window no larger than its input: {window} > {size}")
    return (size - window) // stride + 1
