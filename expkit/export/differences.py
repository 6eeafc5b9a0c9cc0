"""Differences of two computations of the same outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["difference"]

Arrays = Mapping[str, np.ndarray]


def difference(expected: Arrays, got: Arrays) -> float:
    """Return the largest difference of two computations, as a fraction of each output's largest number.

    Whole numbers and text must be equal: a difference of them counts as infinite. So does a value that is not finite,
    and an output that is missing or of another shape.
    """
    return max(
        (_off(array, got[name]) if name in got else float("inf") for name, array in expected.items()), default=0.0
    )


def _off(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape:
        return float("inf")
    if expected.dtype.kind in "OSU" or got.dtype.kind in "OSU":
        return 0.0 if expected.tolist() == got.tolist() else float("inf")
    if expected.dtype.kind in "iub":
        return 0.0 if np.array_equal(expected, got) else float("inf")
    wide = np.complex128 if "c" in expected.dtype.kind + got.dtype.kind else np.float64
    first, second = expected.astype(wide), got.astype(wide)
    largest = np.max(np.abs(first), initial=0.0)
    with np.errstate(invalid="ignore"):
        off = float(np.max(np.abs(first - second), initial=0.0)) / (float(largest) or 1.0)
    return off if np.isfinite(off) else float("inf")
