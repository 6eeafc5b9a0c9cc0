"""The assignment of groups of examples, such as the visits of a patient, to parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expkit.errors import DataError, comma_list, escaped

__all__ = ["SHOWN", "Groups", "shown_values", "word"]

SHOWN = 5
"""Values that a message names."""
ROUNDS = 20
"""Most passes over the groups in which they move to parts that need them more."""
LEAST_GAIN = 1e-12


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The groups of some examples, to be divided among parts as whole ones.

    Both ways to divide return the part of each group, by position, the last one being what belongs to no part.
    """

    names: tuple[str, ...]
    """Names of the parts."""
    fractions: np.ndarray
    """Fraction of the examples that each part is to have, then what belongs to no part."""
    numbers: np.ndarray
    """Number of the group of every example."""
    counts: np.ndarray
    """Examples of every group."""
    order: np.ndarray
    """Numbers of the groups, in the order of their first examples."""

    @classmethod
    def of(cls, values: np.ndarray, sizes: Mapping[str, float]) -> Groups:
        """Return the groups that values name, to be divided among parts by their fractions.

        Raises:
            DataError: there are fewer groups than parts.
        """
        _, first, numbers, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
        if len(counts) < len(sizes):
            raise DataError.at(
                "data.split.group",
                f"{len(counts)} group{'s' * (len(counts) != 1)} ({shown_values(values, range(len(counts)))}) cannot be "
                f"in {len(sizes)} parts; give fewer parts, as with data.split.valid=null, or another field",
            )
        fractions = np.array([*sizes.values(), max(0.0, 1 - sum(sizes.values()))])
        order = np.argsort(first, kind="stable")
        return cls(names=tuple(sizes), fractions=fractions, numbers=numbers, counts=counts, order=order)

    def parts(self, part_of: np.ndarray, examples: np.ndarray) -> dict[str, np.ndarray]:
        """Return the examples of each part, in order."""
        return {name: examples[part_of[self.numbers] == part] for part, name in enumerate(self.names)}

    def by_size(self) -> np.ndarray:
        """Divide so that each group, in the order of its first example, goes where most examples are missing."""
        wanted, got = self.fractions * len(self.numbers), np.zeros(len(self.fractions))
        part_of, sizes = np.empty(len(self.counts), np.int64), np.zeros(len(self.fractions), np.int64)
        for group in self.order.tolist():
            part_of[group] = part = int(np.where(self._open(sizes), wanted - got, -np.inf).argmax())
            got[part] += self.counts[group]
            sizes[part] += 1
        return part_of

    def by_class(self, labels: np.ndarray) -> np.ndarray:
        """Divide so that each part has nearly its fraction of the examples of every class, and training every class.

        Groups with a class of their own come first, then those whose counts of classes differ most. Each goes where it
        most reduces the sum of squared differences from the fractions of all classes; then groups move to other parts
        while this reduces it further.
        """
        _, classes = np.unique(labels, return_inverse=True)
        table = np.zeros((len(self.counts), int(classes.max()) + 1))
        np.add.at(table, (self.numbers, classes), 1)
        shares = table / table.sum(axis=0)
        place_of = np.argsort(self.order)
        alone = (table[:, (table > 0).sum(axis=0) == 1] > 0).any(axis=1)
        order = np.lexsort((place_of, -self.counts, -table.std(axis=1), ~alone))
        over = np.repeat(-self.fractions[:, None], shares.shape[1], axis=1)
        part_of, sizes = np.empty(len(self.counts), np.int64), np.zeros(len(self.fractions), np.int64)
        learned = np.zeros(shares.shape[1], np.int64)  # training groups of each class
        for group in order.tolist():
            cost = _growth(shares[group], over)
            if self.names[0] == "train":  # A class that only others have could not be learned.
                cost[0] -= len(learned) * ((shares[group] > 0) & (learned == 0)).sum()
            part_of[group] = part = int(np.where(self._open(sizes), cost, np.inf).argmin())
            over[part] += shares[group]
            sizes[part] += 1
            learned += (shares[group] > 0) * (part == 0)
        for _ in range(ROUNDS):
            moved = 0
            for group, share in enumerate(shares):
                old, has = int(part_of[group]), share > 0
                if (sizes[old] == 1 and old < len(self.names)) or (old == 0 and (learned[has] == 1).any()):
                    continue
                over[old] -= share
                cost = _growth(share, over)
                new = int(cost.argmin()) if cost.min() < cost[old] - LEAST_GAIN else old
                over[new] += share
                if new != old:
                    part_of[group], moved = new, moved + 1
                    sizes[[old, new]] += [-1, 1]
                    learned += has * ((new == 0) - (old == 0))
            if not moved:
                break
        return part_of

    def _open(self, sizes: np.ndarray) -> np.ndarray:
        """Return which parts the next group may join, by their numbers of groups: the last are for empty parts."""
        empty = np.append(sizes[:-1] == 0, False)
        return empty if len(self.counts) - sizes.sum() <= empty.sum() else np.ones(len(sizes), bool)


def _growth(share: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Return by part how the sum of squared differences grows with what a group adds to it."""
    growth: np.ndarray = ((over + share) ** 2 - over**2).sum(axis=1)
    return growth


def shown_values(values: np.ndarray, chosen: Sequence[int]) -> str:
    """Return some distinct values with their numbers of examples."""
    known, counts = np.unique(values, return_counts=True)
    return comma_list([f"{word(known[number])} {counts[number]:,}" for number in chosen], SHOWN)


def word(value: Any) -> str:
    """Return a value for messages."""
    if isinstance(value, bytes):
        return escaped(value.decode("utf-8", "replace"))
    return f"{value:.10g}" if isinstance(value, float | np.floating) else str(value)
