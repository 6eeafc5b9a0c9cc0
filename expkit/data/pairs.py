"""Pairs of examples: do two have the same label?"""

from __future__ import annotations

import numpy as np

from expkit.config.sections.data import PairsConfig
from expkit.errors import ConfigError, DataError, unknown
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import rows_of

__all__ = ["paired"]


def paired(fields: Fields, pairs: PairsConfig, stream: int) -> Fields:
    """Return pairs of different examples: half of all with the same label, half with another, as near as possible.

    Args:
        fields: the examples of a split.
        pairs: what to pair.
        stream: number of the split, part of the seed.
    """
    for name in (pairs.field, pairs.label):
        if name not in fields:
            raise ConfigError.at("data.pairs", unknown(f"no field '{name}'", name, fields))
    labels = fields[pairs.label][:]
    if labels.ndim != 1 or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        what = "holds NaN" if labels.ndim == 1 else f"is of shape {list(labels.shape[1:])} per example"
        raise DataError.at("data.pairs", f"needs one label per example, '{pairs.label}' {what}")
    _, block, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2 or sizes.max() < 2:
        raise DataError.at(
            "data.pairs",
            f"needs at least two labels in '{pairs.label}', and two examples of one of them; got {len(sizes)} among "
            f"{len(labels)} examples",
        )
    draw = np.random.Generator(np.random.PCG64([pairs.seed, stream]))
    left = np.repeat(np.arange(len(labels)), pairs.per_example)
    # Where their number is odd, half of the examples, drawn, have one more pair of the same label.
    more = draw.permutation(len(labels)) % 2
    same = (np.arange(pairs.per_example) + more[:, np.newaxis]).ravel() % 2 == 0
    same &= (sizes[block] > 1)[left]  # The only example of its label has no other to be paired with.
    by_label = np.argsort(block, kind="stable")
    position = np.empty_like(by_label)
    position[by_label] = np.arange(len(by_label))
    first, size, own = (np.cumsum(sizes) - sizes)[block][left], sizes[block][left], position[left]
    chosen = draw.integers(0, np.where(same, size - 1, len(labels) - size))
    # The examples of a label stand together: skip the example itself, or all of its label.
    within = first + chosen + (first + chosen >= own)
    beyond = chosen + np.where(chosen >= first, size, 0)
    right = by_label[np.where(same, within, beyond)]
    values = fields[pairs.field]
    return {"left": rows_of(values, left), "right": rows_of(values, right), "label": same.astype(np.int64)}
