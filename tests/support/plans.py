"""Opened checkpoints and restore targets for tests of restore plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.restore.plan import OpenedCheckpoint, Plan, Target
from expkit.checkpoints.restore.planner import restore_plan
from expkit.config.sections.restore import SourceConfig
from expkit.tensor_spec import TensorSpec

EMA = "/ExponentialMovingAverage"
Shapes = Mapping[str, tuple[int, ...]]


def opened(shapes: Shapes, at: str = "restore", dtype: str = "float32", **config: Any) -> OpenedCheckpoint:
    """Return a file whose variables have one dtype; their values cannot be read."""
    section = SourceConfig.model_validate({"from": f"{at}.ckpt", **config}, strict=False)
    variables = {name: TensorSpec.of_variable(shape, dtype) for name, shape in shapes.items()}
    source = VariableSource(path=Path(f"{at}.ckpt"), format="V2", variables=variables, get=shapes.__getitem__, at=at)
    return OpenedCheckpoint(at, source, section)


def targets_of(
    variables: Shapes,
    ema_required: Sequence[str] = (),
    emas: Sequence[str] = (),
    slots: Sequence[str] = (),
    counters: Sequence[str] = (),
) -> dict[str, Target]:
    """Return targets: variables, some of which require an EMA, EMA variables, slots and counters."""
    specs = {name: TensorSpec.of_variable(shape, "float32") for name, shape in variables.items()}
    targets = {name: Target(spec=spec, ema_required=name in ema_required) for name, spec in specs.items()}
    targets |= {name + EMA: Target(spec=specs[name], role="average", owner=name) for name in emas}
    targets |= {
        f"{name}/{slot}": Target(spec=specs[name], role="slot", owner=name) for name in variables for slot in slots
    }
    counter = Target(spec=TensorSpec.of_variable((), "float32"), role="counter")
    return targets | dict.fromkeys(counters, counter)


def plan_between(targets: Shapes, available: Shapes, keep_initial: Sequence[str] = (), **config: Any) -> Plan:
    """Return the complete plan of one file."""
    plan = restore_plan(targets_of(targets), [opened(available, **config)], keep_initial)
    plan.check()
    return plan
