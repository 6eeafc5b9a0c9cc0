"""Choosing how steps are run, by measuring on the real network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.network.spec import NetworkSpec
from expkit.training.execution import Execution
from expkit.training.executor import Executor
from expkit.training.graphs import train_graph

__all__ = ["Choice", "choose", "recorded"]

MOST_STEPS = 100
"""``steps_per_execution: auto``; the executor does fewer in a call when they are slow."""
LONGEST_SECONDS = 5.0
LARGEST_SHARE = 0.05
LEAST_SECONDS = 2.0
"""What compiling and timing takes at the least; a run that cannot afford it is not measured."""


@dataclass(frozen=True)
class Choice:
    """How steps are run, and why."""

    execution: Execution
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return a plain mapping, for ``recorded``."""
        return asdict(self)


def recorded(plain: Mapping[str, Any]) -> Choice:
    """Return the choice of a plain mapping."""
    return Choice(Execution(**plain["execution"]), plain["reason"])


def choose(config: Config, spec: NetworkSpec, dataset: Dataset) -> Choice:
    """Return the way to run steps that ``train.steps_per_execution`` and ``train.jit_compile`` ask for.

    With ``jit_compile: auto`` both ways are timed, in sessions of their own, for at most 5 s or 5 % of the run. A run
    too short for that is not compiled, nor is a network with layers that XLA makes slower on a CPU.
    """
    asked = config.train
    most = MOST_STEPS if asked.steps_per_execution == "auto" else asked.steps_per_execution
    plain = Execution(most, jit_compile=False)
    if asked.jit_compile != "auto":
        return Choice(Execution(most, jit_compile=asked.jit_compile), "as configured")
    if slower := sorted({layer.layer.kind for layer in spec.layers if not layer.layer.xla_is_faster}):
        return Choice(plain, f"XLA on a CPU is slower for {', '.join(slower)}")
    if asked.steps < MOST_STEPS or not spec.trainable:
        return Choice(plain, "a short run")
    before = _steps_per_second(config, spec, dataset, plain, seconds=0.1)
    budget = min(LONGEST_SECONDS, LARGEST_SHARE * asked.steps / before)
    if budget < LEAST_SECONDS:
        return Choice(plain, "a short run")
    compiled = Execution(most, jit_compile=True)
    before = _steps_per_second(config, spec, dataset, plain, seconds=budget / 4)
    after = _steps_per_second(config, spec, dataset, compiled, seconds=budget / 4)
    reason = f"measured {after:,.0f} steps/s compiled by XLA, {before:,.0f} not compiled"
    return Choice(compiled if after > before else plain, reason)


def _steps_per_second(
    config: Config, spec: NetworkSpec, dataset: Dataset, execution: Execution, *, seconds: float
) -> float:
    """Return how fast steps run once they are warm; what they change is thrown away with their session."""
    with Executor(train_graph(config, spec, dataset, execution)) as executor:
        executor.initialize()
        executor.run(1)
        done, steps, begun = 0, 1, time.perf_counter()
        while (took := time.perf_counter() - begun) < seconds:
            executor.run(steps)
            done += steps
            steps = min(2 * steps, execution.steps_per_execution)
        return done / took
