"""Preprocessing of images."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.preprocess.base import TEXT, Fitted, Preprocess, need_numbers, need_text, words_of_texts
from expkit.kinds.preprocess.orientation import may_be_turned, upright
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec, sizes_text

__all__ = ["CenterCrop", "DecodeImage", "Pad", "Resize"]


GRAY = 19595, 38470, 7471
"""Weights of red, green and blue in gray (ITU-R BT.601), in parts of 2^16."""


@register
class DecodeImage(Preprocess):
    """Pixels [height, width, channels], uint8, of PNG, JPEG, BMP or GIF files (of a GIF the first frame)."""

    kind: Literal["decode_image"] = "decode_image"
    reads_text: ClassVar[bool] = True
    reads_files: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = True
    channels: Literal[1, 3, 4] = 3
    """Channels of the result: 1 for gray, 3 for RGB, 4 for RGB with alpha; files of others are converted.

    CMYK becomes RGB, of 16 bits the upper 8 stay, and alpha is dropped, not painted; a GIF's transparent pixels are
    black and opaque, as TensorFlow decodes them."""
    orientation: Literal["exif", "as_stored"] = "exif"
    """``exif`` turns JPEG files as the camera was held, by the orientation that it wrote into them; ``as_stored`` does
    not, as TensorFlow's and Keras' functions do not."""
    on_error: Literal["stop", "skip"] = "stop"
    """``stop`` at a file that cannot be decoded, or ``skip`` such examples in training and count them."""

    @property
    def skips_failures(self) -> bool:
        """Whether training leaves out files that cannot be decoded."""
        return self.on_error == "skip"

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return [height, width, channels] of unknown height and width."""
        if need_text(spec, self.kind).shape:
            raise ShapeError(f"{self.kind} needs one file per example, got {spec}")
        return TensorSpec((None, None, self.channels), "uint8")

    def reduced(self, values: np.ndarray) -> DecodeImage:
        """Return a step that looks for no orientation where no file has any."""
        if self.orientation == "as_stored" or any(may_be_turned(content) for content in values.tolist()):
            return self
        return self.model_copy(update={"orientation": "as_stored"})

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Decode the only example of a batch."""
        image = _decoded(values[0], self.channels)
        image.set_shape((None, None, self.channels))
        return (upright(image, values[0]) if self.orientation == "exif" else image)[None]


@register
class Resize(Preprocess):
    """Images resized as by ``tf.image.resize`` of TensorFlow 2 (half-pixel centers); float32, as ``nearest`` uint8."""

    kind: Literal["resize"] = "resize"
    size: tuple[Positive, Positive]
    """Height and width of the result."""
    method: Literal["bilinear", "bicubic", "area", "nearest"] = "bilinear"
    """Interpolation between pixels."""
    antialias: bool = True
    """Whether an image is smoothed where it becomes smaller; of ``bilinear`` and ``bicubic`` only."""

    @model_validator(mode="after")
    def _agrees(self) -> Resize:
        if self.antialias and "antialias" in self.model_fields_set and self.method in ("area", "nearest"):
            raise ValueError(
                f"method '{self.method}' does not use antialias; leave it out, or choose bilinear, bicubic"
            )
        return self

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return [height, width, channels]."""
        *_, channels = _image(spec, self.kind)
        return TensorSpec((*self.size, channels), spec.dtype if self.method == "nearest" else "float32")

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Resize."""
        if self.method == "nearest":
            return tf.raw_ops.ResizeNearestNeighbor(images=values, size=self.size, half_pixel_centers=True)
        values = tf.cast(values, tf.float32)
        if self.method == "area":
            return tf.raw_ops.ResizeArea(images=values, size=self.size)
        if self.antialias:
            scale = tf.cast(self.size, tf.float32) / tf.cast(tf.shape(values)[1:3], tf.float32)
            kernel = {"bilinear": "triangle", "bicubic": "keyscubic"}[self.method]
            return tf.raw_ops.ScaleAndTranslate(
                images=values, size=self.size, scale=scale, translation=[0.0, 0.0], kernel_type=kernel, antialias=True
            )
        operation = {"bilinear": "ResizeBilinear", "bicubic": "ResizeBicubic"}[self.method]
        return getattr(tf.raw_ops, operation)(images=values, size=self.size, half_pixel_centers=True)


@register
class CenterCrop(Preprocess):
    """The middle of images; of an odd difference the larger part is cut off at the bottom and at the right."""

    kind: Literal["center_crop"] = "center_crop"
    size: tuple[Positive, Positive]
    """Height and width of the result."""

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return [height, width, channels]."""
        height, width, channels = _image(spec, self.kind)
        for name, size, wanted in zip(("height", "width"), (height, width), self.size, strict=True):
            if size is not None and size < wanted:
                raise ShapeError(f"{self.kind} to {name} {wanted} of {spec}, which is smaller; use kind 'pad' first")
        return TensorSpec((*self.size, channels), spec.dtype)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Crop."""
        height, width = self.size
        sizes = tf.shape(values)
        top, left = (sizes[1] - height) // 2, (sizes[2] - width) // 2
        cropped = tf.slice(values, [0, top, left, 0], [-1, height, width, -1])
        cropped.set_shape((None, height, width, values.shape[3]))
        return cropped


@register
class Pad(Preprocess):
    """Images of a size, or sequences of a length: what is missing is filled with a value, what is too much cut off.

    An image stays in the middle; a sequence at the beginning.
    """

    kind: Literal["pad"] = "pad"
    keeps_numbering: ClassVar[bool] = True
    size: tuple[Positive, Positive] | None = None
    """Height and width of images [height, width, channels]; or give ``length``. A larger image is an error."""
    length: Positive | None = None
    """Length of sequences [length, ...]; or give ``size``. A longer sequence loses its end."""
    value: float = Field(default=0.0)
    """Value of what is added."""

    @model_validator(mode="after")
    def _agrees(self) -> Pad:
        if (self.size is None) == (self.length is None):
            raise ValueError("pad needs exactly one of 'size' (height and width of images) and 'length' (of sequences)")
        return self

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the padded sizes."""
        if spec.dtype == TEXT:
            raise ShapeError(f"{self.kind} needs numbers, got {spec}; use kind 'vocabulary' first")
        if not _holds(np.dtype(spec.dtype), self.value):
            raise ShapeError(f"{self.kind} with value {self.value:g} of {spec}, which holds no such number")
        if self.length is not None:
            if not spec.shape:
                raise ShapeError(f"{self.kind} needs sequences [length, ...], got {spec}")
            if self.value and words_of_texts(spec):
                raise ShapeError(f"{self.kind} with value {self.value:g} of words, which end with 0; leave value out")
            return TensorSpec((self.length, *spec.shape[1:]), spec.dtype)
        assert self.size is not None
        height, width, channels = _image(spec, self.kind)
        for name, size, wanted in zip(("height", "width"), (height, width), self.size, strict=True):
            if size is not None and size > wanted:
                raise ShapeError(f"{self.kind} to {name} {wanted} of {spec}, which is larger; use kind 'center_crop'")
        return TensorSpec((*self.size, channels), spec.dtype)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Pad and cut."""
        value = tf.cast(self.value, values.dtype)
        sizes, rank = tf.shape(values), values.shape.rank
        if self.length is not None:
            values = values[:, : self.length]
            missing = tf.maximum(self.length - sizes[1], 0)
            padded = tf.pad(values, [[0, 0], [0, missing], *[[0, 0]] * (rank - 2)], constant_values=value)
            padded.set_shape((None, self.length, *values.shape[2:]))
            return padded
        assert self.size is not None
        rows, columns = self.size[0] - sizes[1], self.size[1] - sizes[2]
        edges = [[0, 0], [rows // 2, rows - rows // 2], [columns // 2, columns - columns // 2], [0, 0]]
        padded = tf.pad(values, edges, constant_values=value)
        padded.set_shape((None, *self.size, values.shape[3]))
        return padded


def _holds(dtype: np.dtype, value: float) -> bool:
    """Return True if a dtype has a value; numbers that floats round are theirs."""
    return dtype.kind not in "iu" or (value.is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _decoded(content: Any, channels: int) -> Any:
    """Return the pixels of an encoded image; of formats that are not decoded to these channels, those of RGB."""

    def decoded(requested: int) -> Any:
        return tf.raw_ops.DecodeImage(contents=content, channels=requested, expand_animations=False)

    def gray() -> Any:
        weighted = tf.cast(decoded(3), tf.int32) * GRAY
        return tf.cast((tf.reduce_sum(weighted, -1, keepdims=True) + (1 << 15)) // (1 << 16), tf.uint8)

    def opaque() -> Any:
        return tf.pad(decoded(3), [[0, 0], [0, 0], [0, 1]], constant_values=tf.constant(255, tf.uint8))

    def cmyk() -> Any:
        return tf.equal(tf.raw_ops.ExtractJpegShape(contents=content)[2], 4)

    def no_alpha() -> Any:
        """Return whether pixels of fewer than 8 bits have no alpha, of which TensorFlow makes 1, 3 or 15."""
        header = tf.raw_ops.StringSplitV2(input=[content], sep="IDAT", maxsplit=1).values[:1]
        return tf.equal(tf.size(tf.raw_ops.StringSplitV2(input=header, sep="tRNS", maxsplit=1).values), 1)

    def thin() -> Any:
        few = tf.reduce_any(tf.equal(tf.strings.substr(content, 24, 1), [b"\x01", b"\x02", b"\x04"]))
        return tf.cond(few, no_alpha, lambda: tf.constant(False))

    start = tf.strings.substr(content, 0, 3)
    if channels == 1:
        converted = tf.equal(start, b"GIF") | tf.equal(tf.strings.substr(start, 0, 2), b"BM")
        converted |= tf.cond(tf.equal(start, b"\xff\xd8\xff"), cmyk, lambda: tf.constant(False))
        return tf.cond(converted, gray, lambda: decoded(1))
    if channels == 4:
        is_opaque = tf.reduce_any(tf.equal(start, [b"GIF", b"\xff\xd8\xff"]))
        is_opaque |= tf.cond(tf.equal(start, b"\x89PN"), thin, lambda: tf.constant(False))
        return tf.cond(is_opaque, opaque, lambda: decoded(4))
    return decoded(3)


def _image(spec: TensorSpec, kind: str) -> tuple[int | None, int | None, int | None]:
    if len(need_numbers(spec, kind).shape) != 3:
        raise ShapeError(f"{kind} needs images [height, width, channels], got {sizes_text(spec.shape)}")
    height, width, channels = spec.shape
    return height, width, channels
