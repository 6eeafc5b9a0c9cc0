"""Convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.network.initializers import GlorotUniform, Zeros
from expkit.network.layer import Call, Declaration, Layer, TensorSpec
from expkit.network.layers.activations import ActivationName, activate
from expkit.network.layers.windows import Padding, image, pair, window_output
from expkit.registry import register

__all__ = ["Conv2D", "Positive", "PositivePair"]

Positive = Annotated[int, Field(gt=0)]
PositivePair = Positive | tuple[Positive, Positive]


@register
class Conv2D(Layer):
    """Two-dimensional convolution of [batch, height, width, channels]; owns ``kernel`` and ``bias``."""

    kind: Literal["conv2d"] = "conv2d"
    xla_is_faster = False
    filters: Positive
    """Channels of the output."""
    kernel_size: PositivePair
    """Height and width of the window."""
    strides: PositivePair = 1
    """Steps between windows."""
    padding: Padding = "same"
    """``same`` pads with zeros, ``valid`` does not pad."""
    activation: ActivationName = "linear"
    """Function of ``tf.nn`` applied to the result."""
    use_bias: bool = True
    """Whether a ``bias`` is added."""

    def declare(self, inputs: Sequence[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``kernel`` [height, width, channels, filters] and ``bias`` [filters]."""
        channels = image(inputs[0], "conv2d")[2]
        kernel = Declaration("kernel", (*pair(self.kernel_size), channels, self.filters), GlorotUniform())
        return (kernel, Declaration("bias", (self.filters,), Zeros())) if self.use_bias else (kernel,)

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return [height, width, filters]."""
        sizes = image(inputs[0], "conv2d")[:2]
        windows = zip(sizes, pair(self.kernel_size), pair(self.strides), strict=True)
        return TensorSpec((*(window_output(*window, self.padding, "conv2d") for window in windows), self.filters))

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Convolve, add, activate."""
        strides = (1, *pair(self.strides), 1)
        result = tf.nn.conv2d(inputs[0], variables["kernel"], strides=strides, padding=self.padding.upper())
        if self.use_bias:
            result = tf.nn.bias_add(result, variables["bias"])
        return activate(self.activation, result)
