"""What is known of a network that another program made: its variables, and what its operations do with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expkit.checkpoints.ownership import kin
from expkit.tensor_spec import TensorSpec

__all__ = ["Contents", "Sorted", "Stored", "Use", "in_reading_order", "sort_out"]


@dataclass(frozen=True)
class Stored:
    """A variable's shape and dtype."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Use:
    """What an operation does with a variable."""

    kind: str
    """Kind of layer that does the same."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the layer that the operation tells."""
    note: str = ""
    """What it tells besides."""


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    variables: Mapping[str, Stored]
    """In the order in which they are to be listed."""
    uses: Mapping[str, Use] = field(default_factory=dict)
    """By variable."""
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    """Tensors that nothing reads."""
    has_operations: bool = False


@dataclass(frozen=True)
class Sorted:
    """The network's variables apart from what training keeps beside them."""

    variables: Mapping[str, Stored]
    slots: Mapping[str, int]
    """How many variables have a slot of the name's ending."""
    averages: int
    others: tuple[str, ...]


def sort_out(variables: Mapping[str, Stored]) -> Sorted:
    """Tell the network's variables from optimizer slots, averages and counters."""
    kinds = kin(variables)
    return Sorted(
        {name: stored for name, stored in variables.items() if kinds[name].kind == "variable"},
        Counter(item.slot for item in kinds.values() if item.kind == "slot"),
        sum(item.kind == "average" for item in kinds.values()),
        tuple(name for name, item in kinds.items() if item.kind == "counter"),
    )


def in_reading_order(names: list[str]) -> list[str]:
    """Return names as a person would list them: ``conv2`` before ``conv10``."""
    return sorted(names, key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in _parts(name)])


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]
