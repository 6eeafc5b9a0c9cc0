"""Choosing how steps are run, by measuring on the real network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from expkit.config.schema import Config
from expkit.config.sections.train import Compiled
from expkit.data.dataset import Dataset
from expkit.network.spec import NetworkSpec
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.policy import slow_with_xla, suits_shards
from expkit.training.sessions import Executor

__all__ = ["Choice", "choose", "recorded"]

MOST_STEPS = 100
"""``steps_per_execution: auto``; the executor does fewer in a call when they are slow."""
LONGEST_SECONDS = 5.0
LARGEST_SHARE = 0.05
LEAST_SECONDS = 2.0
"""What compiling and timing takes at the least; a run that cannot afford it is not measured."""
MOST_WAYS = 4
"""Ways that are timed: what XLA compiles, and with the best of it what the cores share."""
LARGEST_COMPILED = 2000
"""Operations in a step; XLA would take longer over more than measuring may."""


@dataclass(frozen=True)
class Choice:
    """How steps are run, and why."""

    execution: Execution
    reason: str

    def __str__(self) -> str:
        return f"{self.execution}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """Return a plain mapping, for ``recorded``."""
        return asdict(self)


def recorded(plain: Mapping[str, Any]) -> Choice:
    """Return the choice of a plain mapping."""
    return Choice(Execution(**plain["execution"]), plain["reason"])


def choose(config: Config, spec: NetworkSpec, dataset: Dataset) -> tuple[Choice, Executor]:
    """Return the way to run steps that the configuration asks for, and an open executor that runs them so.

    With ``jit_compile`` or ``parallelism`` ``auto`` ways are timed, each in a session of its own, for at most 5 s or
    5 % of the run together: what XLA compiles, then with the fastest of it what the cores share. A run too short for
    that is not compiled, and has the parallelism that suits its layers. Whole steps are not compiled where that cannot
    pay on a CPU.

    Variables have to be given their values before the executor is used: timing may have changed them.
    """
    asked, plain = config.train, _unmeasured(config, spec)

    def opened(execution: Execution) -> Executor:
        return Executor(train_graph(config, spec, dataset, execution))

    if "auto" not in (asked.jit_compile, asked.parallelism):
        return Choice(plain, "as configured"), opened(plain)
    with ExitStack() as unless_taken:
        executor = unless_taken.enter_context(opened(plain))
        budget = _budget(executor, asked.steps) if asked.steps >= MOST_STEPS and spec.trainable else 0.0
        if not budget:
            unless_taken.pop_all()
            return Choice(plain, "a short run"), executor
    compiled: tuple[Compiled, ...] = (plain.jit_compile,)
    why_not = ""
    if asked.jit_compile == "auto":
        whole, why_not = _whole_step_may_pay(config, spec, dataset)
        compiled = (False, "update", True) if whole else (False, "update")
    speeds: dict[Execution, float] = {}

    def fastest(ways: Sequence[Execution]) -> Execution:
        for way in ways:
            if way not in speeds:
                with opened(way) as executor:
                    speeds[way] = _steps_per_second(executor, seconds=budget / (2 * MOST_WAYS))
        return max(ways, key=lambda way: speeds[way])

    best = fastest([replace(plain, jit_compile=jit_compile) for jit_compile in compiled])
    if asked.parallelism == "auto":
        best = fastest([replace(best, parallelism="intra_op"), replace(best, parallelism="inter_op")])
    measured = ", ".join(f"{speed:,.0f} {_named(way)}" for way, speed in speeds.items())
    return Choice(best, f"measured steps/s: {measured}{why_not}"), opened(best)


def _named(way: Execution) -> str:
    """Return what tells a way from the others that are measured."""
    compiled = {False: "not compiled", "update": "with updates compiled by XLA", True: "compiled by XLA"}
    return compiled[way.jit_compile] + (" (inter_op)" if way.parallelism == "inter_op" else "")


def _unmeasured(config: Config, spec: NetworkSpec) -> Execution:
    """Return the way that is asked for; what is ``auto``, as it is where nothing is measured.

    Cores take a part of the batch each if that suits the layers, and there are parts for all.
    """
    asked = config.train
    most = MOST_STEPS if asked.steps_per_execution == "auto" else asked.steps_per_execution
    way = Execution(most, asked.jit_compile if asked.jit_compile != "auto" else False, asked.precision)
    if asked.parallelism != "auto":
        return replace(way, parallelism=asked.parallelism)
    sharded = replace(way, parallelism="inter_op")
    return sharded if suits_shards(spec, sharded.shards(asked.batch_size)) else way


def _budget(executor: Executor, steps: int) -> float:
    """Return the seconds that a run of so many steps has for measuring; 0 where it has not enough."""
    budget = 0.0
    for seconds in (0.0, 0.1):  # of most short runs a single step tells that they are
        budget = min(LONGEST_SECONDS, LARGEST_SHARE * steps / _steps_per_second(executor, seconds=seconds))
        if budget < LEAST_SECONDS:
            return 0.0
    return budget


def _whole_step_may_pay(config: Config, spec: NetworkSpec, dataset: Dataset) -> tuple[bool, str]:
    """Return whether to time XLA on whole steps, and why not."""
    if config.train.precision == "bfloat16":
        return False, "; XLA on a CPU does not speed up bfloat16"
    if slower := slow_with_xla(spec):
        return False, f"; XLA on a CPU is slower for {', '.join(slower)}"
    graph = train_graph(config, spec, dataset, Execution(jit_compile=True)).graph.as_graph_def()
    size = len(graph.node) + sum(len(function.node_def) for function in graph.library.function)
    return size <= LARGEST_COMPILED, f"; XLA takes too long over {size:,} operations" if size > LARGEST_COMPILED else ""


def _steps_per_second(executor: Executor, *, seconds: float) -> float:
    """Return how fast steps run once they are warm, by at least one of them."""
    executor.initialize()
    executor.run(1)
    done, steps, begun = 0, 1, time.perf_counter()
    while True:
        executor.run(steps)
        done += steps
        if (took := time.perf_counter() - begun) >= seconds:
            return done / took
        steps = min(2 * steps, MOST_STEPS)
