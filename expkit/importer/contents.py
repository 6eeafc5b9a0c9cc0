"""Contents of a network that another program made: its variables, inputs, outputs, and how operations use them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expkit.checkpoints.ownership import ownership
from expkit.tensor_spec import TensorSpec

__all__ = ["Contents", "OwnedVariables", "Use", "group_by_ownership", "in_reading_order"]


@dataclass(frozen=True)
class Use:
    """Use of a variable by an operation."""

    kind: str
    """Kind of layer that does the same."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the layer that the operation determines."""
    note: str = ""
    """Remark for the draft."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Variables of a file and, from a graph, their uses, inputs and outputs."""

    variables: Mapping[str, TensorSpec]
    """In the order of the draft."""
    uses: Mapping[str, Use] = field(default_factory=dict)
    """By variable."""
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    """Tensors that no operation reads."""
    has_operations: bool = False


@dataclass(frozen=True, kw_only=True)
class OwnedVariables:
    """The network's variables, apart from slots, EMA variables, counters and states."""

    variables: Mapping[str, TensorSpec]
    slots: Mapping[str, int]
    """Count of variables with a slot, by the slot's name."""
    emas: int
    """Count of EMA variables."""
    counters: tuple[str, ...]
    """Counters, and states that layers carry."""


def group_by_ownership(variables: Mapping[str, TensorSpec]) -> OwnedVariables:
    """Separate the network's variables from optimizer slots, EMA variables, counters and states."""
    kinds = ownership(variables)
    return OwnedVariables(
        variables={name: spec for name, spec in variables.items() if kinds[name].kind == "variable"},
        slots=Counter(item.slot for item in kinds.values() if item.kind == "slot"),
        emas=sum(item.kind == "average" for item in kinds.values()),
        counters=tuple(name for name, item in kinds.items() if item.kind in ("counter", "state")),
    )


def in_reading_order(names: list[str]) -> list[str]:
    """Return names in natural order: ``conv2`` before ``conv10``."""
    return sorted(names, key=lambda name: [(int(run), "") if run.isdigit() else (-1, run) for run in _runs(name)])


def _runs(name: str) -> list[str]:
    """Return the runs of digits and of other letters in a name."""
    return [run for run in re.split(r"(\d+)", name) if run]
