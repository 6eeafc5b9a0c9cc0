"""Sizes of sliding windows, shared by convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.checks import is_narrow_float
from expkit.registry import NonNegative, Positive
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = [
    "Padding",
    "Pads",
    "Size2D",
    "Size3D",
    "each",
    "grid",
    "transposed_output",
    "window_output",
    "with_window_check",
]

Padding = Literal["same", "valid"]
Size2D = Positive | tuple[Positive, Positive]
Size3D = Positive | tuple[Positive, Positive, Positive]
Pads = tuple[NonNegative, NonNegative]

_DIMENSIONS = {1: "steps", 2: "height, width", 3: "depth, height, width"}


def each(size: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return a size per dimension, given one for all or one each."""
    return (size,) * count if isinstance(size, int) else size


def grid(spec: TensorSpec, kind: str, dimensions: int) -> tuple[tuple[int | None, ...], int]:
    """Return the sizes that windows slide over, and the channels.

    Raises:
        ShapeError: the tensor is not [batch, ..., channels] with this number of dimensions between, of floats up to 32
            bits, with known channels.
    """
    if len(spec.shape) != dimensions + 1 or not is_narrow_float(spec):
        raise ShapeError(
            f"{kind} needs [batch, {_DIMENSIONS[dimensions]}, channels] of floats up to 32 bits, got {spec}"
        )
    *sizes, channels = spec.shape
    if channels is None:
        raise ShapeError(f"{kind} needs a known number of channels, got {spec}")
    return tuple(sizes), channels


def window_output(
    size: int | None, window: int, stride: int, padding: Padding | Pads, kind: str, dilation: int = 1
) -> int | None:
    """Return the number of positions of a window along a dimension.

    Raises:
        ShapeError: the window is larger than the padded dimension.
    """
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    before, after = (0, 0) if padding == "valid" else padding
    reach = (window - 1) * dilation + 1
    if reach > size + before + after:
        padded = f"{size}" if padding == "valid" else f"{before} + {size} + {after}"
        width = f"{window}" if dilation == 1 else f"({window} - 1) * {dilation} + 1"
        shown = "'valid'" if padding == "valid" else f"[{before}, {after}]"
        raise ShapeError(f"{kind} with padding {shown} needs a window no larger than its input: {width} > {padded}")
    return (size + before + after - reach) // stride + 1


def with_window_check(x: Any, windows: Sequence[int], kind: str, dilations: Sequence[int] | None = None) -> Any:
    """Return [batch, sizes, ...] after a check in the graph that no unknown size is smaller than its window.

    TensorFlow gives a result of a wrong shape for a convolution, and an empty one for a mean, where it is.
    """
    sizes = x.shape.as_list()[1:]
    reaches = [
        (window - 1) * dilation + 1 for window, dilation in zip(windows, dilations or (1,) * len(windows), strict=True)
    ]
    unknown = [(axis, reach) for axis, reach in enumerate(reaches, 1) if sizes[axis - 1] is None and reach > 1]
    if not unknown:
        return x
    given = tf.shape(x)
    checks = [
        tf.raw_ops.Assert(
            condition=given[axis] >= reach,
            data=[f"{kind} needs a window no larger than its input: {reach} >", given[axis]],
        )
        for axis, reach in unknown
    ]
    with tf.control_dependencies(checks):
        return tf.identity(x)


def transposed_output(size: int | None, window: int, stride: int, padding: Padding) -> int | None:
    """Return the size along which a window with this stride has ``size`` positions, as ``window_output`` counts."""
    if size is None:
        return None
    return size * stride + (max(window - stride, 0) if padding == "valid" else 0)
