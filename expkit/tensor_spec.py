"""Shape and dtype of a tensor, before any tensor exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["DType", "Shape", "ShapeError", "TensorSpec", "accepts"]

Shape = tuple[int | None, ...]
"""Sizes of all dimensions but the batch, which is the first; ``None`` where a size is not known."""

DType = Literal["float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "bool"]


@dataclass(frozen=True)
class TensorSpec:
    """Shape (without the batch dimension) and dtype of a tensor."""

    shape: Shape
    dtype: str = "float32"
    batched: bool = True
    """True if the first dimension is the batch; it is 1 where a tensor depends on no example."""

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in ("batch" if self.batched else 1, *self.shape))
        return f"[{sizes}] {self.dtype}"


class ShapeError(ValueError):
    """Raised where inputs do not fit; the message gives the rule that they break."""


def accepts(dtype: str, array: np.dtype) -> bool:
    """Return True if a tensor of this dtype accepts an array's numbers: of the same kind, rounded where necessary."""
    target = "float32" if dtype == "bfloat16" else dtype  # NumPy alone has no bfloat16.
    return bool(np.can_cast(array, target, casting="same_kind"))
