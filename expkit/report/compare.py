"""Comparison of two runs: configuration, variables, metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expkit.config.load import plain
from expkit.network.elaborate import network_spec
from expkit.run_folder import RunFolder, flat
from expkit.sweeps.sweep_folder import RunState

__all__ = ["MISSING", "RunComparison", "ValuePair", "compare_runs"]

MISSING = None
"""Stands for a value that a run does not have."""

_FOLDERS = ("run.folder", "run.resume")
"""Keys that say where a run is, and change nothing else."""
_MEASURED = ("train/steps_per_second",)
"""Metrics of the machine, which are shown but do not make runs different."""


@dataclass(frozen=True, kw_only=True)
class ValuePair:
    """The values of both runs under one name."""

    name: str
    first: Any
    second: Any
    relevant: bool = True
    """True if a difference makes the runs different."""

    @property
    def equal(self) -> bool:
        """True if both values are equal, or both are NaN."""
        both = (self.first, self.second)
        if all(isinstance(value, float) and math.isnan(value) for value in both):
            return True
        return bool(self.first == self.second)


@dataclass(frozen=True)
class RunComparison:
    """All values of two runs, in pairs."""

    configuration: tuple[ValuePair, ...]
    """Values by dotted key."""
    variables: tuple[ValuePair, ...]
    """Shape and dtype by name."""
    metrics: tuple[ValuePair, ...]
    """The last value of every metric."""

    @property
    def sections(self) -> dict[str, tuple[ValuePair, ...]]:
        """All pairs by section."""
        return {"configuration": self.configuration, "variables": self.variables, "metrics": self.metrics}

    @property
    def equal(self) -> bool:
        """True if no relevant value differs."""
        return all(pair.equal or not pair.relevant for pairs in self.sections.values() for pair in pairs)

    def as_dict(self) -> dict[str, Any]:
        """Return the differences as plain data; numbers that are not finite become ``null``."""
        return {
            name: {pair.name: [_finite(pair.first), _finite(pair.second)] for pair in pairs if not pair.equal}
            for name, pairs in self.sections.items()
        }


def compare_runs(first: RunFolder, second: RunFolder) -> RunComparison:
    """Return the comparison of two runs, in the order of the first.

    Raises:
        ConfigError: a run's configuration cannot be read.
    """
    return RunComparison(
        configuration=_pairs(_values(first), _values(second)),
        variables=_pairs(_variables(first), _variables(second)),
        metrics=_pairs(RunState.read(first).values, RunState.read(second).values),
    )


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[ValuePair, ...]:
    return tuple(
        ValuePair(
            name=name,
            first=first.get(name, MISSING),
            second=second.get(name, MISSING),
            relevant=name not in _MEASURED,
        )
        for name in dict.fromkeys([*first, *second])
    )


def _values(folder: RunFolder) -> dict[str, Any]:
    return {key: value for key, value in flat(plain(folder.config())).items() if key not in _FOLDERS}


def _variables(folder: RunFolder) -> dict[str, str]:
    spec = network_spec(folder.config().network)
    return {name: f"{list(item.shape)} {item.dtype}" for name, item in spec.variables.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
