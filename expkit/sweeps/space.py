"""Search space of a sweep, from the ``choice``, ``range`` and ``interval`` overrides of the command line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from hydra.core.override_parser.types import IntervalSweep, RangeSweep

from expkit.errors import ConfigError, Problem
from expkit.sweeps.given_overrides import EMPTY, GivenOverrides, range_values

__all__ = ["Categorical", "Dimension", "Numeric", "Space", "Value", "space_of"]

Value = str | int | float


@dataclass(frozen=True)
class Categorical:
    """One of several values without an order."""

    values: tuple[str, ...]
    """As written on the command line."""

    def bounds(self) -> tuple[Value, ...]:
        """Return the values that are checked before a search starts: all of them."""
        return self.values

    def grid(self) -> tuple[Value, ...]:
        """Return all values."""
        return self.values

    def at(self, fraction: float) -> Value:
        """Return the value at a fraction of the dimension, from 0 to below 1: each for an equal part."""
        return self.values[int(fraction * len(self.values))]

    def normalized(self, value: Value) -> Value:
        """Return a value from Optuna's storage as a value of this dimension."""
        return value

    def literal(self, value: Value) -> str:
        """Return a value as written on the command line."""
        return str(value)

    def identity(self) -> str:
        """Return the text that the sweep's key is hashed from; sweeps on disk depend on it."""
        return f"Choice(values={self.values!r})"


@dataclass(frozen=True, kw_only=True)
class Numeric:
    """A number between two bounds, both included."""

    low: int | float
    high: int | float
    step: int | float | None = None
    """Distance between two values; ``None`` for any number within the bounds, or any integer."""
    log: bool = False
    """True if the exponent is distributed uniformly."""

    @property
    def integral(self) -> bool:
        """True for integers."""
        return isinstance(self.low, int)

    def bounds(self) -> tuple[Value, ...]:
        """Return the values that are checked before a search starts: both bounds."""
        return tuple(dict.fromkeys((self.low, self.high)))

    def grid(self) -> tuple[Value, ...]:
        """Return all values.

        Raises:
            ValueError: there are infinitely many.
        """
        if self.step is None:
            raise ValueError("an interval has infinitely many values")
        count = round((self.high - self.low) / self.step) + 1
        return tuple(self.normalized(self.low + index * self.step) for index in range(count))

    def at(self, fraction: float) -> Value:
        """Return the value at a fraction of the dimension, from 0 to below 1; each value has an equal part."""
        if self.step is not None:
            values = self.grid()
            return values[int(fraction * len(values))]
        half = 0.5 if self.integral else 0.0  # each whole number stands for those that round to it
        low, high = self.low - half, self.high + half
        value = low * (high / low) ** fraction if self.log else low + fraction * (high - low)
        nearest = math.floor(value + half) if self.integral else value
        return min(max(nearest, self.low), self.high)

    def normalized(self, value: Value) -> Value:
        """Return a value from Optuna's storage as a value of this dimension.

        Rounding errors of repeated addition are removed: 0.30000000000000004 is 0.3.
        """
        return float(f"{value:.12g}") if self.step is not None and not self.integral else value

    def literal(self, value: Value) -> str:
        """Return a value as written on the command line."""
        return repr(value)

    def identity(self) -> str:
        """Return the text that the sweep's key is hashed from; sweeps on disk depend on it."""
        return f"Numbers(low={self.low!r}, high={self.high!r}, step={self.step!r}, log={self.log!r})"


Dimension = Categorical | Numeric


@dataclass(frozen=True)
class Space:
    """Dimensions of a search, with the overrides that all of its runs share."""

    dimensions: Mapping[str, Dimension]
    """By key, sorted, so that the order of the command line changes no suggestion."""
    given: GivenOverrides
    """The overrides of the command line."""

    def overrides(self, point: Mapping[str, Value]) -> list[str]:
        """Return the overrides of a point, in the order of the command line."""
        return self.given.words(
            {index: self.dimensions[key].literal(point[key]) for index, key in self.given.varied.items()}
        )

    def bounds(self) -> list[dict[str, Value]]:
        """Return the points checked before a search starts: each bound of each dimension, not every combination."""
        first = {key: dimension.bounds()[0] for key, dimension in self.dimensions.items()}
        others = [
            {**first, key: value} for key, dimension in self.dimensions.items() for value in dimension.bounds()[1:]
        ]
        return [first, *others]

    def grid(self) -> Iterator[dict[str, Value]]:
        """Yield every point, the last key changing fastest."""
        for values in itertools.product(*(dimension.grid() for dimension in self.dimensions.values())):
            yield dict(zip(self.dimensions, values, strict=True))

    def grid_size(self) -> int:
        """Return the number of points."""
        return math.prod(len(dimension.grid()) for dimension in self.dimensions.values())


def space_of(given: GivenOverrides) -> Space:
    """Return the search space of a command line's overrides.

    Raises:
        ConfigError: with every invalid dimension, or if no key varies.
    """
    dimensions: dict[str, Dimension] = {}
    problems: list[Problem] = []
    for index, key in given.varied.items():
        try:
            dimensions[key] = _dimension(given, index)
        except ValueError as error:
            problems.append(Problem(key, str(error)))
    if problems:
        raise ConfigError(*problems)
    if not dimensions:
        raise ConfigError.at(
            "hydra/sweeper",
            "there is nothing to search; vary a key: KEY=interval(LOW,HIGH), KEY=range(START,STOP,STEP), "
            "KEY=choice(A,B), or KEY=A,B",
        )
    return Space(dict(sorted(dimensions.items())), given)


def _dimension(given: GivenOverrides, index: int) -> Dimension:
    sweep = given.items[index].value()
    tags = set(getattr(sweep, "tags", ()))
    if unknown := sorted(tags - {"log"}):
        raise ValueError(f"unknown tag '{unknown[0]}'; allowed: log")
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep.start, sweep.end, log="log" in tags)
    if tags:
        raise ValueError("tag(log, ...) takes an interval; write tag(log, interval(LOW,HIGH))")
    if isinstance(sweep, RangeSweep):
        return _range(range_values(sweep, list(sweep.range())))
    if getattr(sweep, "shuffle", False):
        raise ValueError("a search chooses the order itself; write choice(A,B) without shuffle(...)")
    values = tuple(dict.fromkeys(given.alternatives(index)))
    if not values:
        raise ValueError(EMPTY)
    return Categorical(values)


def _interval(low: object, high: object, *, log: bool) -> Numeric:
    if not _is_number(low) or not _is_number(high):
        raise ValueError(f"an interval needs two finite numbers, not {low} and {high}")
    if not low < high:
        raise ValueError(f"interval({low:g},{high:g}) is empty; the first number must be smaller than the second")
    if log and low <= 0:
        raise ValueError(f"interval({low:g},{high:g}) with tag(log, ...) must start above 0")
    return Numeric(low=low, high=high, log=log)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _range(values: list[int | float]) -> Numeric:
    if not values:
        raise ValueError(EMPTY)
    low, high = sorted((values[0], values[-1]))
    step = abs(values[1] - values[0]) if len(values) > 1 else 1
    if not all(isinstance(value, int) for value in values):
        low, high, step = (float(f"{float(value):.12g}") for value in (low, high, step))
    return Numeric(low=low, high=high, step=step)
