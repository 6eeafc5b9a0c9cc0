"""Restore targets: the network's variables, their EMA variables, the optimizer's slots and counters, states."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from expkit.checkpoints.restore.plan import Target
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.tensor_spec import TensorSpec

__all__ = ["restore_targets", "run_targets"]


def restore_targets(checked: CheckedConfig) -> dict[str, Target]:
    """Return the targets of the section ``restore``.

    With ``weights: ema`` an EMA is required of every variable that ``ema.variables`` matches, trained or frozen; of all
    such variables if the run has no EMA. Moving statistics have none. The state that layers carry belongs to a step, as
    slots do.
    """
    config, spec = checked.config, checked.spec
    pattern = config.ema.variables if config.ema.enabled else ".*"
    learned = [name for name, variable in spec.variables.items() if variable.trainable or variable.frozen]
    required = [name for name in learned if re.fullmatch(pattern, name)]
    targets = _variables(spec, required) | _emas(spec, checked.ema_names, required=False)
    if config.restore.optimizer == "reset":
        return targets
    for name in spec.trainable:
        for slot in (slot for phase in checked.phases for slot in phase.slots(name)):
            owner = spec.variables[name]
            targets[slot] = Target(spec=owner.spec, role="slot", owner=name, pytorch=owner.pytorch)
    rows = config.train.examples_per_step
    for name, item in spec.trained.state.items():
        sizes = (rows, *(size for size in item.shape if size is not None))
        targets[name] = Target(spec=TensorSpec.of_variable(sizes, item.dtype), role="state")
    scalars = (scalar for phase in checked.phases for scalar in phase.scalars)
    counters = dict.fromkeys(scalars, "float32") | {"global_step": "int64"}
    return targets | {
        name: Target(spec=TensorSpec.of_variable((), dtype), role="counter") for name, dtype in counters.items()
    }


def run_targets(spec: NetworkSpec, ema_names: Sequence[str], *, averages: Sequence[str]) -> dict[str, Target]:
    """Return the targets of a run's own checkpoint, which must contain all of them.

    Args:
        spec: the network.
        ema_names: variables that have an EMA in the run.
        averages: those whose EMA variables are restored too, under their own names.
    """
    return _variables(spec, ema_names) | _emas(spec, averages, required=True)


def _variables(spec: NetworkSpec, ema_required: Collection[str]) -> dict[str, Target]:
    required = set(ema_required)
    return {
        name: Target(spec=variable.spec, ema_required=name in required, pytorch=variable.pytorch)
        for name, variable in spec.variables.items()
    }


def _emas(spec: NetworkSpec, names: Sequence[str], *, required: bool) -> dict[str, Target]:
    owners = _variables(spec, ())
    return {ema_name(name): replace(owners[name], role="average", owner=name, ema_required=required) for name in names}
