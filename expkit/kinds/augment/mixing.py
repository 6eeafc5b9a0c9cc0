"""Augmentation that mixes two examples and their labels."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from expkit.kinds.augment.base import Flattened, Mixing, need_floats
from expkit.kinds.augment.draws import Draws
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["CutMix", "MixUp"]


class Beta(Mixing):
    """A step whose fractions have a symmetric beta distribution."""

    alpha: float = Field(gt=0)
    """Both parameters of the beta distribution of fractions: 1 makes all equally likely, less those near 0 and 1."""

    def fractions(self, draws: Draws) -> np.ndarray:
        """Return numbers of the beta distribution, float64 [n]."""
        uniform = draws.uniform()
        if self.alpha == 1:
            return uniform
        from scipy import special

        return np.asarray(special.betaincinv(self.alpha, self.alpha, uniform))


@register
class MixUp(Beta):
    """Every example a weighted mean with another one (Zhang et al., 2018); a field of any shape.

    The larger fraction is the example's own, so that metrics in training read the label that weighs more. That changes
    no probability: the other example is mixed with it as likely, by the other fraction.
    """

    kind: Literal["mixup"] = "mixup"
    alpha: float = Field(default=0.2, gt=0)
    """Both parameters of the beta distribution of fractions: 1 makes all equally likely, less those near 0 and 1."""

    def check(self, spec: TensorSpec) -> None:
        """Check that values are floating-point numbers."""
        need_floats(spec, self.kind)

    def mix(self, values: np.ndarray, others: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted means."""
        fractions = self.fractions(draws)
        own = np.maximum(fractions, 1 - fractions).astype(np.float32)
        weights = own.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        return values * weights + others * (1 - weights), own


@register
class CutMix(Beta, Flattened):
    """A rectangle of another image pasted into every image, at the same position (Yun et al., 2019).

    It covers a fraction of the image with a beta distribution, less where it reaches beyond the edges; an image's own
    fraction is what is left of it.
    """

    kind: Literal["cutmix"] = "cutmix"
    pastes: ClassVar[bool] = True
    alpha: float = Field(default=1.0, gt=0)
    """Both parameters of the beta distribution of fractions: 1 makes all equally likely, less those near 0 and 1."""

    def mix(self, values: np.ndarray, others: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Paste."""
        images, pasted = self.images(values), self.images(others)
        height, width = images.shape[1:3]
        sides = np.sqrt(self.fractions(draws))
        own = np.ones(len(images), np.float32)
        middles = draws.integers(0, height).tolist(), draws.integers(0, width).tolist()
        for index, (side, y, x) in enumerate(zip(sides.tolist(), *middles, strict=True)):
            rows, columns = int(height * side), int(width * side)
            top, left = y - rows // 2, x - columns // 2
            area = slice(max(0, top), min(height, top + rows)), slice(max(0, left), min(width, left + columns))
            images[index, area[0], area[1]] = pasted[index, area[0], area[1]]
            covered = (area[0].stop - area[0].start) * (area[1].stop - area[1].start)
            own[index] = 1 - covered / (height * width)
        return images.reshape(values.shape), own
