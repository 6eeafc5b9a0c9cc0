"""Pooling: one value per channel and window, or per channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import is_narrow_float
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.windows import Padding, each, grid, window_output, with_window_check
from expkit.kinds.precision import widened
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"]

PoolSize = Positive | tuple[Positive, ...]


def _dimensions(spec: TensorSpec, kind: str) -> int:
    count = len(spec.shape) - 1
    if not 1 <= count <= 3 or not is_narrow_float(spec):
        raise ShapeError(f"{kind} needs [batch, one to three sizes, channels] of floats up to 32 bits, got {spec}")
    return count


class Pool(Layer):
    """Base of the poolings over windows, which slide over steps, images or volumes."""

    pool_size: PoolSize = 2
    """Size of the window: one number for all dimensions, or one each (``[height, width]``)."""
    strides: PoolSize | None = None
    """Steps between windows; ``pool_size`` when not given."""
    padding: Padding = "valid"
    """``same`` pads, ``valid`` does not."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the positions of the window, by dimension, and the channels."""
        count = _dimensions(inputs[0], self.kind)
        sizes, channels = grid(inputs[0], self.kind, count)
        if count == 3 and inputs[0].dtype != "float32":
            raise ShapeError(f"{self.kind} of volumes needs float32, got {inputs[0]}")
        for field, given in (("pool_size", self.pool_size), ("strides", self.strides)):
            if isinstance(given, tuple) and len(given) != count:
                raise ShapeError(
                    f"{self.kind} needs one {field} for all dimensions or {count} for {inputs[0]}, got {len(given)}"
                )
        windows = zip(sizes, each(self.pool_size, count), each(self.strides or self.pool_size, count), strict=True)
        positions = (window_output(*window, self.padding, self.kind) for window in windows)
        return TensorSpec((*positions, channels), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pool."""
        count = inputs[0].shape.rank - 2
        window, strides = each(self.pool_size, count), each(self.strides or self.pool_size, count)
        x = widened(inputs[0])
        if self.padding == "valid":
            x = with_window_check(x, window, self.kind)
        function = getattr(tf.nn, f"{'max' if self.kind == 'max_pool' else 'avg'}_pool{count}d")
        if function is tf.nn.max_pool3d:
            function = _max_of_volumes
        result = function(x, ksize=(1, *window, 1), strides=(1, *strides, 1), padding=self.padding.upper())
        return tf.cast(result, inputs[0].dtype)


def _max_of_volumes(x: Any, ksize: tuple[int, ...], strides: tuple[int, ...], padding: str) -> Any:
    """Return the largest values over height and width, then of these over depth.

    In one step, where oneDNN is off, TensorFlow gives the gradient to all values within 1e-5 of the largest.
    """
    _, depth, *sizes = sizes_of(x)
    images = tf.nn.max_pool2d(tf.reshape(x, [-1, *sizes]), (1, *ksize[2:]), (1, *strides[2:]), padding)
    _, height, width, channels = sizes_of(images)
    rows = tf.reshape(images, [-1, depth, height * width, channels])
    rows = tf.nn.max_pool2d(rows, (1, ksize[1], 1, 1), (1, strides[1], 1, 1), padding)
    return tf.reshape(rows, [-1, sizes_of(rows)[1], height, width, channels])


@register
class MaxPool(Pool):
    """Largest value of each window."""

    kind: Literal["max_pool"] = "max_pool"


@register
class AveragePool(Pool):
    """Mean value of each window; padding is not counted."""

    kind: Literal["average_pool"] = "average_pool"


class GlobalPool(Layer):
    """Base of the poolings over everything between batch and channels."""

    keepdims: bool = False
    """Whether the pooled dimensions are kept, with size 1."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [channels], or [1, ..., channels]."""
        _, channels = grid(inputs[0], self.kind, count := _dimensions(inputs[0], self.kind))
        return TensorSpec((*((1,) * count if self.keepdims else ()), channels), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pool."""
        function = tf.reduce_max if self.kind == "global_max_pool" else tf.reduce_mean
        result = function(widened(inputs[0]), axis=list(range(1, inputs[0].shape.rank - 1)), keepdims=self.keepdims)
        return tf.cast(result, inputs[0].dtype)


@register
class GlobalAveragePool(GlobalPool):
    """Mean value of each channel."""

    kind: Literal["global_average_pool"] = "global_average_pool"


@register
class GlobalMaxPool(GlobalPool):
    """Largest value of each channel."""

    kind: Literal["global_max_pool"] = "global_max_pool"
