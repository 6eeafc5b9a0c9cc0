"""Rows of a report: the runs of a sweep, with the keys in which they differ."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from expkit.sweeps.jobs import configuration_of, is_under, replicate_of
from expkit.sweeps.sweep_folder import RunState

__all__ = ["RunRow", "differences", "identified", "split_override", "values_text", "varied_keys"]

Points = Sequence[Mapping[str, float]]
Text = Callable[[Any], str]

_NEVER_VARIED = ("run.folder", "run.resume", "hydra.", "tracking")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run of a sweep."""

    folder: Path
    label: str
    """The values that differ from those of the other runs."""
    state: RunState
    overrides: tuple[str, ...] = ()
    values: Mapping[str, Any]
    """Its configuration by dotted key, with the overrides that are not keys of it, such as groups."""
    points: Points = ()
    """Its metrics in the order recorded."""
    size: int | None = None
    """Number of parameters of its network; ``None`` if its configuration cannot be read."""
    trained: int | None = None
    """Number of its trained parameters."""
    configuration: str = ""
    """Hash that its replicates share."""
    replicate: str = ""
    """Values of the keys in which replicates differ."""
    examples: Mapping[str, int] = field(default_factory=dict)
    """Number of examples of each split."""

    @property
    def name(self) -> str:
        """Path of its folder, which tells it from the others."""
        return self.folder.as_posix()

    @property
    def command(self) -> str:
        """The command that runs it again, in a new folder."""
        arguments = [item for item in self.overrides if not split_override(item)[0].startswith(_NEVER_VARIED)]
        return shlex.join(["expkit", "train", *arguments])

    @cached_property
    def last(self) -> dict[str, float]:
        """The last value of every metric, if it is finite."""
        return {name: value for name, value in self.state.values.items() if math.isfinite(value)}

    @cached_property
    def seconds(self) -> float | None:
        """Time of its training steps, without evaluating, saving and everything else."""
        total, previous = 0.0, 0
        for point in self.points:
            if rate := point.get("train/steps_per_second"):
                total, previous = total + (point["step"] - previous) / rate, int(point["step"])
        return total or None

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """Return steps and values of a metric."""
        pairs = [(int(point["step"]), point[metric]) for point in self.points if metric in point]
        return [step for step, _ in pairs], [value for _, value in pairs]


def differences(rows: Sequence[RunRow], replicated: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys whose values differ, without replicates, and the overrides that all runs share.

    Keys are taken from the overrides; only if none of these differs, as among runs collected by hand, from the whole
    configurations.
    """
    overrides = list(dict.fromkeys(override for row in rows for override in row.overrides))
    given = [split_override(override)[0] for override in overrides]
    varied = varied_keys(rows, [key for key in given if not is_under(key, replicated)])
    if not varied:
        varied = varied_keys(rows, [key for row in rows for key in row.values if not is_under(key, replicated)])
    constant = [
        override
        for override in overrides
        if not split_override(override)[0].startswith((*varied, *_NEVER_VARIED))
        and all(override in row.overrides for row in rows)
    ]
    return tuple(varied), tuple(constant)


def varied_keys(rows: Sequence[RunRow], keys: Sequence[str]) -> list[str]:
    """Return those of some keys whose values differ between rows."""
    return [
        key
        for key in dict.fromkeys(keys)
        if not key.startswith(_NEVER_VARIED) and len({repr(row.values.get(key)) for row in rows}) > 1
    ]


def values_text(row: RunRow, names: Mapping[str, str], texts: Mapping[str, Text]) -> str:
    """Return the values of a row, given the short names of keys, and the text of the values of each."""
    return ", ".join(f"{name}={texts[key](row.values.get(key))}" for key, name in names.items())


def identified(row: RunRow, replicated: Sequence[str]) -> RunRow:
    """Return a row with its configuration and its replicate; one without values is its own configuration."""
    fields = {key: value for key, value in row.values.items() if not key.startswith(_NEVER_VARIED)}
    configuration = configuration_of(fields, replicated) if fields else row.name
    return replace(row, configuration=configuration, replicate=replicate_of(row.values, replicated))


def split_override(override: str) -> tuple[str, Any]:
    """Return key and value of an override; one that deletes a key has no value."""
    key, _, value = override.lstrip("+~").partition("=")
    try:
        return key, None if override.startswith("~") else yaml.safe_load(value)
    except yaml.YAMLError:
        return key, value
