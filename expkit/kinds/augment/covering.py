"""Augmentation that covers values, with a rectangle or with noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from expkit.kinds.augment.base import Augment, ImageAugment, need_floats
from expkit.kinds.augment.draws import Draws
from expkit.registry import Positive, register
from expkit.tensor_spec import Shape, ShapeError, TensorSpec, sizes_text

__all__ = ["Cutout", "GaussianNoise"]


@register
class Cutout(ImageAugment):
    """A rectangle of one value at a random position in every image (DeVries and Taylor, 2017).

    Its middle is any pixel, so that it may reach beyond the edges.
    """

    kind: Literal["cutout"] = "cutout"
    size: tuple[Positive, Positive]
    """Height and width of the rectangle, in pixels."""
    value: float = 0.0
    """Value of its pixels, in the units of the values."""

    def check_image(self, sizes: Shape, spec: TensorSpec) -> None:
        """Check that the rectangle is not larger than the image."""
        for name, size, wanted in zip(("height", "width"), sizes[:2], self.size, strict=True):
            if size is not None and size < wanted:
                raise ShapeError(f"{self.kind} of {name} {wanted} is larger than the image, {sizes_text(sizes)}")

    def change(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Cover."""
        spans = [
            draws.integers(0, size) - wanted // 2 for size, wanted in zip(images.shape[1:3], self.size, strict=True)
        ]
        for index, (top, left) in enumerate(zip(*(span.tolist() for span in spans), strict=True)):
            bottom, right = top + self.size[0], left + self.size[1]
            images[index, max(0, top) : bottom, max(0, left) : right] = images.dtype.type(self.value)
        return images


@register
class GaussianNoise(Augment):
    """Normal noise added to every value of a field of any shape."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    stddev: float = Field(default=0.1, gt=0)
    """Standard deviation, in the units of the values."""

    def check(self, spec: TensorSpec) -> None:
        """Check that values are floating-point numbers."""
        need_floats(spec, self.kind)

    def apply(self, values: np.ndarray, draws: Draws) -> np.ndarray:
        """Add."""
        values += values.dtype.type(self.stddev) * draws.normal(values.shape[1:])
        return values
