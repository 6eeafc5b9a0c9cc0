"""Pooling over windows of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.network.layer import Call, Layer, TensorSpec
from expkit.network.layers.convolution import PositivePair
from expkit.network.layers.windows import Padding, image, pair, window_output
from expkit.registry import register

__all__ = ["AveragePool", "MaxPool"]


class Pool(Layer):
    """Base of the poolings: one value per window and channel."""

    xla_is_faster = False
    pool_size: PositivePair = 2
    """Height and width of the window."""
    strides: PositivePair | None = None
    """Steps between windows; ``pool_size`` when not given."""
    padding: Padding = "valid"
    """``same`` pads, ``valid`` does not."""

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return [height, width, channels] after pooling."""
        *sizes, channels = image(inputs[0], self.kind)
        windows = zip(sizes, pair(self.pool_size), pair(self.strides or self.pool_size), strict=True)
        return TensorSpec((*(window_output(*window, self.padding, self.kind) for window in windows), channels))

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Pool."""
        window = (1, *pair(self.pool_size), 1)
        strides = (1, *pair(self.strides or self.pool_size), 1)
        function = tf.nn.max_pool2d if self.kind == "max_pool" else tf.nn.avg_pool2d
        return function(inputs[0], ksize=window, strides=strides, padding=self.padding.upper())


@register
class MaxPool(Pool):
    """Largest value of each window."""

    kind: Literal["max_pool"] = "max_pool"


@register
class AveragePool(Pool):
    """Mean value of each window; padding is not counted."""

    kind: Literal["average_pool"] = "average_pool"
