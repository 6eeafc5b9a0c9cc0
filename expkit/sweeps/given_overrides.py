"""Overrides of a sweep's command line: those that vary, in their place among the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep, Transformer, ValueType
from hydra.errors import HydraException, OverrideParseException

from expkit.config.hydra_messages import composition_message, unreadable_override
from expkit.config.load import quoted
from expkit.config.search import group_files
from expkit.config.variations import Variations
from expkit.errors import ConfigError, Problem

__all__ = ["EMPTY", "GivenOverrides", "parse_overrides", "range_values"]

EMPTY = "has no values, so the sweep is empty; give it some"
"""Message about a key that varies over nothing."""


@dataclass(frozen=True)
class GivenOverrides:
    """The overrides of a command line, in its order, which decides where two name the same key."""

    items: tuple[Override, ...]
    """Those of the configuration."""
    hydra: tuple[str, ...] = ()
    """Those of Hydra's own settings, as given."""
    config_dirs: tuple[str, ...] = ()
    """Folders of ``--config-dir``."""

    @cached_property
    def variations(self) -> Variations:
        """Composition of the jobs, which differ in plain values."""
        return Variations()

    @cached_property
    def varied(self) -> Mapping[int, str]:
        """Key of each override that varies, by its index; a key that varies a second time is numbered."""
        keys: dict[int, str] = {}
        for index, item in enumerate(self.items):
            if item.is_sweep_override():
                key = str(item.get_key_element()).lstrip("+")
                again = sum(name.partition(" ")[0] == key for name in keys.values())
                keys[index] = f"{key} ({again + 1})" if again else key
        return keys

    def alternatives(self, index: int) -> list[str]:
        """Return the values of an override that varies, as written on a command line.

        Raises:
            HydraException: it has infinitely many.
        """
        item = self.items[index]
        if item.value_type is ValueType.GLOB_CHOICE_SWEEP:
            files: Any = group_files(item.key_or_group, self.config_dirs, self.hydra)
            return list(item.value().filter(files))
        values: list[Any] = list(item.sweep_iterator())
        if isinstance(sweep := item.value(), RangeSweep):
            values = range_values(sweep, values)
        return [_written(value) for value in values]

    def shown(self, value: str) -> str:
        """Return a value for people: a number of many digits rounded to five, if that is no other's of the sweep."""
        return value if value in self._similar else _rounded(value)

    @cached_property
    def _similar(self) -> set[str]:
        """Values that rounding would not tell apart."""
        found: set[str] = set()
        for index in self.varied:
            values = [] if self.items[index].is_interval_sweep() else self.alternatives(index)
            texts = Counter(map(_rounded, dict.fromkeys(values)))
            found.update(value for value in values if texts[_rounded(value)] > 1)
        return found

    def words(self, values: Mapping[int, str]) -> list[str]:
        """Return the overrides of a job, given the value of each that varies, by its index."""
        return [
            f"{item.get_key_element()}={values[index]}" if index in values else str(item.input_line)
            for index, item in enumerate(self.items)
        ]


def parse_overrides(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> GivenOverrides:
    """Return parsed overrides.

    Raises:
        ConfigError: an override cannot be parsed, or a later one makes another that varies useless.
    """
    try:
        parsed = list(OverridesParser.create().parse_overrides(list(overrides)))
    except OverrideParseException as error:
        raise ConfigError(unreadable_override(str(error.override), ", or =A,B")) from None
    except HydraException as error:
        raise ConfigError.at("command line", composition_message(error)) from None
    given = GivenOverrides(
        tuple(item for item in parsed if not item.is_hydra_override()),
        tuple(str(item.input_line) for item in parsed if item.is_hydra_override()),
        tuple(config_dirs),
    )
    if problems := list(_useless(given)):
        raise ConfigError(*problems)
    return given


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.5g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def range_values(sweep: RangeSweep, values: Sequence[int | float]) -> list[int | float]:
    """Return the values of a range without the rounding errors of repeated addition.

    They may have left its stop, which it excludes, just before itself: ``range(0.1, 0.4, 0.1)`` is 0.1, 0.2, 0.3.
    """
    if all(isinstance(value, int) for value in values):
        return list(values)
    stop, nothing = float(sweep.stop), 1e-9 * abs(sweep.step)
    return [
        float(f"{value:.12g}") if abs(value) > nothing else 0.0
        for value in values
        if not math.isclose(value, stop, rel_tol=1e-9, abs_tol=nothing)
    ]


def _written(value: Any) -> str:
    """Return a value as on the command line; ``choice('10', \"it's\")`` takes the quotes of texts, which are kept."""
    text = str(Transformer.str(value))
    if not isinstance(value, str):
        return text
    try:
        same = OverridesParser.create().parse_override(f"x={text}").value() == value
    except HydraException:
        same = False
    return text if same else quoted(value)


def _useless(given: GivenOverrides) -> Iterator[Problem]:
    """Yield the keys that are varied twice by values of which the last replaces the first, as a mapping does not."""
    replacing = [given.items[index] for index in given.varied if not _is_merged(given.items[index])]
    keys = [item.key_or_group for item in replacing]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        yield Problem(key, "is varied twice; give it one choice, range or interval")


def _is_merged(item: Override) -> bool:
    values: Any = getattr(item.value(), "list", None)
    return bool(values) and all(isinstance(value, dict) for value in values)
