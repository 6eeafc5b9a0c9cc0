"""What is known of a network that another program made: its variables, and what its operations do with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from expkit.network.layer import TensorSpec

__all__ = ["Contents", "Sorted", "Stored", "Use", "in_reading_order", "sort_out"]

AVERAGE = "ExponentialMovingAverage"
SLOTS = (
    *("Adam", "Adam_1", "adam_m", "adam_v", "Momentum", "RMSProp", "RMSProp_1", "RMSProp_2"),
    *("Adagrad", "Adadelta", "Adadelta_1", "Ftrl", "Ftrl_1", "AdaMax", "AdaMax_1", "lamb_m", "lamb_v"),
)
"""How optimizers of TensorFlow 1, and BERT's, end the names of the variables that they keep beside others."""
_COUNTERS = ("global_step", "beta1_power", "beta2_power", "local_step", "biased")


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
    kept: dict[str, Stored] = {}
    slots: dict[str, int] = {}
    averages, others = 0, []
    for name, stored in variables.items():
        owner, _, end = name.rpartition("/")
        if end in SLOTS and _owner(owner, stored, variables):
            slots[end] = slots.get(end, 0) + 1
        elif end == AVERAGE and _owner(owner, stored, variables):
            averages += 1
        elif re.sub(r"_\d+$", "", end) in _COUNTERS:
            others.append(name)
        else:
            kept[name] = stored
    return Sorted(kept, slots, averages, tuple(others))


def _owner(name: str, stored: Stored, variables: Mapping[str, Stored]) -> bool:
    """Return whether a variable of the shape has the name, or the name without scopes that an optimizer put before."""
    parts = name.split("/")
    return any(variables.get("/".join(parts[start:])) == stored for start in range(len(parts)))


def in_reading_order(names: list[str]) -> list[str]:
    """Return names as a person would list them: ``conv2`` before ``conv10``."""
    return sorted(names, key=lambda name: [(int(part), "") if part.isdigit() else (-1, part) for part in _parts(name)])


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"(\d+)", name) if part]
