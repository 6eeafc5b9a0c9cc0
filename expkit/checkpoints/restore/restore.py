"""The restore: values read from checkpoints by a plan, in one pass, with a receipt."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.restore.plan import Assignment, OpenedCheckpoint, Plan, Target
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.pytorch_cells import with_cells
from expkit.checkpoints.restore.targets import restore_targets
from expkit.checkpoints.restore.transforms import apply
from expkit.config.schema import Config
from expkit.config.sections.restore import SourceConfig
from expkit.errors import CheckpointError
from expkit.preflight import CheckedConfig
from expkit.redact import masked_values
from expkit.run_lookup import run_of_uri

__all__ = [
    "Restored",
    "carry_out",
    "check_restore",
    "configured_plan",
    "open_checkpoints",
    "plan_as_json",
    "read_values",
    "restore_from",
]


@dataclass(frozen=True)
class Restored:
    """The result of a restore: the plan, and the values by name."""

    plan: Plan
    values: Mapping[str, np.ndarray]

    @property
    def receipt(self) -> str:
        """The plan as JSON, a line for each variable, with a checksum of its value."""
        content = plan_as_json(self.plan)
        for row in content["variables"]:
            value = np.asarray(self.values[row["variable"]], order="C")
            row["sha256"] = hashlib.sha256(value.tobytes()).hexdigest()
        rows = ",\n".join(f"    {json.dumps(masked_values(row))}" for row in content.pop("variables"))
        rest = json.dumps(masked_values(content), indent=2).removesuffix("\n}")
        return f'{rest},\n  "variables": [\n{rows}\n  ]\n}}\n'


def open_checkpoints(checked: CheckedConfig) -> tuple[OpenedCheckpoint, ...]:
    """Open the files of the section ``restore``: names, shapes and dtypes are read, values are not.

    Raises:
        CheckpointError: the section names no file, or one is missing or damaged.
        RunError: it names a run by an unknown id.
    """
    config, targets = checked.config, restore_targets(checked)
    if config.restore.from_ is None:
        raise CheckpointError.at("restore.from", "nothing to restore; give a checkpoint with restore.from=PATH")
    sections: dict[str, SourceConfig] = {"restore": config.restore}
    sections |= {f"restore.sources.{name}": section for name, section in config.restore.sources.items()}
    opened = (
        OpenedCheckpoint(at, _opened(str(section.from_), config.run.folder, f"{at}.from"), section)
        for at, section in sections.items()
    )
    return tuple(with_cells(item, targets) for item in opened)


def _opened(source: str, runs: str, at: str) -> VariableSource:
    run = run_of_uri(source, runs, at)
    return open_variables(source if run is None else run.path, at)


def configured_plan(checked: CheckedConfig, checkpoints: Sequence[OpenedCheckpoint]) -> Plan:
    """Return the plan of the section ``restore`` for its opened files."""
    return restore_plan(restore_targets(checked), checkpoints, checked.config.restore.keep_initial)


def restore_from(checked: CheckedConfig) -> Restored:
    """Return the values that the section ``restore`` gives to variables, EMA variables, slots and counters.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit.
    """
    checkpoints = open_checkpoints(checked)
    restored = carry_out(configured_plan(checked, checkpoints), checkpoints)
    _check_steps(checked.config, restored.values)
    return restored


def check_restore(checked: CheckedConfig) -> None:
    """Check the section ``restore`` without reading the values of more than a counter.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit, or the restored steps leave none to train.
    """
    checkpoints = open_checkpoints(checked)
    plan = configured_plan(checked, checkpoints)
    plan.check()
    counters = tuple(item for item in plan.assignments if item.variable == "global_step")
    _check_steps(checked.config, carry_out(replace(plan, assignments=counters), checkpoints).values)


def _check_steps(config: Config, values: Mapping[str, np.ndarray]) -> None:
    step = int(values.get("global_step", 0))
    if 0 < (config.train.steps or 0) <= step:
        raise CheckpointError.at(
            "train.steps",
            f"is {config.train.steps}, but the restored optimizer has done {step} steps, which count; give more, "
            "or set restore.optimizer to reset",
        )


def read_values(
    source: VariableSource, targets: Mapping[str, Target], weights: Literal["raw", "ema"] = "raw"
) -> Restored:
    """Return values from a run's own checkpoint, raw or EMA.

    Raises:
        CheckpointError: the checkpoint is damaged or does not fit.
    """
    checkpoints = [OpenedCheckpoint(source.at, source, SourceConfig(weights=weights))]
    return carry_out(restore_plan(targets, checkpoints, at=source.at), checkpoints)


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return the assignments of a plan as plain data."""
    return {
        "loaded": plan.loaded,
        "files": dict(plan.files),
        "kept_initial": list(plan.kept_initial),
        "skipped": dict(plan.skipped),
        "variables": [
            {
                "variable": item.variable,
                "role": item.role,
                "file": plan.files[item.checkpoint],
                "source": list(item.sources),
                "weights": item.weights,
                "rule": str(item.origin),
                "transform": item.changes,
                "shape": list(item.spec.shape),
                "dtype": item.spec.dtype,
            }
            for item in plan.assignments
        ],
    }


def carry_out(plan: Plan, checkpoints: Sequence[OpenedCheckpoint]) -> Restored:
    """Carry out a plan; every tensor is read once, and held no longer than needed.

    Raises:
        CheckpointError: the plan is incomplete, or a file is damaged.
    """
    plan.check()
    sources = {item.at: item.source for item in checkpoints}
    uses = Counter((item.checkpoint, source) for item in plan.assignments for source in set(item.sources))
    held: dict[tuple[str, str], np.ndarray] = {}
    values = {}
    for item in plan.assignments:
        keys = [(item.checkpoint, source) for source in item.sources]
        for at, source in keys:
            if (at, source) not in held:
                held[at, source] = sources[at].read(source)
        values[item.variable] = _value(item, [held[key] for key in keys])
        for key in set(keys):
            uses[key] -= 1
            if not uses[key]:
                del held[key]
    return Restored(plan, values)


def _value(assignment: Assignment, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the value of a variable, made from the arrays of its sources.

    Raises:
        CheckpointError: an intermediate value, as after a large ``pad``, does not fit into memory.
    """
    try:
        value = np.concatenate(arrays, assignment.axis) if len(arrays) > 1 else arrays[0]
        for transform in assignment.transforms:
            value = apply(transform, value)
        return np.asarray(value, order="C")
    except MemoryError:
        raise CheckpointError.at(
            assignment.checkpoint,
            f"variable '{assignment.variable}': {assignment.changes} needs more memory than there is; make it smaller",
        ) from None
