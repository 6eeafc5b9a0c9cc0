"""Restoring: a plan from the names in a checkpoint, carried out in one pass over its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.rename import Plan, restore_plan
from expkit.checkpoints.store import find_prefix
from expkit.config.schema import Config
from expkit.errors import CheckpointError, Problem, reason
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
    prefix = find_prefix(asked.from_, "restore.from")
    averages = averaged_names(config.ema, spec)
    with _reader(prefix, "restore.from") as reader:
        plan = restore_plan(
            {name: variable.shape for name, variable in spec.variables.items()},
            _shapes(reader),
            weights=asked.weights,
            averaged=averages or spec.trainable,
            shadows=averages if asked.weights == "raw" else (),
            rename=asked.rename,
            keep_initial=asked.keep_initial,
        )
        values = _read(reader, plan, spec, "restore")
    for name in averages:
        if name in values:
            values.setdefault(shadow_name(name), values[name])
    return Restored(prefix, plan, values)


def read_values(
    prefix: Path, spec: NetworkSpec, *, weights: Literal["raw", "ema"], averaged: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Return the network's variables from a run's checkpoint, raw or with the averages in their place.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or does not fit.
    """
    with _reader(prefix, str(prefix)) as reader:
        plan = restore_plan(
            {name: variable.shape for name, variable in spec.variables.items()},
            _shapes(reader),
            weights=weights,
            averaged=averaged,
            at=str(prefix),
        )
        return _read(reader, plan, spec, str(prefix))


@contextmanager
def _reader(prefix: Path, at: str) -> Iterator[Any]:
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise CheckpointError.at(at, f"no checkpoint {prefix} (its .index file is missing)")
    try:
        yield tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:  # IndexError: TensorFlow's OutOfRange
        raise CheckpointError.at(
            at, f"{prefix} is damaged or incomplete: {reason(error)}; use another checkpoint"
        ) from None


def _shapes(reader: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in sorted(reader.get_variable_to_shape_map().items())}


def _read(reader: Any, plan: Plan, spec: NetworkSpec, at: str) -> dict[str, np.ndarray]:
    dtypes = {name: variable.dtype for name, variable in spec.variables.items()}
    dtypes |= {shadow_name(name): dtype for name, dtype in dtypes.items()}
    stored = {name: dtype.name for name, dtype in reader.get_variable_to_dtype_map().items()}
    problems = [
        Problem(
            at,
            f"variable '{pair.variable}' is {dtypes[pair.variable]}, '{pair.source}' in the checkpoint is "
            f"{stored[pair.source]}; add '{pair.variable}' to keep_initial",
        )
        for pair in plan.pairs
        if stored[pair.source] != dtypes[pair.variable]
    ]
    if problems:
        raise CheckpointError(*problems)
    tensors = {source: reader.get_tensor(source) for source in dict.fromkeys(pair.source for pair in plan.pairs)}
    return {pair.variable: tensors[pair.source] for pair in plan.pairs}
