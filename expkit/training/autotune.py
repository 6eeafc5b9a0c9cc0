"""The choice of the execution mode, by measuring steps of the real network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from expkit.config.schema import Config
from expkit.config.sections.train import JitCompile
from expkit.data.dataset import Dataset
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.training.execution import Execution, ExecutionChoice
from expkit.training.graphs import train_graph
from expkit.training.measurements import Measurements, measured_for
from expkit.training.policy import slow_with_xla, suits_shards
from expkit.training.pool import GraphPool
from expkit.training.sessions import Executor

__all__ = ["choose"]

MAX_STEPS = 100
"""``steps_per_execution: auto``; the executor does fewer in a call when they are slow."""
MAX_SECONDS = 5.0
MAX_FRACTION = 0.05
"""Limits of the time to measure: seconds, and the fraction of the run."""
MIN_SECONDS = 2.0
"""Time that compiling and timing needs; a run whose limit is lower is not measured."""
MAX_CANDIDATES = 4
"""Execution modes that are timed: up to three of ``jit_compile``, and one more of ``parallelism``."""
MAX_COMPILED_OPERATIONS = 2000
"""Operations of a step above which XLA would take longer to compile it than measuring may."""


def choose(
    checked: CheckedConfig,
    dataset: Dataset,
    before: ExecutionChoice | None = None,
    *,
    runs: int = 1,
    pool: GraphPool | None = None,
) -> tuple[ExecutionChoice, Executor]:
    """Return the execution mode that the configuration requests, and an open executor that runs steps in it.

    A resumed run keeps its mode, because XLA rounds differently. Else, with ``jit_compile`` or ``parallelism`` ``auto``
    it is the mode that an earlier run in the same folder of runs measured for such a graph, batch and processor. Where
    there is none, modes are timed now, for at most 5 s or 5 % of all steps together, and the fastest is kept for later
    runs; of several processes that begin at once one measures and the others wait. Too few steps for that are not
    compiled, and have the parallelism that suits the layers.

    The mode has the steps per execution in use: a block of batches may hold fewer than were requested.

    The executor's variables are not initialized: timing may have changed them.

    Args:
        checked: configuration.
        dataset: data.
        before: choice of the run that is resumed.
        runs: number of runs of the sweep, all of which may use what is measured.
        pool: graphs with sessions that they share.
    """

    def opened(execution: Execution, reason: str) -> tuple[ExecutionChoice, Executor]:
        if pool is not None:
            executor = pool.executor(checked, dataset, execution)
        else:
            executor = Executor(train_graph(checked, dataset, execution))
        return ExecutionChoice(executor.execution, reason), executor

    if before is not None:
        return opened(before.execution, before.reason)
    train, unmeasured = checked.config.train, _unmeasured(checked.config, checked.spec.trained)
    if "auto" not in (train.jit_compile, train.parallelism):
        return opened(unmeasured, "as configured")
    measurements, key = Measurements(Path(checked.config.run.folder)), measured_for(checked, dataset)
    if (found := measurements.find(key)) is not None:
        return opened(found.execution, found.reason)
    with ExitStack() as unless_taken:
        choice, executor = opened(unmeasured, "a short run")
        unless_taken.enter_context(executor)
        steps = train.last_step * runs
        budget = _budget(executor, steps) if steps >= MAX_STEPS and checked.spec.trained.trainable else 0.0
        if not budget:
            unless_taken.pop_all()
            return choice, executor
    with measurements.alone():
        if (found := measurements.find(key)) is not None:
            return opened(found.execution, found.reason)
        choice, executor = opened(*_fastest(checked, dataset, unmeasured, budget))
        measurements.keep(key, choice)
    return choice, executor


def _fastest(checked: CheckedConfig, dataset: Dataset, unmeasured: Execution, budget: float) -> tuple[Execution, str]:
    """Return the fastest execution mode and its measured speed beside that of the others.

    Each is timed in its own session: first those of ``jit_compile``, then with the fastest of them those of
    ``parallelism``. Whole steps are not compiled where that cannot pay on a CPU.
    """
    train, speeds = checked.config.train, dict[Execution, float]()
    compiled: tuple[JitCompile, ...] = (unmeasured.jit_compile,)
    why_not = ""
    if train.jit_compile == "auto":
        whole, why_not = _whole_step_may_pay(checked, dataset)
        compiled = (False, "update", True) if whole else (False, "update")

    def fastest(candidates: Sequence[Execution]) -> Execution:
        for candidate in candidates:
            if candidate not in speeds:
                with Executor(train_graph(checked, dataset, candidate)) as executor:
                    speeds[candidate] = _steps_per_second(executor, seconds=budget / (2 * MAX_CANDIDATES))
        return max(candidates, key=lambda candidate: speeds[candidate])

    best = fastest([replace(unmeasured, jit_compile=jit_compile) for jit_compile in compiled])
    if train.parallelism == "auto":
        best = fastest([replace(best, parallelism="intra_op"), replace(best, parallelism="inter_op")])
    measured = ", ".join(f"{speed:,.0f} {_named(candidate)}" for candidate, speed in speeds.items())
    return best, f"measured steps/s: {measured}{why_not}"


def _named(execution: Execution) -> str:
    """Return the words that distinguish an execution mode from the others that are timed."""
    compiled = {False: "not compiled", "update": "with updates compiled by XLA", True: "compiled by XLA"}
    return compiled[execution.jit_compile] + (" (inter_op)" if execution.parallelism == "inter_op" else "")


def _unmeasured(config: Config, spec: NetworkSpec) -> Execution:
    """Return the requested execution mode; ``auto`` becomes the value for a run that is not measured.

    That is one batch shard per core if sharding suits the layers, and the batch has a shard for each core.
    """
    train = config.train
    steps = MAX_STEPS if train.steps_per_execution == "auto" else train.steps_per_execution
    jit_compile = train.jit_compile if train.jit_compile != "auto" else False
    execution = Execution(steps, jit_compile=jit_compile, precision=train.precision)
    if train.parallelism != "auto":
        return replace(execution, parallelism=train.parallelism)
    sharded = replace(execution, parallelism="inter_op")
    return sharded if suits_shards(spec, sharded.shards(train.batch_size)) else execution


def _budget(executor: Executor, steps: int) -> float:
    """Return the seconds that a run of ``steps`` steps may spend on measuring; 0 if they are too few."""
    budget = 0.0
    for seconds in (0.0, 0.1):  # A single step shows of most short runs that they are short.
        budget = min(MAX_SECONDS, MAX_FRACTION * steps / _steps_per_second(executor, seconds=seconds))
        if budget < MIN_SECONDS:
            return 0.0
    return budget


def _whole_step_may_pay(checked: CheckedConfig, dataset: Dataset) -> tuple[bool, str]:
    """Return whether to time XLA on whole steps, and why not."""
    if checked.config.train.precision == "bfloat16":
        return False, "; XLA on a CPU does not speed up bfloat16"
    if slower := slow_with_xla(checked.spec.trained):
        return False, f"; XLA on a CPU is slower for {', '.join(slower)}"
    graph = train_graph(checked, dataset, Execution(jit_compile=True)).graph.as_graph_def()
    size = len(graph.node) + sum(len(function.node_def) for function in graph.library.function)
    if size > MAX_COMPILED_OPERATIONS:
        return False, f"; XLA takes too long over {size:,} operations"
    return True, ""


def _steps_per_second(executor: Executor, *, seconds: float) -> float:
    """Return the speed of steps after the first, measured on one of them or more."""
    executor.initialize()
    executor.run(1)
    done, steps, begun = 0, 1, time.perf_counter()
    while True:
        executor.run(steps)
        done += steps
        if (elapsed := time.perf_counter() - begun) >= seconds:
            return done / elapsed
        steps = min(2 * steps, MAX_STEPS)
