"""Images resampled at other positions, and the values beyond their edges."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from expkit.kinds.augment.base import ImageAugment
from expkit.tensor_spec import Shape, ShapeError, TensorSpec

__all__ = ["Filled", "Resampled"]

_MODE = {"constant": "constant", "edge": "nearest", "reflect": "mirror"}
"""Modes of SciPy by the names of the fields."""


class Filled(ImageAugment):
    """A step that brings what is beyond the edges into the image."""

    fill: Literal["constant", "edge", "reflect"] = "constant"
    """Values beyond the edges: ``value``, those of the nearest pixel, or the image mirrored at its outermost pixels."""
    value: float = 0.0
    """Value beyond the edges with ``fill: constant``, in the units of the values, such as that of a black pixel."""

    def padded(self, images: np.ndarray, edges: int) -> np.ndarray:
        """Return images padded by a number of pixels at every edge."""
        sizes = ((0, 0), (edges, edges), (edges, edges), (0, 0))
        if self.fill == "constant":
            return np.pad(images, sizes, constant_values=images.dtype.type(self.value))
        return np.pad(images, sizes, mode=self.fill)


class Resampled(Filled):
    """A step that reads every pixel at another position."""

    moves: ClassVar[bool] = True
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    """Interpolation between pixels; ``nearest`` for masks of class numbers."""

    def check_image(self, sizes: Shape, spec: TensorSpec) -> None:
        """Check that whole numbers are not interpolated."""
        if self.interpolation != "nearest" and not spec.floating:
            raise ShapeError(
                f"{self.kind} with interpolation {self.interpolation} needs floating-point values, got {spec}; set "
                "interpolation: nearest"
            )

    def resample(self, images: np.ndarray, matrices: np.ndarray) -> np.ndarray:
        """Return images whose pixel (y, x), counted from the middle, is read at ``matrix @ (y, x, 1)``.

        Args:
            images: [n, height, width, channels].
            matrices: [n, 2, 3]; that of an image that stays as it is is exactly ``[[1, 0, 0], [0, 1, 0]]``.
        """
        from scipy import ndimage

        middle = (np.array(images.shape[1:3]) - 1) / 2
        order = 1 if self.interpolation == "bilinear" else 0
        for index in np.flatnonzero((matrices != np.eye(2, 3)).any(axis=(1, 2))).tolist():
            turn, shift = matrices[index, :, :2], matrices[index, :, 2]
            for channel in range(images.shape[3]):
                images[index, :, :, channel] = ndimage.affine_transform(
                    np.ascontiguousarray(images[index, :, :, channel]),
                    turn,
                    offset=middle - turn @ middle + shift,
                    order=order,
                    mode=_MODE[self.fill],
                    cval=self.value,
                )
        return images
