"""Augmentation of images that changes the colors of their pixels."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from expkit.kinds.augment.base import ImageAugment, need_floats
from expkit.kinds.augment.draws import Draws
from expkit.registry import register
from expkit.tensor_spec import Shape, ShapeError, TensorSpec

__all__ = ["Brightness", "Contrast", "Hue", "Saturation"]

GRAY = np.array([0.299, 0.587, 0.114])
"""Fractions of red, green and blue in gray (ITU-R BT.601)."""
YIQ = np.array([GRAY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From red, green and blue to luminance and two chrominances."""


class ColorAugment(ImageAugment):
    """A step that changes the colors of images; the fourth channel, alpha, stays as it is."""

    clip: tuple[float, float] | None = None
    """Range to which the result is limited, such as [0, 1], in the units of the values; ``null``: it is not."""

    @model_validator(mode="after")
    def _clips(self) -> ColorAugment:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip is [low, high] with low < high, got {list(self.clip)}")
        return self

    def check_image(self, sizes: Shape, spec: TensorSpec) -> None:
        """Check that values are floating-point numbers."""
        need_floats(spec, self.kind)

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Change the colors, and limit them to ``clip``."""
        colors = images[..., :3] if images.shape[3] == 4 else images
        changed = self.recolor(colors, draws)
        colors[...] = changed if self.clip is None else np.clip(changed, *self.clip)
        return images

    @abstractmethod
    def recolor(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Return changed images [n, height, width, channels]."""


@register
class Brightness(ColorAugment):
    """A random number added to all pixels of an image."""

    kind: Literal["brightness"] = "brightness"
    max_delta: float = Field(default=0.1, gt=0)
    """Largest number that is added or subtracted, in the units of the values: 0.1 is a tenth of a range of [0, 1]."""

    def recolor(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Add."""
        images += _factors(draws.uniform(-self.max_delta, self.max_delta), images)
        return images


class Scaled(ColorAugment):
    """A step with a random factor."""

    smallest: float = Field(default=0.8, ge=0)
    """Smallest factor."""
    largest: float = Field(default=1.2, ge=0)
    """Largest factor; 1 changes nothing."""

    @model_validator(mode="after")
    def _spans(self) -> Scaled:
        if self.smallest > self.largest:
            raise ValueError(f"smallest is {self.smallest}, more than largest, {self.largest}; exchange them")
        return self

    def factors(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Return a factor of each image, in a shape that multiplies images."""
        return _factors(draws.uniform(self.smallest, self.largest), images)


@register
class Contrast(Scaled):
    """The difference of every pixel from the mean of its channel in the image, times a random factor."""

    kind: Literal["contrast"] = "contrast"

    def recolor(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Scale the differences."""
        # Each sum is of one contiguous row, so that it does not depend on the number of images.
        rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), images.shape[3], -1)
        means = (rows.sum(axis=2, dtype=np.float64) / rows.shape[2]).astype(images.dtype)[:, None, None]
        return np.asarray((images - means) * self.factors(images, draws) + means)


class Colored(ColorAugment):
    """A step that needs red, green and blue, of the same units."""

    def check_image(self, sizes: Shape, spec: TensorSpec) -> None:
        """Check that there are three colors."""
        super().check_image(sizes, spec)
        if sizes[2] not in (3, 4, None):
            raise ShapeError(f"{self.kind} needs 3 channels (red, green, blue), or 4 with alpha, got {spec}")


@register
class Saturation(Scaled, Colored):
    """The difference of every color from its gray, times a random factor: 0 makes an image gray.

    Channels need the same units: after ``standardize`` with values of its own for each channel they have others.
    """

    kind: Literal["saturation"] = "saturation"

    def recolor(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Scale the differences."""
        gray = _products(images, GRAY[None])
        return np.asarray((images - gray) * self.factors(images, draws) + gray)


@register
class Hue(Colored):
    """Colors turned around the axis of grays by a random angle; luminance stays the same.

    Channels need the same units: after ``standardize`` with values of its own for each channel they have others.
    """

    kind: Literal["hue"] = "hue"
    max_delta: float = Field(default=0.05, gt=0, le=0.5)
    """Largest angle in either direction, as a fraction of the full circle."""

    def recolor(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Turn."""
        angles = draws.uniform(-self.max_delta, self.max_delta) * 2 * math.pi
        back, changed = np.linalg.inv(YIQ), np.empty_like(images)
        for index, angle in enumerate(angles.tolist()):
            cosine, sine = math.cos(angle), math.sin(angle)
            turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
            changed[index] = _products(images[index], back @ turn @ YIQ)
        return changed


def _factors(numbers: np.ndarray, images: np.ndarray) -> np.ndarray:
    return numbers.astype(images.dtype)[:, None, None, None]


def _products(colors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the products of a matrix with colors [..., 3]; one after the other, so that they round alike."""
    rows = matrix.astype(colors.dtype)
    red, green, blue = colors[..., 0], colors[..., 1], colors[..., 2]
    return np.stack([row[0] * red + row[1] * green + row[2] * blue for row in rows], axis=-1)
