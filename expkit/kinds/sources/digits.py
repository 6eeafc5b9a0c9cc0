"""The handwritten digits of scikit-learn."""

from __future__ import annotations

from typing import Literal

from expkit.kinds.sources.base import Fields, Source, square_image_shape
from expkit.registry import register

__all__ = ["Digits"]


@register
class Digits(Source):
    """scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels from 0 to 16, and their labels 0 to 9.

    Fields: ``image`` [1797, 64] float32 (or [1797, 8, 8, 1] as images), ``label`` [1797] int64.
    """

    kind: Literal["digits"] = "digits"
    flat: bool = True
    """Whether images are flattened to [64]; otherwise [8, 8, 1]."""

    def load(self) -> Fields:
        """Return the embedded data set."""
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.asarray(digits.data, np.float32)
        return {
            "image": images if self.flat else images.reshape(-1, 8, 8, 1),
            "label": np.asarray(digits.target, np.int64),
        }

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels, also of a flattened image."""
        return super().image_shape(shape) or square_image_shape(shape)
