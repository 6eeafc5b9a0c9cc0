"""Restoring: a plan from the names in a checkpoint, carried out in one pass over its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from expkit.checkpoints.reader import Source, open_source
from expkit.checkpoints.rename import Plan, restore_plan
from expkit.config.schema import Config
from expkit.errors import CheckpointError, Problem
from expkit.network.names import shadow_name
from expkit.network.spec import NetworkSpec
from expkit.training.ema import averaged_names

__all__ = ["Restored", "read_values", "restore_from"]


@dataclass(frozen=True)
class Restored:
    """What a restore did: the plan, where from, and the values by variable name."""

    prefix: Path
    plan: Plan
    values: Mapping[str, np.ndarray]


def restore_from(config: Config, spec: NetworkSpec) -> Restored:
    """Return the values that ``restore`` of the configuration gives to the network's variables and their averages.

    An average is restored beside its variable where the checkpoint has it; where it has none, or where the averages
    go into the variables, the average starts as its variable does.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or does not fit.
    """
    asked = config.restore
    assert asked.from_ is not None, "called only when there is something to restore"
    averages = averaged_names(config.ema, spec)
    source = open_source(asked.from_, "restore.from")
    plan = restore_plan(
        {name: variable.shape for name, variable in spec.variables.items()},
        source.shapes,
        weights=asked.weights,
        averaged=averages or spec.trainable,
        shadows=averages if asked.weights == "raw" else (),
        rename=asked.rename,
        keep_initial=asked.keep_initial,
    )
    values = _read(source, plan, spec, "restore")
    for name in averages:
        if name in values:
            values.setdefault(shadow_name(name), values[name])
    return Restored(source.path, plan, values)


def read_values(
    prefix: Path, spec: NetworkSpec, *, weights: Literal["raw", "ema"], averaged: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return the network's variables from a run's checkpoint, raw or with the averages in their place.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or does not fit.
    """
    source = open_source(prefix, str(prefix))
    plan = restore_plan(
        {name: variable.shape for name, variable in spec.variables.items()},
        source.shapes,
        weights=weights,
        averaged=averaged,
        at=str(prefix),
    )
    return _read(source, plan, spec, str(prefix))


def _read(source: Source, plan: Plan, spec: NetworkSpec, at: str) -> dict[str, np.ndarray]:
    dtypes = {name: variable.dtype for name, variable in spec.variables.items()}
    dtypes |= {shadow_name(name): dtype for name, dtype in dtypes.items()}
    problems = [
        Problem(
            at,
            f"variable '{pair.variable}' is {dtypes[pair.variable]}, '{pair.source}' in the checkpoint is "
            f"{source.dtypes[pair.source]}; add '{pair.variable}' to keep_initial",
        )
        for pair in plan.pairs
        if source.dtypes[pair.source] != dtypes[pair.variable]
    ]
    if problems:
        raise CheckpointError(*problems)
    tensors = {name: source.read(name) for name in dict.fromkeys(pair.source for pair in plan.pairs)}
    return {pair.variable: tensors[pair.source] for pair in plan.pairs}
