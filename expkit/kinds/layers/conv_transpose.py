"""Transposed convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.initializers import GlorotUniform, Zeros
from expkit.kinds.layers.activations import ActivationName, activate, activated
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.pytorch import channels_first
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.windows import Padding, Size2D, each, grid, transposed_output
from expkit.registry import Positive, register
from expkit.tensor_spec import TensorSpec

__all__ = ["Conv2DTranspose"]


@register
class Conv2DTranspose(Layer):
    """The gradient of ``conv2d`` as a layer, which enlarges images; owns ``kernel`` and ``bias``."""

    kind: Literal["conv2d_transpose"] = "conv2d_transpose"
    filters: Positive
    """Channels of the output."""
    kernel_size: Size2D
    """Height and width of the window."""
    strides: Size2D = 1
    """Steps between windows: the factor by which the output is larger."""
    padding: Padding = "same"
    """``same``: the output is ``size * strides``; ``valid``: ``max(kernel_size - strides, 0)`` more."""
    activation: ActivationName = "linear"
    """Function of ``tf.nn`` applied to the result."""
    use_bias: bool = True
    """Whether a ``bias`` is added."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``kernel`` [height, width, filters, channels] and ``bias`` [filters]."""
        channels, dtype = grid(inputs[0], self.kind, 2)[1], inputs[0].dtype
        shape = (*each(self.kernel_size, 2), self.filters, channels)
        kernel = Declaration("kernel", shape, GlorotUniform(), dtype=dtype, pytorch=channels_first(len(shape)))
        return (kernel, Declaration("bias", (self.filters,), Zeros(), dtype=dtype)) if self.use_bias else (kernel,)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [height, width, filters], as ``tf.layers`` and Keras compute them."""
        windows = zip(grid(inputs[0], self.kind, 2)[0], each(self.kernel_size, 2), each(self.strides, 2), strict=True)
        sizes = (transposed_output(*window, self.padding) for window in windows)
        return activated(self.activation, TensorSpec((*sizes, self.filters), inputs[0].dtype))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Convolve, add, activate."""
        batch, *sizes, _ = sizes_of(inputs[0])
        windows = zip(sizes, each(self.kernel_size, 2), each(self.strides, 2), strict=True)
        output = [transposed_output(*window, self.padding) for window in windows]
        result = tf.nn.conv2d_transpose(
            inputs[0],
            variables["kernel"],
            output_shape=tf.stack([batch, *output, self.filters]),
            strides=(1, *each(self.strides, 2), 1),
            padding=self.padding.upper(),
        )
        if self.use_bias:
            result = tf.nn.bias_add(result, variables["bias"])
        return activate(self.activation, result)
