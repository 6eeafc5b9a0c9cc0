"""Convolutions over one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.kinds.initializers import GlorotUniform, Zeros
from expkit.kinds.layers.activations import ActivationName, activate, activated
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.pytorch import channels_first
from expkit.kinds.layers.windows import Padding, Pads, Size2D, Size3D, each, grid, window_output, with_window_check
from expkit.kinds.precision import widened
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Conv1D", "Conv2D", "Conv3D"]


class Convolution(Layer):
    """Base of the convolutions; owns ``kernel`` [*kernel_size, channels / groups, filters] and ``bias`` [filters]."""

    dimensions: ClassVar[int]
    """Number of dimensions that the window slides over."""
    filters: Positive
    """Channels of the output."""
    kernel_size: Positive | tuple[Positive, ...]
    """Size of the window: one number for all dimensions, or one each."""
    strides: Positive | tuple[Positive, ...] = 1
    """Steps between windows."""
    padding: Padding | tuple[Pads, ...] = "same"
    """``same`` pads with zeros, ``valid`` does not pad; or the number of zeros before and after, by dimension."""
    dilation_rate: Positive | tuple[Positive, ...] = 1
    """Steps between the values in a window."""
    groups: Positive = 1
    """Groups of channels that are convolved separately, each with its own filters."""
    activation: ActivationName = "linear"
    """Function of ``tf.nn`` applied to the result."""
    use_bias: bool = True
    """Whether a ``bias`` is added."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``kernel`` and ``bias``."""
        dtype = inputs[0].dtype
        shape = (*each(self.kernel_size, self.dimensions), self._channels(inputs[0]) // self.groups, self.filters)
        kernel = Declaration("kernel", shape, GlorotUniform(), dtype=dtype, pytorch=channels_first(len(shape)))
        return (kernel, Declaration("bias", (self.filters,), Zeros(), dtype=dtype)) if self.use_bias else (kernel,)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the positions of the window, by dimension, and ``filters``."""
        self._channels(inputs[0])
        sizes, _ = grid(inputs[0], self.kind, self.dimensions)
        count = self.dimensions
        windows, strides, rates = (each(item, count) for item in (self.kernel_size, self.strides, self.dilation_rate))
        paddings = (self.padding,) * count if isinstance(self.padding, str) else self.padding
        positions = (
            window_output(size, window, stride, padding, self.kind, rate)
            for size, window, stride, padding, rate in zip(sizes, windows, strides, paddings, rates, strict=True)
        )
        return activated(self.activation, TensorSpec((*positions, self.filters), inputs[0].dtype))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pad, convolve, add, activate."""
        x, padding = inputs[0], self.padding
        if not isinstance(padding, str):
            x, padding = tf.pad(x, ((0, 0), *padding, (0, 0))), "valid"
        strides, rates = each(self.strides, self.dimensions), each(self.dilation_rate, self.dimensions)
        if padding == "valid":
            x = with_window_check(x, each(self.kernel_size, self.dimensions), self.kind, rates)
        result = self._convolved(x, tf.convert_to_tensor(variables["kernel"]), strides, rates, padding.upper())
        if self.use_bias:
            result = tf.nn.bias_add(result, variables["bias"])
        return activate(self.activation, result)

    def _convolved(self, x: Any, kernel: Any, strides: tuple[int, ...], rates: tuple[int, ...], padding: str) -> Any:
        dtype = x.dtype
        if dtype == tf.float16 and (self.groups > 1 or max(rates) > 1):  # A CPU has no gradient of these in float16.
            x, kernel = widened(x), widened(kernel)
        result = tf.nn.conv2d(x, kernel, strides=(1, *strides, 1), padding=padding, dilations=(1, *rates, 1))
        return tf.cast(result, dtype)

    def _channels(self, spec: TensorSpec) -> int:
        _, channels = grid(spec, self.kind, self.dimensions)
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"{self.kind} with groups {self.groups} needs channels and filters that are multiples of it, "
                f"got {channels} channels and {self.filters} filters"
            )
        return channels


@register
class Conv1D(Convolution):
    """One-dimensional convolution of [batch, steps, channels]; owns ``kernel`` and ``bias``."""

    kind: Literal["conv1d"] = "conv1d"
    dimensions = 1
    kernel_size: Positive
    """Steps in a window."""
    strides: Positive = 1
    padding: Padding | tuple[Pads] = "same"
    """``same`` pads with zeros, ``valid`` does not pad; or zeros by end, ``[[before, after]]``."""
    dilation_rate: Positive = 1

    def _convolved(self, x: Any, kernel: Any, strides: tuple[int, ...], rates: tuple[int, ...], padding: str) -> Any:
        rows = super()._convolved(x[:, None], kernel[None], (1, *strides), (1, *rates), padding)
        return tf.squeeze(rows, axis=1)


@register
class Conv2D(Convolution):
    """Two-dimensional convolution of [batch, height, width, channels]; owns ``kernel`` and ``bias``."""

    kind: Literal["conv2d"] = "conv2d"
    dimensions = 2
    kernel_size: Size2D
    """Height and width of the window."""
    strides: Size2D = 1
    padding: Padding | tuple[Pads, Pads] = "same"
    """``same`` pads with zeros, ``valid`` does not pad; or zeros by side, ``[[top, bottom], [left, right]]``."""
    dilation_rate: Size2D = 1


@register
class Conv3D(Convolution):
    """Three-dimensional convolution of [batch, depth, height, width, channels]; owns ``kernel`` and ``bias``."""

    kind: Literal["conv3d"] = "conv3d"
    dimensions = 3
    kernel_size: Size3D
    """Depth, height and width of the window."""
    strides: Size3D = 1
    padding: Padding | tuple[Pads, Pads, Pads] = "same"
    """``same`` pads with zeros, ``valid`` does not pad; or zeros by side, ``[[front, back], [top, bottom], ...]``."""
    dilation_rate: Size3D = 1

    def _convolved(self, x: Any, kernel: Any, strides: tuple[int, ...], rates: tuple[int, ...], padding: str) -> Any:
        # On a CPU the operation has no groups, and dilation in float32 alone.
        groups = zip(*(tf.split(widened(tensor), self.groups, axis=-1) for tensor in (x, kernel)), strict=True)
        results = [
            tf.nn.conv3d(channels, filters, strides=(1, *strides, 1), padding=padding, dilations=(1, *rates, 1))
            for channels, filters in groups
        ]
        return tf.cast(results[0] if len(results) == 1 else tf.concat(results, axis=-1), x.dtype)
