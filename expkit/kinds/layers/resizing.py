"""Layers that make tensors larger or smaller: padding, resizing, reducing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import inner_axis, need_floats
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.windows import Pads, Size2D, each, grid
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Pad", "Reduce", "Resize"]


@register
class Pad(Layer):
    """Places added at both ends of dimensions (``tf.pad``)."""

    kind: Literal["pad"] = "pad"
    paddings: tuple[Pads, ...] = Field(min_length=1)
    """``[before, after]`` for the first dimensions after the batch: ``[[top, bottom], [left, right]]``."""
    mode: Literal["constant", "reflect", "symmetric"] = "constant"
    """``constant`` adds ``value``, ``reflect`` what lies inside the border, ``symmetric`` the border too."""
    value: float = 0.0
    """Value added by ``constant``."""

    @model_validator(mode="after")
    def _has_a_use_for_the_value(self) -> Pad:
        if self.value and self.mode != "constant":
            raise ValueError(f"mode '{self.mode}' adds no value of its own; leave value out, or set mode: constant")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the sizes with what is added."""
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
    """Images in another size, as ``tf.compat.v1.image`` resizes them."""

    kind: Literal["resize"] = "resize"
    size: Size2D | None = None
    """Height and width of the output; or give ``scale``."""
    scale: Size2D | None = None
    """How many times larger height and width become; or give ``size``."""
    method: Literal["nearest", "bilinear"] = "bilinear"
    """How values between the pixels come about."""
    align_corners: bool = False
    """Whether the centers of the corner pixels stay in the corners."""
    half_pixel_centers: bool = False
    """Whether a pixel's place is its center (TF2's way); otherwise its top left corner (TF1's)."""

    @model_validator(mode="after")
    def _agrees(self) -> Resize:
        if (self.size is None) == (self.scale is None):
            raise ValueError("resize needs exactly one of 'size' (height and width) and 'scale' (times larger)")
        if self.align_corners and self.half_pixel_centers:
            raise ValueError("align_corners and half_pixel_centers exclude each other; leave one of them out")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return [height, width, channels]."""
        sizes, channels = grid(inputs[0], self.kind, 2)
        if self.size is not None:
            return TensorSpec((*each(self.size, 2), channels), inputs[0].dtype)
        scales = zip(sizes, each(self.scale or 1, 2), strict=True)
        wanted = (None if size is None else size * scale for size, scale in scales)
        return TensorSpec((*wanted, channels), inputs[0].dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply rows and columns by the matrices of their weights.

        TensorFlow's own operations are slower, and XLA has no gradient of one and computes another border of the other.
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

    def _weights(self, size: Any, wanted: Any) -> Any:
        """Return [wanted, size]: how much of each place along a dimension is in each place of the output."""
        size_, wanted_ = tf.cast(size, tf.float32), tf.cast(wanted, tf.float32)
        places = tf.range(wanted_)
        if self.align_corners:
            places *= (size_ - 1) / tf.maximum(wanted_ - 1, 1)
        else:
            places = (places + 0.5 * self.half_pixel_centers) * (size_ / wanted_)
        if self.method == "nearest":
            nearest = tf.floor(places + 0.5 * self.align_corners)
            return tf.one_hot(tf.cast(tf.minimum(nearest, size_ - 1), tf.int32), size)
        places = tf.clip_by_value(places - 0.5 * self.half_pixel_centers, 0, size_ - 1)
        return tf.maximum(1 - tf.abs(places[:, None] - tf.range(size_)), 0)


@register
class Reduce(Layer):
    """One value in the place of all along some dimensions."""

    kind: Literal["reduce"] = "reduce"
    function: Literal["mean", "sum", "max", "min", "prod", "logsumexp", "any", "all"]
    """What becomes of the values: ``tf.reduce_...``."""
    axis: int | tuple[int, ...] | None = None
    """Dimensions, the batch counted as 0; all but the batch when not given."""
    keepdims: bool = False
    """Whether the dimensions stay, with size 1."""

    def _axes(self, rank: int) -> list[int]:
        given = (self.axis,) if isinstance(self.axis, int) else range(1, rank) if self.axis is None else self.axis
        return [inner_axis(axis, rank, self.kind) for axis in given]

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the other dimensions."""
        spec = inputs[0]
        if self.function in ("mean", "logsumexp"):
            need_floats(spec, f"reduce by {self.function}")
        elif (spec.dtype == "bool") != (self.function in ("any", "all")):
            wanted = "any or all" if spec.dtype == "bool" else "mean, sum, max, min, prod or logsumexp"
            raise ShapeError(f"reduce by {self.function} does not suit {spec}; {spec.dtype} is reduced by {wanted}")
        axes = self._axes(len(spec.shape) + 1)
        sizes = [(1 if axis in axes else size) for axis, size in enumerate(spec.shape, start=1)]
        kept = sizes if self.keepdims else [size for axis, size in enumerate(sizes, start=1) if axis not in axes]
        return TensorSpec(tuple(kept), spec.dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Reduce."""
        axes = self._axes(inputs[0].shape.rank)
        return getattr(tf, f"reduce_{self.function}")(inputs[0], axis=axes, keepdims=self.keepdims)
