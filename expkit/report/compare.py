"""Two runs side by side: configuration, variables, metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expkit.config.load import plain
from expkit.network.spec import network_spec
from expkit.run_folder import RunFolder, flat

__all__ = ["MISSING", "Comparison", "Pair", "compare"]

MISSING = None
"""Stands for what a run does not have."""

_PLACES = ("run.folder", "run.resume")
"""Where a run lies, which changes nothing of it."""
_MEASURED = ("train/steps_per_second",)
"""Metrics of the machine, which are shown, but make no run another."""


@dataclass(frozen=True)
class Pair:
    """What both runs have under a name."""

    name: str
    first: Any
    second: Any
    counts: bool = True
    """Whether a difference makes the runs different."""

    @property
    def same(self) -> bool:
        """Whether both are equal; two values that are no numbers are."""
        both = (self.first, self.second)
        if all(isinstance(value, float) and math.isnan(value) for value in both):
            return True
        return bool(self.first == self.second)


@dataclass(frozen=True)
class Comparison:
    """Everything that two runs have, in pairs."""

    configuration: tuple[Pair, ...]
    """Values by dotted key."""
    variables: tuple[Pair, ...]
    """Shape and dtype by name."""
    metrics: tuple[Pair, ...]
    """The last value of every metric."""

    @property
    def sections(self) -> dict[str, tuple[Pair, ...]]:
        """All pairs by what they are."""
        return {"configuration": self.configuration, "variables": self.variables, "metrics": self.metrics}

    @property
    def same(self) -> bool:
        """Whether nothing that counts differs."""
        return all(pair.same or not pair.counts for pairs in self.sections.values() for pair in pairs)

    def as_dict(self) -> dict[str, Any]:
        """Return what differs as plain data; numbers that are not finite become ``null``."""
        return {
            name: {pair.name: [_plain(pair.first), _plain(pair.second)] for pair in pairs if not pair.same}
            for name, pairs in self.sections.items()
        }


def compare(first: RunFolder, second: RunFolder) -> Comparison:
    """Return two runs in pairs, in the order of the first.

    Raises:
        ConfigError: a run's configuration cannot be read.
    """
    return Comparison(
        tuple(pair for pair in _pairs(_values(first), _values(second)) if pair.name not in _PLACES),
        tuple(_pairs(_variables(first), _variables(second))),
        tuple(_pairs(_last(first), _last(second))),
    )


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Pair]:
    names = dict.fromkeys([*first, *second])
    return [Pair(name, first.get(name, MISSING), second.get(name, MISSING), name not in _MEASURED) for name in names]


def _values(folder: RunFolder) -> dict[str, Any]:
    return flat(plain(folder.config()))


def _variables(folder: RunFolder) -> dict[str, str]:
    spec = network_spec(folder.config().network)
    return {name: f"{list(item.shape)} {item.dtype}" for name, item in spec.variables.items()}


def _last(folder: RunFolder) -> dict[str, float]:
    found: dict[str, float] = {}
    for point in folder.metrics():
        found |= {name: value for name, value in point.items() if name != "step"}
    return found


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
