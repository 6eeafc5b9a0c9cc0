"""Shape and dtype of a tensor, before any tensor exists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["DType", "Shape", "ShapeError", "TensorSpec", "accepts", "fits", "sizes_text"]

Shape = tuple[int | None, ...]
"""Sizes of all dimensions but the batch; ``None`` where a size is not known."""

DType = Literal["float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "bool"]


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype: of a tensor without its batch dimension, or of a variable."""

    shape: Shape
    dtype: str = "float32"
    batched: bool | None = True
    """True if there is a batch dimension before those of the shape; False if it is 1, because the tensor depends on no
    example; ``None`` if there is none, as for a variable."""

    @classmethod
    def of_variable(cls, shape: Iterable[int], dtype: str = "float32") -> TensorSpec:
        """Return the spec of a variable, whose shape is complete."""
        return cls(tuple(shape), dtype, batched=None)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape where all sizes are known, as of a variable."""
        known = tuple(size for size in self.shape if size is not None)
        assert len(known) == len(self.shape), f"{self} has an unknown size"
        return known

    @property
    def floating(self) -> bool:
        """Whether its values are floating-point numbers, which alone have gradients."""
        return self.dtype.startswith(("float", "bfloat"))

    def __str__(self) -> str:
        batch = () if self.batched is None else ("batch",) if self.batched else (1,)
        return f"{sizes_text((*batch, *self.shape))} {self.dtype}"


class ShapeError(ValueError):
    """Raised where inputs do not fit; the message gives the rule that they break."""


def fits(shape: Shape, other: Shape) -> bool:
    """Return whether two shapes may be equal; an unknown size may be any."""
    return len(shape) == len(other) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, other, strict=True)
    )


def accepts(dtype: str, array: np.dtype) -> bool:
    """Return True if a tensor of this dtype accepts an array's numbers: of the same kind, rounded where necessary."""
    target = "float32" if dtype == "bfloat16" else dtype  # NumPy alone has no bfloat16.
    return bool(np.can_cast(array, target, casting="same_kind"))


def sizes_text(shape: Iterable[int | str | None]) -> str:
    """Return a shape in brackets, unknown sizes as ``?``."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
