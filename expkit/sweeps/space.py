"""The space of a search: what Hydra's ``choice``, ``range`` and ``interval`` on the command line leave open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, ValueType
from hydra.errors import HydraException

from expkit.config.load import composition_message
from expkit.errors import ConfigError, Problem

__all__ = ["Choice", "Dimension", "Numbers", "Space", "Value", "space_of"]

Value = str | int | float


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    values: tuple[str, ...]
    """As they are written on the command line."""

    def ends(self) -> tuple[Value, ...]:
        """Return the values that are checked before a search begins: all of them."""
        return self.values

    def grid(self) -> tuple[Value, ...]:
        """Return all values."""
        return self.values

    def exact(self, value: Value) -> Value:
        """Return a value as Optuna keeps it as one of this dimension."""
        return value

    def word(self, value: Value) -> str:
        """Return a value as it is written on the command line."""
        return str(value)


@dataclass(frozen=True)
class Numbers:
    """A number between two others, both included."""

    low: int | float
    high: int | float
    step: int | float | None = None
    """Distance between two values; ``None`` for any number between the ends, or any whole one."""
    log: bool = False
    """Whether it is the exponent that is spread evenly."""

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return isinstance(self.low, int)

    def ends(self) -> tuple[Value, ...]:
        """Return the values that are checked before a search begins: both ends."""
        return tuple(dict.fromkeys((self.low, self.high)))

    def grid(self) -> tuple[Value, ...]:
        """Return all values.

        Raises:
            ValueError: there is no end of them.
        """
        if self.step is None:
            raise ValueError("there is no end of them")
        count = round((self.high - self.low) / self.step) + 1
        return tuple(self.exact(self.low + place * self.step) for place in range(count))

    def exact(self, value: Value) -> Value:
        """Return a value as Optuna keeps it as one of this dimension.

        In a range it loses what adding steps up has made of it: 0.30000000000000004 is 0.3.
        """
        return float(f"{value:.12g}") if self.step is not None and not self.whole else value

    def word(self, value: Value) -> str:
        """Return a value as it is written on the command line."""
        return repr(value)


Dimension = Choice | Numbers


@dataclass(frozen=True)
class Space:
    """What a search varies, and what it leaves."""

    dimensions: Mapping[str, Dimension]
    """By the key that is varied, sorted, so that the order of the command line changes no suggestion."""
    prefixes: Mapping[str, str]
    """``+`` or ``++`` of the keys that are added."""
    fixed: tuple[str, ...]
    """The other overrides, as they were given."""

    def words(self, values: Mapping[str, Value]) -> list[str]:
        """Return the overrides of a point."""
        return [
            *(f"{self.prefixes[key]}{key}={self.dimensions[key].word(value)}" for key, value in values.items()),
            *self.fixed,
        ]

    def ends(self) -> list[dict[str, Value]]:
        """Return the points that are checked before a search begins: every end of every dimension, not all together."""
        first = {key: dimension.ends()[0] for key, dimension in self.dimensions.items()}
        others = [{**first, key: value} for key, dimension in self.dimensions.items() for value in dimension.ends()[1:]]
        return [first, *others]

    def grid(self) -> Iterator[dict[str, Value]]:
        """Yield every point, the last key changing fastest."""
        for values in itertools.product(*(dimension.grid() for dimension in self.dimensions.values())):
            yield dict(zip(self.dimensions, values, strict=True))

    def grid_size(self) -> int:
        """Return how many points there are."""
        return math.prod(len(dimension.grid()) for dimension in self.dimensions.values())


def space_of(overrides: Sequence[Override]) -> Space:
    """Return the space of a command line's overrides.

    Raises:
        ConfigError: with every dimension that is none, or that nothing is left open.
    """
    dimensions: dict[str, Dimension] = {}
    prefixes: dict[str, str] = {}
    problems: list[Problem] = []
    for item in overrides:
        if not item.is_sweep_override():
            continue
        written = str(item.get_key_element())
        key = written.lstrip("+")
        try:
            if key in dimensions:
                raise ValueError("is varied twice; give it one choice, range or interval")
            dimensions[key] = _dimension(item)
            prefixes[key] = written.removesuffix(key)
        except HydraException as error:
            problems.append(Problem(key, composition_message(error)))
        except ValueError as error:
            problems.append(Problem(key, str(error)))
    if problems:
        raise ConfigError(*problems)
    if not dimensions:
        raise ConfigError(
            Problem(
                "hydra/sweeper",
                "there is nothing to search; leave a key open: KEY=interval(LOW,HIGH), KEY=range(START,STOP,STEP), "
                "KEY=choice(A,B), or KEY=A,B",
            )
        )
    fixed = tuple(str(item.input_line) for item in overrides if not item.is_sweep_override())
    return Space(dict(sorted(dimensions.items())), prefixes, fixed)


def _dimension(item: Override) -> Dimension:
    sweep = item.value()
    tags = set(getattr(sweep, "tags", ()))
    if unknown := sorted(tags - {"log"}):
        raise ValueError(f"unknown tag '{unknown[0]}'; allowed: log")
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep.start, sweep.end, log="log" in tags)
    if tags:
        raise ValueError("tag(log, ...) takes an interval; write tag(log, interval(LOW,HIGH))")
    if isinstance(sweep, RangeSweep):
        return _range(list(sweep.range()), sweep.stop)
    if item.value_type is ValueType.GLOB_CHOICE_SWEEP:
        raise ValueError("a search does not take glob(...); write choice(A,B)")
    values = tuple(dict.fromkeys(map(str, item.sweep_string_iterator())))
    if not values:
        raise ValueError(_EMPTY)
    return Choice(values)


_EMPTY = "varies over no value, so the sweep is empty; give it some"


def _interval(low: object, high: object, *, log: bool) -> Numbers:
    if not _is_number(low) or not _is_number(high):
        raise ValueError(f"an interval needs two finite numbers, not {low} and {high}")
    if not low < high:
        raise ValueError(f"interval({low:g},{high:g}) is empty; the first number has to be the smaller one")
    if log and low <= 0:
        raise ValueError(f"interval({low:g},{high:g}) with tag(log, ...) has to begin above 0")
    return Numbers(low, high, log=log)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _range(values: list[int | float], stop: float) -> Numbers:
    """Return the numbers of a range, which leaves out its stop, also where adding its steps up comes just below."""
    if values and math.isclose(values[-1], stop, rel_tol=1e-9):
        values = values[:-1]
    if not values:
        raise ValueError(_EMPTY)
    whole = all(isinstance(value, int) for value in values)
    ends = sorted((values[0], values[-1]))
    step = abs(values[1] - values[0]) if len(values) > 1 else 1
    if whole:
        return Numbers(int(ends[0]), int(ends[1]), int(step))
    low, high, step = (float(f"{float(value):.12g}") for value in (*ends, step))
    return Numbers(low, high, step)
