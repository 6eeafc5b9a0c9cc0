"""Augmentation of sequences of whole numbers that stand for words."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from expkit.kinds.augment.base import Augment
from expkit.kinds.augment.draws import Draws
from expkit.registry import register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["TokenDropout"]


@register
class TokenDropout(Augment):
    """Words of a text, each with a probability, become one that stands for any (word dropout, Iyyer et al., 2015)."""

    kind: Literal["token_dropout"] = "token_dropout"
    rate: float = Field(gt=0, lt=1)
    """Probability that a word is replaced."""
    value: int = Field(default=1, ge=0)
    """Number that takes its place: 1 of ``vocabulary`` stands for unknown words; of ``wordpiece`` the line of
    ``[MASK]`` or ``[UNK]``."""
    keep: tuple[int, ...] = (0,)
    """Numbers that are never replaced: the padding, of ``wordpiece`` those of ``[CLS]`` and ``[SEP]``, too."""

    def check(self, spec: TensorSpec) -> None:
        """Check that values are sequences of whole numbers, wide enough for ``value``."""
        if not spec.shape or not spec.dtype.startswith(("int", "uint")):
            raise ShapeError(f"{self.kind} needs sequences of whole numbers, one per word, got {spec}")
        if self.value > np.iinfo(spec.dtype).max:
            raise ShapeError(f"{self.kind}: value {self.value} is too large for {spec.dtype}")

    def apply(self, values: np.ndarray, draws: Draws) -> np.ndarray:
        """Replace."""
        dropped = draws.uniform(shape=values.shape[1:]) < self.rate
        values[dropped & ~np.isin(values, self.keep)] = self.value
        return values
