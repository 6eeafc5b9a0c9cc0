"""The handwritten digits of scikit-learn."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator

from expkit.kinds.sources.base import Fields, Source, square_image_shape
from expkit.registry import register

__all__ = ["Digits"]

EXAMPLES = 1797


@register
class Digits(Source):
    """scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels from 0 to 16, and their labels 0 to 9.

    Fields: ``image`` [1797, 64] float32 (or [1797, 8, 8, 1] as images), ``label`` [1797] int64.
    """

    kind: Literal["digits"] = "digits"
    flat: bool = True
    """Whether images are flattened to [64]; otherwise [8, 8, 1]."""
    unlabeled: tuple[int, int] | None = None
    """Range of indices, ``[first, after_last]``, in which a further field ``labeled`` [1797] float32 is 0; 1 elsewhere.

    As ``weights`` of a loss it leaves their labels out.
    """

    @field_validator("unlabeled")
    @classmethod
    def _is_a_range(cls, unlabeled: tuple[int, int] | None) -> tuple[int, int] | None:
        if unlabeled is not None and not 0 <= unlabeled[0] < unlabeled[1] <= EXAMPLES:
            raise ValueError(f"{list(unlabeled)} is no range of the {EXAMPLES:,} examples; give [first, after_last]")
        return unlabeled

    def load(self) -> Fields:
        """Return the embedded data set."""
        import numpy as np
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.asarray(digits.data, np.float32)
        fields: dict[str, Any] = {
            "image": images if self.flat else images.reshape(-1, 8, 8, 1),
            "label": np.asarray(digits.target, np.int64),
        }
        if self.unlabeled is None:
            return fields
        index = np.arange(EXAMPLES)
        inside = (index >= self.unlabeled[0]) & (index < self.unlabeled[1])
        return fields | {"labeled": np.asarray(~inside, np.float32)}

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels, also of a flattened image."""
        return super().image_shape(shape) or square_image_shape(shape)
