"""Layers that change sizes: padding, resizing, reducing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import inner_axis, need_floats
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.windows import Pads, Size2D, each, grid
from expkit.kinds.precision import widened
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Pad", "Reduce", "Resize"]


@register
class Pad(Layer):
    """Values added at both ends of dimensions (``tf.pad``)."""

    kind: Literal["pad"] = "pad"
    paddings: tuple[Pads, ...] = Field(min_length=1)
    """``[before, after]`` for the first dimensions after the batch: ``[[top, bottom], [left, right]]``."""
    mode: Literal["constant", "reflect", "symmetric"] = "constant"
    """``constant`` adds ``value``; ``reflect`` mirrors the values inside the border, ``symmetric`` the border too."""
    value: float = 0.0
    """Value added by ``constant``."""

    @model_validator(mode="after")
    def _value_is_for_constant(self) -> Pad:
        if self.value and self.mode != "constant":
            raise ValueError(f"mode '{self.mode}' does not use value; leave it out, or set mode: constant")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the padded sizes."""
        spec = inputs[0]
        if len(self.paddings) > len(spec.shape):
            raise ShapeError(f"pad of {len(self.paddings)} dimensions, but the input {spec} has {len(spec.shape)}")
        padded = []
        for size, (before, after) in zip(spec.shape, self.paddings, strict=False):
            most = None if size is None or self.mode == "constant" else size - (self.mode == "reflect")
            if most is not None and max(before, after) > most:
                raise ShapeError(
                    f"pad with mode '{self.mode}' adds at most {most} to size {size}, not {max(before, after)}"
                )
            padded.append(None if size is None else size + before + after)
        return TensorSpec((*padded, *spec.shape[len(padded) :]), spec.dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pad."""
        rest = ((0, 0),) * (inputs[0].shape.rank - 1 - len(self.paddings))
        value = tf.cast(self.value, inputs[0].dtype)
        return tf.pad(inputs[0], ((0, 0), *self.paddings, *rest), self.mode, constant_values=value)


@register
class Resize(Layer):
    """Images resized as by ``tf.compat.v1.image``."""

    kind: Literal["resize"] = "resize"
    size: Size2D | None = None
    """Height and width of the output; or give ``scale``."""
    scale: Size2D | None = None
    """Factors by which height and width are enlarged; or give ``size``."""
    method: Literal["nearest", "bilinear"] = "bilinear"
    """Interpolation between pixels."""
    align_corners: bool = False
    """Whether the centers of the corner pixels are aligned."""
    half_pixel_centers: bool = False
    """Whether a pixel's position is its center, as in TF2; otherwise its top left corner, as in TF1."""

    @model_validator(mode="after")
    def _agrees(self) -> Resize:
        if (self.size is None) == (self.scale is None):
            raise ValueError("resize needs exactly one of 'size' (height and width) and 'scale' (factors)")
        if self.align_corners and self.half_pixel_centers:
            raise ValueError("align_corners and half_pixel_centers exclude each other; leave one of them out")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [height, width, channels]."""
        sizes, channels = grid(inputs[0], self.kind, 2)
        if self.size is not None:
            return TensorSpec((*each(self.size, 2), channels), inputs[0].dtype)
        scales = zip(sizes, each(self.scale or 1, 2), strict=True)
        enlarged = (None if size is None else size * scale for size, scale in scales)
        return TensorSpec((*enlarged, channels), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply rows and columns by matrices of interpolation weights.

        TensorFlow's own operations are slower; XLA has no gradient of one and computes another border for the other.
        """
        x = inputs[0]
        batch, height, width, channels = sizes_of(x)
        rows, columns = each(self.size or self.scale or 1, 2)
        if self.size is None:
            rows, columns = rows * height, columns * width
        x = tf.matmul(tf.cast(self._weights(height, rows), x.dtype), tf.reshape(x, [batch, height, width * channels]))
        x = tf.reshape(x, [batch * rows, width, channels])
        x = tf.matmul(tf.cast(self._weights(width, columns), x.dtype), x)
        return tf.reshape(x, [batch, rows, columns, channels])

    def _weights(self, size: Any, output: Any) -> Any:
        """Return [output, size]: the weight of each pixel along a dimension in each pixel of the output."""
        size_, output_ = tf.cast(size, tf.float32), tf.cast(output, tf.float32)
        positions = tf.range(output_)
        if self.align_corners:
            positions *= (size_ - 1) / tf.maximum(output_ - 1, 1)
        else:
            positions = (positions + 0.5 * self.half_pixel_centers) * (size_ / output_)
        if self.method == "nearest":
            nearest = tf.floor(positions + 0.5 * self.align_corners)
            return tf.one_hot(tf.cast(tf.minimum(nearest, size_ - 1), tf.int32), size)
        positions = tf.clip_by_value(positions - 0.5 * self.half_pixel_centers, 0, size_ - 1)
        return tf.maximum(1 - tf.abs(positions[:, None] - tf.range(size_)), 0)


@register
class Reduce(Layer):
    """A reduction along some dimensions (``tf.reduce_...``)."""

    kind: Literal["reduce"] = "reduce"
    function: Literal["mean", "sum", "max", "min", "prod", "logsumexp", "any", "all"]
    """Function that reduces the values."""
    axis: int | tuple[int, ...] | None = None
    """Dimensions, the batch counted as 0; by default all but the batch."""
    keepdims: bool = False
    """Whether the dimensions are kept, with size 1."""

    def _axes(self, rank: int) -> list[int]:
        given = (self.axis,) if isinstance(self.axis, int) else range(1, rank) if self.axis is None else self.axis
        return [inner_axis(axis, rank, self.kind) for axis in given]

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the other dimensions."""
        spec = inputs[0]
        if self.function in ("mean", "logsumexp"):
            need_floats(spec, f"reduce by {self.function}")
        elif (spec.dtype == "bool") != (self.function in ("any", "all")):
            allowed = "any or all" if spec.dtype == "bool" else "mean, sum, max, min, prod or logsumexp"
            raise ShapeError(f"reduce by {self.function} does not suit {spec}; allowed for {spec.dtype}: {allowed}")
        axes = self._axes(len(spec.shape) + 1)
        sizes = [(1 if axis in axes else size) for axis, size in enumerate(spec.shape, start=1)]
        kept = sizes if self.keepdims else [size for axis, size in enumerate(sizes, start=1) if axis not in axes]
        return TensorSpec(tuple(kept), spec.dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Reduce."""
        axes = self._axes(inputs[0].shape.rank)
        result = getattr(tf, f"reduce_{self.function}")(widened(inputs[0]), axis=axes, keepdims=self.keepdims)
        return tf.cast(result, inputs[0].dtype)
