"""Normalization of each example by itself, the same in training and inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.initializers import Ones, Zeros
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.checks import inner_axis, last_size
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.windows import grid
from expkit.kinds.precision import widened
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["GroupNorm", "LayerNorm", "LocalResponseNorm", "RmsNorm"]

# Moments are taken over axes counted from the end. Over the axis `rank - 1`, with constant gamma and beta, TensorFlow
# with oneDNN rewrites them into one operation whose epsilon is 0.001 whatever was requested, and which refuses a gamma
# of more than one dimension.


class ExampleNorm(Layer):
    """Base of the norms that own ``gamma`` and ``beta``, each [channels]."""

    center: bool = True
    """Whether ``beta`` is added."""
    scale: bool = True
    """Whether the result is multiplied by ``gamma``."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``gamma`` and ``beta``."""
        shape, dtype = (last_size(inputs[0], self.kind),), inputs[0].dtype
        return (
            *((Declaration("gamma", shape, Ones(), dtype=dtype),) if self.scale else ()),
            *((Declaration("beta", shape, Zeros(), dtype=dtype),) if self.center else ()),
        )


@register
class LayerNorm(ExampleNorm):
    """Layer normalization (Ba et al. 2016); owns ``gamma`` and ``beta``, as in ``tf.contrib.layers`` and BERT."""

    kind: Literal["layer_norm"] = "layer_norm"
    epsilon: float = Field(default=0.001, gt=0)
    """Added to the variance (``tf.contrib.layers`` and BERT: ``1e-12``)."""
    begin_norm_axis: int = -1
    """First of the dimensions that are normalized together, the batch counted as 0 (``tf.contrib.layers``: 1)."""

    def _axes(self, rank: int) -> list[int]:
        return [axis - rank for axis in range(inner_axis(self.begin_norm_axis, rank, self.kind), rank)]

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        last_size(inputs[0], self.kind)
        self._axes(len(inputs[0].shape) + 1)
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Normalize, scale, shift."""
        x, (beta, gamma) = widened(inputs[0]), _widened(variables, "beta", "gamma")
        mean, variance = tf.nn.moments(x, axes=self._axes(x.shape.rank), keepdims=True)
        result = tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.epsilon)
        return tf.cast(result, inputs[0].dtype)


@register
class GroupNorm(ExampleNorm):
    """Group normalization (Wu and He 2018) of [batch, ..., channels]; owns ``gamma`` and ``beta``.

    With one channel per group it is instance normalization.
    """

    kind: Literal["group_norm"] = "group_norm"
    groups: Positive = 32
    """Groups of channels, each normalized together over all positions."""
    epsilon: float = Field(default=0.001, gt=0)
    """Added to the variance (``tf.contrib.layers``: ``1e-6``)."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        channels = last_size(inputs[0], self.kind)
        if channels % self.groups:
            raise ShapeError(f"group_norm with groups {self.groups} needs a multiple of it as channels, got {channels}")
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Normalize, scale, shift."""
        x, affine = widened(inputs[0]), _widened(variables, "gamma", "beta")
        *rest, channels = sizes_of(x)
        grouped = tf.reshape(x, [*rest, self.groups, channels // self.groups])
        axes = [*range(-x.shape.rank, -2), -1]
        mean, variance = tf.nn.moments(grouped, axes=axes, keepdims=True)
        shape = [1] * (x.shape.rank - 1) + [self.groups, channels // self.groups]
        gamma, beta = (None if value is None else tf.reshape(value, shape) for value in affine)
        result = tf.nn.batch_normalization(grouped, mean, variance, beta, gamma, self.epsilon)
        return tf.cast(tf.reshape(result, [*rest, channels]), inputs[0].dtype)


@register
class RmsNorm(Layer):
    """The last dimension divided by its root mean square (Zhang and Sennrich 2019); owns ``gamma``."""

    kind: Literal["rms_norm"] = "rms_norm"
    epsilon: float = Field(default=1e-6, gt=0)
    """Added to the mean square."""
    scale: bool = True
    """Whether the result is multiplied by ``gamma``."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``gamma`` [channels]."""
        shape, dtype = (last_size(inputs[0], self.kind),), inputs[0].dtype
        return (Declaration("gamma", shape, Ones(), dtype=dtype),) if self.scale else ()

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        last_size(inputs[0], self.kind)
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Normalize, scale."""
        x, (gamma,) = widened(inputs[0]), _widened(variables, "gamma")
        mean_square = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        result = x * tf.math.rsqrt(mean_square + self.epsilon)
        return tf.cast(result if gamma is None else result * gamma, inputs[0].dtype)


@register
class LocalResponseNorm(Layer):
    """Each value divided by ``(bias + alpha * sum of squares of nearby channels) ** beta`` (Krizhevsky et al. 2012)."""

    kind: Literal["local_response_norm"] = "local_response_norm"
    depth_radius: int = Field(default=5, ge=0)
    """Number of nearby channels on each side."""
    bias: float = 1.0
    """Added to the sum."""
    alpha: float = 1.0
    """Factor of the sum."""
    beta: float = 0.5
    """Exponent."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        grid(inputs[0], self.kind, 2)
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Normalize."""
        x = widened(inputs[0])
        result = tf.nn.local_response_normalization(x, self.depth_radius, self.bias, self.alpha, self.beta)
        return tf.cast(result, inputs[0].dtype)


def _widened(variables: Mapping[str, Any], *names: str) -> list[Any]:
    """Return the named variables, ``None`` for one that a layer does not own."""
    return [widened(tf.convert_to_tensor(variables[name])) if name in variables else None for name in names]
