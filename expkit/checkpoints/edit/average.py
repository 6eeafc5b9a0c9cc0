"""The mean of several checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expkit.checkpoints.formats.source import Source
from expkit.checkpoints.ownership import kin

__all__ = ["mean", "taken_from_last"]

_WITHOUT_MEAN = ("int", "uint", "bool", "string")


def taken_from_last(source: Source) -> set[str]:
    """Return the names of which no mean is taken, but the last one's value: counters, and all that are no fractions."""
    kinds = kin({name: (source.shapes[name], source.dtypes[name]) for name in source.shapes})
    return {
        name
        for name, dtype in source.dtypes.items()
        if dtype.startswith(_WITHOUT_MEAN) or kinds[name].kind == "counter"
    }


def mean(sources: Sequence[Source], name: str) -> np.ndarray:
    """Return the mean of one variable, summed in float64 (complex128) and rounded once.

    Raises:
        CheckpointError: a source is damaged.
    """
    value = sources[0].read(name)
    dtype = value.dtype
    total = value.astype(np.complex128 if dtype.kind == "c" else np.float64)
    for source in sources[1:]:
        value = source.read(name)
        total += value
    total /= len(sources)
    return total.astype(dtype)
