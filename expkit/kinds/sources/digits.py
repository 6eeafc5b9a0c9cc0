"""The handwritten digits of scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from expkit.kinds.sources.base import Fields, Source, square_image_shape
from expkit.registry import register

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Digits"]

EXAMPLES = 1797
_FILE = "datasets/data/digits.csv.gz"


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
            raise ValueError(f"{list(unlabeled)} is not a range of the {EXAMPLES:,} examples; give [first, after_last]")
        return unlabeled

    def load(self) -> Fields:
        """Return the embedded data set."""
        import numpy as np

        rows = _rows()
        images = np.asarray(rows[:, :-1], np.float32)
        fields: dict[str, Any] = {
            "image": images if self.flat else images.reshape(-1, 8, 8, 1),
            "label": np.asarray(rows[:, -1], np.int64),
        }
        if self.unlabeled is None:
            return fields
        index = np.arange(EXAMPLES)
        inside = (index >= self.unlabeled[0]) & (index < self.unlabeled[1])
        return fields | {"labeled": np.asarray(~inside, np.float32)}

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels, also of a flattened image."""
        return super().image_shape(shape) or square_image_shape(shape)


def _rows() -> np.ndarray:
    """Return the pixels and, last, the label of every image, [1797, 65] float64.

    They are read from scikit-learn's file: to import it takes as long as half of TensorFlow.
    """
    import numpy as np

    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        if (file := Path(folder) / _FILE).is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
