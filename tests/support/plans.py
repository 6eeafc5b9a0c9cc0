"""What restore plans are made from in tests: files and variables of a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expkit.checkpoints.restore.plan import Offer, Plan, Wanted
from expkit.checkpoints.restore.planner import restore_plan
from expkit.config.sections.restore import SourceConfig

SHADOW = "/ExponentialMovingAverage"
Shapes = Mapping[str, tuple[int, ...]]


def offer(shapes: Shapes, at: str = "restore", dtype: str = "float32", **asked: Any) -> Offer:
    """Return a file whose values are all of one type."""
    made = SourceConfig.model_validate({"from": f"{at}.ckpt", **asked}, strict=False)
    return Offer(at, f"{at}.ckpt", shapes, dict.fromkeys(shapes, dtype), made)


def wanting(
    variables: Shapes,
    averaged: Sequence[str] = (),
    shadows: Sequence[str] = (),
    slots: Sequence[str] = (),
    counters: Sequence[str] = (),
) -> dict[str, Wanted]:
    """Return variables, those whose average is expected, averages wanted beside them, their slots, and counters."""
    wanted = {name: Wanted(shape, "float32", averaged=name in averaged) for name, shape in variables.items()}
    wanted |= {name + SHADOW: Wanted(variables[name], "float32", "average", name) for name in shadows}
    wanted |= {
        f"{name}/{slot}": Wanted(variables[name], "float32", "slot", name) for name in variables for slot in slots
    }
    return wanted | {name: Wanted((), "float32", "counter") for name in counters}


def plan_between(wanted: Shapes, available: Shapes, keep_initial: Sequence[str] = (), **asked: Any) -> Plan:
    """Return the complete plan of one file."""
    plan = restore_plan(wanting(wanted), [offer(available, **asked)], keep_initial)
    plan.check()
    return plan
