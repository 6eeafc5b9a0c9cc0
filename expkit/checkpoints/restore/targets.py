"""What is to get a value: the network's variables, their averages, and what the optimizer keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence

from expkit.checkpoints.restore.plan import Wanted
from expkit.config.schema import Config
from expkit.network.ema import ema_variables
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec

__all__ = ["wanted_by", "wanted_of_run"]


def wanted_by(config: Config, spec: NetworkSpec) -> dict[str, Wanted]:
    """Return what ``restore`` of a configuration is to give values to.

    With ``weights: ema`` an average is expected of every variable that ``ema.variables`` names, trained or frozen; of
    all where the run averages none. Moving statistics have none.

    Raises:
        ConfigError: the regular expression of the averages matches nothing.
    """
    averaged = ema_variables(config.ema, spec)
    named = config.ema.variables if config.ema.enabled else ".*"
    learned = [name for name, variable in spec.variables.items() if variable.trainable or variable.frozen]
    expected = [name for name in learned if re.fullmatch(named, name)]
    wanted = _variables(spec, expected) | _averages(spec, averaged, needed=False)
    if config.restore.optimizer == "reset":
        return wanted
    for name in spec.trainable:
        variable = spec.variables[name]
        for slot in config.optimizer.slot_names(name):
            wanted[slot] = Wanted(variable.shape, variable.dtype, "slot", of=name)
    wanted |= {name: Wanted((), "float32", "counter") for name in config.optimizer.scalars}
    return {**wanted, "global_step": Wanted((), "int64", "counter")}


def wanted_of_run(spec: NetworkSpec, averaged: Sequence[str], *, averages: bool) -> dict[str, Wanted]:
    """Return what a run's own checkpoint is to give values to, each of which must be in it.

    Args:
        spec: the network.
        averaged: the variables that the run averages.
        averages: whether their averages are wanted too, under their own names.
    """
    return _variables(spec, averaged) | (_averages(spec, averaged, needed=True) if averages else {})


def _variables(spec: NetworkSpec, averaged: Sequence[str]) -> dict[str, Wanted]:
    expected = set(averaged)
    return {
        name: Wanted(variable.shape, variable.dtype, averaged=name in expected)
        for name, variable in spec.variables.items()
    }


def _averages(spec: NetworkSpec, names: Sequence[str], *, needed: bool) -> dict[str, Wanted]:
    return {
        ema_name(name): Wanted(spec.variables[name].shape, spec.variables[name].dtype, "average", name, needed)
        for name in names
    }
