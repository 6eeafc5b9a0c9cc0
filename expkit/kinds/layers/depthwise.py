"""Convolutions of each channel by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from expkit import tf1 as tf
from expkit.kinds.initializers import GlorotUniform, Zeros
from expkit.kinds.layers.activations import ActivationName, activate, activated
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.pytorch import Layout, channels_first
from expkit.kinds.layers.windows import Padding, Pads, Size2D, each, grid, window_output, with_window_check
from expkit.registry import Positive, register
from expkit.tensor_spec import TensorSpec

__all__ = ["DepthwiseConv2D", "SeparableConv2D"]


class Depthwise(Layer):
    """Base of the depthwise convolutions; owns ``depthwise_kernel`` [height, width, channels, depth_multiplier]."""

    kernel_size: Size2D
    """Height and width of the window."""
    depth_multiplier: Positive = 1
    """Output channels per input channel."""
    strides: Positive = 1
    """Steps between windows, the same in both directions."""
    padding: Padding | tuple[Pads, Pads] = "same"
    """``same`` pads with zeros, ``valid`` does not pad; or zeros by side, ``[[top, bottom], [left, right]]``."""
    dilation_rate: Size2D = 1
    """Steps between the values in a window."""
    activation: ActivationName = "linear"
    """Function of ``tf.nn`` applied to the result."""
    use_bias: bool = True
    """Whether a ``bias`` is added."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Depthwise:
        if self.strides > 1 and each(self.dilation_rate, 2) != (1, 1):
            raise ValueError("strides and dilation_rate cannot both be larger than 1; leave one of them out")
        return self

    def _kernel(self, spec: TensorSpec) -> Declaration:
        shape = (*each(self.kernel_size, 2), grid(spec, self.kind, 2)[1], self.depth_multiplier)
        layout = Layout((2, 3, 0, 1), (shape[2] * shape[3], 1, *shape[:2]))
        return Declaration("depthwise_kernel", shape, GlorotUniform(), dtype=spec.dtype, pytorch=layout)

    def _output(self, spec: TensorSpec, filters: int) -> TensorSpec:
        paddings = (self.padding,) * 2 if isinstance(self.padding, str) else self.padding
        positions = (
            window_output(size, window, self.strides, padding, self.kind, rate)
            for size, window, padding, rate in zip(
                grid(spec, self.kind, 2)[0],
                each(self.kernel_size, 2),
                paddings,
                each(self.dilation_rate, 2),
                strict=True,
            )
        )
        return activated(self.activation, TensorSpec((*positions, filters), spec.dtype))

    def _depthwise(self, x: Any, kernel: Any) -> Any:
        padding = self.padding
        if not isinstance(padding, str):
            x, padding = tf.pad(x, ((0, 0), *padding, (0, 0))), "valid"
        if padding == "valid":
            x = with_window_check(x, each(self.kernel_size, 2), self.kind, each(self.dilation_rate, 2))
        return tf.nn.depthwise_conv2d(
            x,
            kernel,
            strides=(1, self.strides, self.strides, 1),
            padding=padding.upper(),
            dilations=each(self.dilation_rate, 2),
        )

    def _finished(self, result: Any, variables: Mapping[str, Any]) -> Any:
        if self.use_bias:
            result = tf.nn.bias_add(result, variables["bias"])
        return activate(self.activation, result)


@register
class DepthwiseConv2D(Depthwise):
    """Each channel of [batch, height, width, channels] convolved by itself; owns ``depthwise_kernel`` and ``bias``.

    Slim calls them ``depthwise_weights`` and ``biases``.
    """

    kind: Literal["depthwise_conv2d"] = "depthwise_conv2d"

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``depthwise_kernel`` [height, width, channels, depth_multiplier] and ``bias``."""
        kernel = self._kernel(inputs[0])
        size = kernel.shape[2] * kernel.shape[3]
        return (kernel, Declaration("bias", (size,), Zeros(), dtype=kernel.dtype)) if self.use_bias else (kernel,)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [height, width, channels * depth_multiplier]."""
        return self._output(inputs[0], grid(inputs[0], self.kind, 2)[1] * self.depth_multiplier)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Convolve, add, activate."""
        return self._finished(self._depthwise(inputs[0], variables["depthwise_kernel"]), variables)


@register
class SeparableConv2D(Depthwise):
    """A depthwise convolution and one of 1 x 1; owns ``depthwise_kernel``, ``pointwise_kernel`` and ``bias``.

    Slim calls them ``depthwise_weights``, ``pointwise_weights`` and ``biases``.
    """

    kind: Literal["separable_conv2d"] = "separable_conv2d"
    filters: Positive
    """Channels of the output."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return both kernels and ``bias``; ``pointwise_kernel`` is [1, 1, channels * depth_multiplier, filters]."""
        depthwise = self._kernel(inputs[0])
        shape = (1, 1, depthwise.shape[2] * depthwise.shape[3], self.filters)
        pointwise = Declaration(
            "pointwise_kernel", shape, GlorotUniform(), dtype=depthwise.dtype, pytorch=channels_first(4)
        )
        kernels = (depthwise, pointwise)
        bias = Declaration("bias", (self.filters,), Zeros(), dtype=depthwise.dtype)
        return (*kernels, bias) if self.use_bias else kernels

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [height, width, filters]."""
        return self._output(inputs[0], self.filters)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Convolve twice, add, activate."""
        result = self._depthwise(inputs[0], variables["depthwise_kernel"])
        result = tf.nn.conv2d(result, variables["pointwise_kernel"], strides=(1, 1, 1, 1), padding="VALID")
        return self._finished(result, variables)
