"""Edge data: what every kind is tried on besides plain numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["EDGES"]


def _saturated(x: np.ndarray) -> np.ndarray:
    """Return what a quantized network puts out: few values, many of them at both ends."""
    return np.clip(np.round(3 * x), -4, 3) / 3


EDGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "float16": lambda x: x.astype(np.float16),
    "tiny": lambda x: x * x.dtype.type(1e-6),
    "large": lambda x: x * x.dtype.type(1e4),
    "shifted down": lambda x: x - x.dtype.type(10),
    "shifted up": lambda x: x + x.dtype.type(1e4),
    "shifted by 1,000": lambda x: x + x.dtype.type(1e3),
    "constant columns": lambda x: np.repeat(x[:1], len(x), axis=0),
    "saturated": _saturated,
    "saturated, scaled and shifted": lambda x: x.dtype.type(0.01) * _saturated(x) - x.dtype.type(9.5),
    "tied": np.zeros_like,
    "of mixed scales": lambda x: np.sign(x) * np.exp(np.minimum(3 * np.abs(x), 20)),
    "an outlier": lambda x: np.where(x == x.max(), x.dtype.type(1e6), x),
}
"""By name: a function of an array of about normal numbers."""
