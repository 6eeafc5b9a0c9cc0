"""Augmentation of images that moves their pixels."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from expkit.kinds.augment.base import ImageAugment
from expkit.kinds.augment.draws import Draws
from expkit.kinds.augment.resampling import Filled, Resampled
from expkit.registry import NonNegative, Positive, register
from expkit.tensor_spec import Shape, ShapeError, TensorSpec, sizes_text

__all__ = ["Flip", "RandomCrop", "Rotate", "Shift", "Zoom"]


@register
class Flip(ImageAugment):
    """Images mirrored left to right, top to bottom, or both, each of the two with ``probability``."""

    kind: Literal["flip"] = "flip"
    always_applied: ClassVar[bool] = True
    moves: ClassVar[bool] = True
    horizontal: bool = False
    """Whether left and right are exchanged."""
    vertical: bool = False
    """Whether top and bottom are exchanged."""
    probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that an image is mirrored, in each direction."""

    @model_validator(mode="after")
    def _mirrors(self) -> Flip:
        if not (self.horizontal or self.vertical):
            raise ValueError("flip needs horizontal: true, vertical: true, or both")
        return self

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Mirror."""
        horizontal, vertical = draws.chosen(self.probability), draws.chosen(self.probability)
        if self.horizontal:
            images[horizontal] = images[horizontal][:, :, ::-1]
        if self.vertical:
            images[vertical] = images[vertical][:, ::-1]
        return images


@register
class RandomCrop(Filled):
    """A part of every image at a random position, in the size of the image.

    With ``padding`` the image is first padded at all four edges: the part is the image moved by up to so many pixels.
    With ``size`` the part is smaller, and is enlarged to the size of the image, bilinearly.
    """

    kind: Literal["random_crop"] = "random_crop"
    moves: ClassVar[bool] = True
    padding: NonNegative = 0
    """Pixels that are added at every edge, filled as ``fill`` says."""
    size: tuple[Positive, Positive] | None = None
    """Height and width of the part; ``null``: those of the image."""

    @model_validator(mode="after")
    def _crops(self) -> RandomCrop:
        if self.padding == 0 and self.size is None:
            raise ValueError("random_crop needs padding, or a size smaller than the image, or both")
        return self

    def check_image(self, sizes: Shape, spec: TensorSpec) -> None:
        """Check that the part lies within the padded image, and that this is not mostly padding."""
        for name, size in zip(("height", "width"), sizes[:2], strict=True):
            if size is not None and self.padding > size:
                raise ShapeError(f"{self.kind} with padding {self.padding} adds more than the {name} of {size}")
        for name, size, wanted in zip(("height", "width"), sizes[:2], self.size or (), strict=False):
            if size is not None and size + 2 * self.padding < wanted:
                raise ShapeError(
                    f"{self.kind} of {name} {wanted} is larger than the image, {sizes_text(sizes)}"
                    + (f" with {self.padding} pixels more at every edge" if self.padding else "")
                )
        if self.size is not None and not spec.floating:
            raise ShapeError(f"{self.kind} with a size interpolates, which needs floating-point values, got {spec}")

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Crop."""
        height, width = images.shape[1:3]
        rows, columns = self.size or (height, width)
        padded = self.padded(images, self.padding) if self.padding else images
        top = draws.integers(0, padded.shape[1] - rows + 1).tolist()
        left = draws.integers(0, padded.shape[2] - columns + 1).tolist()
        parts = np.empty((len(images), rows, columns, images.shape[3]), images.dtype)
        for index, (y, x) in enumerate(zip(top, left, strict=True)):
            parts[index] = padded[index, y : y + rows, x : x + columns]
        return parts if self.size is None else _enlarged(parts, (height, width))


@register
class Shift(Resampled):
    """Images moved up or down, left or right, by a random fraction of their size."""

    kind: Literal["shift"] = "shift"
    height: float = Field(default=0.1, ge=0, le=1)
    """Largest fraction of the height by which an image moves up or down."""
    width: float = Field(default=0.1, ge=0, le=1)
    """Largest fraction of the width by which an image moves left or right."""

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Move."""
        matrices = _identities(len(images))
        for row, fraction in enumerate((self.height, self.width)):
            matrices[:, row, 2] = draws.uniform(-fraction, fraction) * images.shape[1 + row]
        return self.resample(images, matrices)


@register
class Rotate(Resampled):
    """Images turned around their middle by a random angle, in either direction."""

    kind: Literal["rotate"] = "rotate"
    degrees: float = Field(default=10.0, gt=0, le=180)
    """Largest angle."""

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Turn."""
        matrices = _identities(len(images))
        for matrix, angle in zip(matrices, draws.uniform(-self.degrees, self.degrees).tolist(), strict=True):
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            matrix[:, :2] = [[cosine, sine], [-sine, cosine]]
        return self.resample(images, matrices)


@register
class Zoom(Resampled):
    """Images enlarged or reduced around their middle by a random factor, the same in both directions."""

    kind: Literal["zoom"] = "zoom"
    smallest: float = Field(default=0.9, gt=0)
    """Smallest factor: with 0.5 an object is half as large."""
    largest: float = Field(default=1.1, gt=0)
    """Largest factor."""

    @model_validator(mode="after")
    def _spans(self) -> Zoom:
        if self.smallest > self.largest:
            raise ValueError(f"smallest is {self.smallest}, more than largest, {self.largest}; exchange them")
        return self

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Enlarge or reduce; factors are as likely above 1 as below, in their logarithm."""
        matrices = _identities(len(images))
        logarithms = draws.uniform(math.log(self.smallest), math.log(self.largest)).tolist()
        for matrix, logarithm in zip(matrices, logarithms, strict=True):
            matrix[:, :2] *= math.exp(-logarithm)
        return self.resample(images, matrices)


def _identities(count: int) -> np.ndarray:
    return np.tile(np.eye(2, 3), (count, 1, 1))


def _enlarged(parts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return images resized bilinearly, pixels taken as areas (half-pixel centers)."""
    for axis, wanted in enumerate(size, 1):
        given = parts.shape[axis]
        at = np.clip((np.arange(wanted) + 0.5) * (given / wanted) - 0.5, 0, given - 1)
        low = np.floor(at).astype(np.int64)
        above = (at - low).astype(parts.dtype).reshape(-1, *[1] * (3 - axis))
        first, second = parts.take(low, axis), parts.take(np.minimum(low + 1, given - 1), axis)
        parts = first + (second - first) * above
    return parts
