"""Which arrays a tensor's dtype takes."""

from __future__ import annotations

import numpy as np

__all__ = ["takes"]


def takes(dtype: str, array: np.dtype) -> bool:
    """Return whether numbers of an array's dtype may be handed to a tensor: of the same kind, rounded if need be."""
    wanted = "float32" if dtype == "bfloat16" else dtype  # NumPy alone has no bfloat16.
    return bool(np.can_cast(array, wanted, casting="same_kind"))
