"""Scales of axes: linear or logarithmic for numbers, categories for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_low
from typing import Any

__all__ = [
    "AxisScale",
    "is_logarithmic",
    "is_number",
    "number_text",
    "scale_of",
    "spans_decades",
    "value_text",
    "value_texts",
]

LARGE_RATIO = 30.0
"""Ratio from which positive numbers are distinguishable on a logarithmic axis only."""


@dataclass(frozen=True)
class AxisScale:
    """Positions of values on an axis."""

    words: tuple[str, ...] = ()
    """Categories in the order of the axis; empty for numbers."""
    logarithmic: bool = False
    text: Callable[[Any], str] = field(default=lambda value: value_text(value), compare=False)
    """Text of a value, by which its category is found."""

    def position(self, value: Any) -> float:
        """Return the position of a value."""
        if self.words:
            return float(self.words.index(self.text(value)))
        return math.log10(value) if self.logarithmic else float(value)


def scale_of(values: Iterable[Any]) -> AxisScale:
    """Return the scale for values: numeric if all are numbers, otherwise categories in the order of appearance."""
    every = list(values)
    if every and all(is_number(value) for value in every):
        return AxisScale(logarithmic=is_logarithmic(every))
    text = value_texts(every)
    return AxisScale(words=tuple(dict.fromkeys(map(text, every))), text=text)


def is_number(value: Any) -> bool:
    """Return True for a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Return True if numbers belong on a logarithmic axis.

    They do if their ratio is large and most of them are small, or if successive ones have the same ratio.
    """
    distinct = sorted(set(values))
    if len(distinct) < 2 or distinct[0] <= 0:
        return False
    if spans_decades(distinct) and median_low(distinct) < (distinct[0] + distinct[-1]) / 4:
        return True
    ratios = [after / before for before, after in pairwise(distinct)]
    return len(ratios) > 1 and max(ratios) < 1.01 * min(ratios)


def spans_decades(values: Sequence[float]) -> bool:
    """Return True if the finite numbers are positive and only a logarithmic axis distinguishes all of them."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= LARGE_RATIO


def value_text(value: Any) -> str:
    """Return a value of a configuration as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return number_text(value) if isinstance(value, int | float) else str(value)


def value_texts(values: Iterable[Any]) -> Callable[[Any], str]:
    """Return the function from each of some values to its text: exact where a short one would be another's, too."""
    exact: dict[str, set[str]] = {}
    for value in values:
        exact.setdefault(value_text(value), set()).add(repr(value))

    def text(value: Any) -> str:
        short = value_text(value)
        return short if len(exact.get(short, ())) < 2 else repr(value)

    return text


def number_text(value: float) -> str:
    """Return a number with at most four significant digits, integers in full."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e9):
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}" if exponent else mantissa
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.4g}"
