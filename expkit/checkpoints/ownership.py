"""Ownership of names in a checkpoint: the variable to which an optimizer slot, an EMA variable or a counter belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from expkit.network.names import is_state
from expkit.tensor_spec import TensorSpec

__all__ = ["Owned", "Ownership", "owned", "ownership", "renamed_with_owner"]

_EMA = "ExponentialMovingAverage"
_SLOTS = re.compile(r"(Adam|AdamW|Adagrad|AdagradDA|Adadelta|AdaMax|Ftrl|Momentum|RMSProp)(_\d+)?|(adam|lamb)_[mv]")
"""Last part of the names of optimizer slots, in TensorFlow 1 and BERT."""
_COUNTERS = re.compile(r"(global_step|beta[12]_power|local_step|biased|save_counter)(_\d+)?")
_KERAS_SLOTS = re.compile(
    r"(.*)_(momentum|velocity|velocity_hat|accumulator|average_gradient|accumulated_grad|accumulated_delta_var)"
)
_KERAS_COUNTERS = ("iteration", "learning_rate")
"""Both are in the scope of a Keras 3 optimizer; its slots are named as their variables, with ``_`` for ``/``."""
_OBJECT_SLOTS = re.compile(r"(.*)/\.OPTIMIZER_SLOT/(.*)")


@dataclass(frozen=True)
class Ownership:
    """Kind and owner of a name in a checkpoint."""

    kind: Literal["variable", "slot", "average", "counter", "state"]
    """``average`` is an EMA variable; a ``state`` is carried from batch to batch, for each example of a batch."""
    owner: str | None = None
    """The variable of a slot or an EMA variable; of a counter, if it counts for one."""
    slot: str = ""
    """Last part of a slot's name: ``Adam_1``."""


@dataclass(frozen=True, kw_only=True)
class Owned:
    """EMA variables and slots of each variable of a file, and its counters, under whatever scope they are.

    Of several that belong to the same, the one directly under its name counts; where there is none, none does.
    """

    emas: Mapping[str, str]
    """EMA variable by owner."""
    slots: Mapping[tuple[str, str], str]
    """Slot by owner and by the last part of the slot's name."""
    counters: Mapping[str, str]
    """Counter of the training by the last part of its name."""
    several_emas: Mapping[str, list[str]]
    """Variables with several EMA variables, none directly under the variable's name."""


def owned(variables: Mapping[str, Any]) -> Owned:
    """Return the EMA variables, slots and counters of a file's variables; shape and dtype are given by name."""
    emas: dict[str, list[str]] = {}
    slots: dict[tuple[str, str], list[str]] = {}
    counters: dict[str, list[str]] = {}
    for name, item in ownership(variables).items():
        if item.kind == "average" and item.owner is not None:
            emas.setdefault(item.owner, []).append(name)
        elif item.kind == "slot" and item.owner is not None:
            slots.setdefault((item.owner, item.slot), []).append(name)
        elif item.kind == "counter" and item.owner is None:
            counters.setdefault(name.rpartition("/")[2], []).append(name)
    own_emas = {owner: _one_of(names, f"{owner}/{_EMA}") for owner, names in emas.items()}
    return Owned(
        emas={owner: name for owner, name in own_emas.items() if name is not None},
        slots={key: slot for key, names in slots.items() if (slot := _one_of(names, "/".join(key)))},
        counters={key: counter for key, names in counters.items() if (counter := _one_of(names, key))},
        several_emas={owner: names for owner, names in emas.items() if own_emas[owner] is None},
    )


def _one_of(names: list[str], preferred: str) -> str | None:
    return preferred if preferred in names else names[0] if len(names) == 1 else None


def ownership(variables: Mapping[str, Any]) -> dict[str, Ownership]:
    """Return kind and owner of every name.

    Args:
        variables: shape and dtype by name; a slot or an EMA variable has the shape of its owner, and its dtype or
            another of floating point, as float32 slots of float16 variables have.
    """
    flat = {_flat(name): name for name in variables}
    return {name: _ownership(name, spec, variables, flat) for name, spec in variables.items()}


def _ownership(name: str, spec: Any, variables: Mapping[str, Any], flat: Mapping[str, str]) -> Ownership:
    if (match := _OBJECT_SLOTS.fullmatch(name)) and match[1] in variables:
        return Ownership("slot", match[1], match[2].rpartition("/")[2])
    scope, _, end = name.rpartition("/")
    if _SLOTS.fullmatch(end) or end == _EMA:
        owner = next((owner for owner in _owners(scope) if owner in variables and _fits(spec, variables[owner])), None)
        if owner is not None:
            return Ownership("average", owner) if end == _EMA else Ownership("slot", owner, end)
    if all(f"{scope}/{counter}" in variables for counter in _KERAS_COUNTERS):
        if end in _KERAS_COUNTERS:
            return Ownership("counter")
        if (match := _KERAS_SLOTS.fullmatch(end)) and _fits(spec, variables.get(owner := flat.get(match[1], ""))):
            return Ownership("slot", owner, match[2])
    if is_state(name):
        return Ownership("state")
    if _COUNTERS.fullmatch(end):
        return Ownership("counter", next((owner for owner in _owners(scope) if owner in variables), None))
    return Ownership("variable")


def _fits(spec: Any, owner: Any) -> bool:
    """Return True if a variable may be a slot or an EMA variable of another."""
    if not (isinstance(spec, TensorSpec) and isinstance(owner, TensorSpec)):
        return bool(spec == owner)
    return spec.shape == owner.shape and ((spec.floating and owner.floating) or spec.dtype == owner.dtype)


def _owners(scope: str) -> Iterator[str]:
    """Yield a name, then the same name without one, two ... leading scopes, which an optimizer may have added."""
    parts = scope.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def renamed_with_owner(name: str, owner: str, renamed: str) -> str:
    """Return the new name of a slot, an EMA variable or a counter whose owner is renamed.

    The name keeps what precedes and follows the owner's: ``train/w/Adam`` of ``w`` becomes ``train/v/Adam``.
    """
    scope, _, last = name.rpartition("/")
    if scope == owner or scope.endswith(f"/{owner}"):  # The owner's own name ends the scope: another may start it.
        return f"{scope.removesuffix(owner)}{renamed}/{last}"
    if name.startswith(f"{owner}/"):
        return f"{renamed}/{name.removeprefix(f'{owner}/')}"
    own, new, end = (owner, renamed, "/") if f"/{owner}/" in name else (_flat(owner), _flat(renamed), "_")
    before, after = name.rsplit(f"/{own}{end}", 1)
    return f"{before}/{new}{end}{after}"


def _flat(name: str) -> str:
    return name.replace("/", "_")
