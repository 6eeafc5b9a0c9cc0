"""How values lie on an axis: numbers straight or by their logarithm, words side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low
from typing import Any

__all__ = ["Scale", "is_number", "logarithmic", "number", "said", "scale_of", "wide"]

WIDE = 30.0
"""From which ratio on positive numbers are told apart by their logarithm only."""


@dataclass(frozen=True)
class Scale:
    """Where values lie on an axis."""

    words: tuple[str, ...] = ()
    """Values that are no numbers, in the order of the axis; empty for numbers."""
    logarithmic: bool = False

    def place(self, value: Any) -> float:
        """Return where a value lies."""
        if self.words:
            return float(self.words.index(said(value)))
        return math.log10(value) if self.logarithmic else float(value)


def scale_of(values: Iterable[Any]) -> Scale:
    """Return the axis that shows values: numbers if all are, otherwise words in the order of their first use."""
    every = list(values)
    if every and all(is_number(value) for value in every):
        return Scale(logarithmic=logarithmic(every))
    return Scale(words=tuple(dict.fromkeys(said(value) for value in every)))


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def logarithmic(values: Sequence[float]) -> bool:
    """Return whether numbers belong on a logarithmic axis.

    They do where their ratio is large and most of them are small, or where it is the same from each to the next.
    """
    distinct = sorted(set(values))
    if len(distinct) < 2 or distinct[0] <= 0:
        return False
    if wide(distinct) and median_low(distinct) < (distinct[0] + distinct[-1]) / 4:
        return True
    ratios = [after / before for before, after in pairwise(distinct)]
    return len(ratios) > 1 and max(ratios) < 1.01 * min(ratios)


def wide(values: Sequence[float]) -> bool:
    """Return whether finite numbers are positive and so far apart that only a logarithmic axis shows them all."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= WIDE


def said(value: Any) -> str:
    """Return a value of a configuration as a person would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, int | float) else str(value)


def number(value: float) -> str:
    """Return a number in at most four digits, whole ones in full."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e9):
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}" if exponent else mantissa
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.4g}"
