"""Which names in a checkpoint belong to others: optimizer slots, averages and counters, told from variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Kin", "following", "kin"]

_AVERAGE = "ExponentialMovingAverage"
_SLOTS = re.compile(r"(Adam|AdamW|Adagrad|AdagradDA|Adadelta|AdaMax|Ftrl|Momentum|RMSProp)(_\d+)?|(adam|lamb)_[mv]")
"""How optimizers of TensorFlow 1, and BERT's, end the names of the variables that they keep beside others."""
_COUNTERS = re.compile(r"(global_step|beta[12]_power|local_step|biased|save_counter)(_\d+)?")
_OF_KERAS = re.compile(
    r"(.*)_(momentum|velocity|velocity_hat|accumulator|average_gradient|accumulated_grad|accumulated_delta_var)"
)
_COUNTERS_OF_KERAS = ("iteration", "learning_rate")
"""An optimizer of Keras 3 keeps both in its scope; its slots are called as their variables, ``/`` made ``_``."""
_OF_OBJECTS = re.compile(r"(.*)/\.OPTIMIZER_SLOT/(.*)")


@dataclass(frozen=True)
class Kin:
    """What a name in a checkpoint is."""

    kind: Literal["variable", "slot", "average", "counter"]
    owner: str | None = None
    """The variable that a slot or an average belongs to; of a counter, where it counts for one."""
    slot: str = ""
    """What ends the name of a slot: ``Adam_1``."""


def kin(variables: Mapping[str, Any]) -> dict[str, Kin]:
    """Return what every name is.

    Args:
        variables: what each is made as, by name; a slot or an average is made as its variable is.
    """
    flat = {_flat(name): name for name in variables}
    return {name: _kin(name, made, variables, flat) for name, made in variables.items()}


def _kin(name: str, made: Any, variables: Mapping[str, Any], flat: Mapping[str, str]) -> Kin:
    if (match := _OF_OBJECTS.fullmatch(name)) and match[1] in variables:
        return Kin("slot", match[1], match[2].rpartition("/")[2])
    scope, _, end = name.rpartition("/")
    if _SLOTS.fullmatch(end) or end == _AVERAGE:
        owner = next((owner for owner in _owners(scope) if owner in variables and variables[owner] == made), None)
        if owner is not None:
            return Kin("average", owner) if end == _AVERAGE else Kin("slot", owner, end)
    if all(f"{scope}/{counter}" in variables for counter in _COUNTERS_OF_KERAS):
        if end in _COUNTERS_OF_KERAS:
            return Kin("counter")
        if (match := _OF_KERAS.fullmatch(end)) and variables.get(owner := flat.get(match[1], "")) == made:
            return Kin("slot", owner, match[2])
    if _COUNTERS.fullmatch(end):
        return Kin("counter", next((owner for owner in _owners(scope) if owner in variables), None))
    return Kin("variable")


def _owners(scope: str) -> Iterator[str]:
    """Yield a name, and the same without the scopes that an optimizer put before."""
    parts = scope.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def following(name: str, owner: str, renamed: str) -> str:
    """Return what a slot, an average or a counter is called when the variable that owns it is renamed.

    What comes before and after the owner's name stays: ``train/w/Adam`` of ``w`` becomes ``train/v/Adam``.
    """
    if name.startswith(f"{owner}/"):
        return f"{renamed}/{name.removeprefix(f'{owner}/')}"
    own, new, end = (owner, renamed, "/") if f"/{owner}/" in name else (_flat(owner), _flat(renamed), "_")
    before, after = name.rsplit(f"/{own}{end}", 1)
    return f"{before}/{new}{end}{after}"


def _flat(name: str) -> str:
    return name.replace("/", "_")
