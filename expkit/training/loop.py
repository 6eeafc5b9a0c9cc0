"""The training loop: steps between boundaries; at boundaries it logs, evaluates and saves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from expkit.checkpoints.store import CheckpointStore
from expkit.checkpoints.writer import CheckpointWriter
from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import TrainingError
from expkit.training.executor import Evaluator, Executor, SumArrays, add_sums, results

__all__ = ["Progress", "Record", "train"]

Record = Callable[[int, Mapping[str, float]], None]
"""Takes a step and its metrics."""


class Progress(Protocol):
    """Shows how far training is."""

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show a step and some of its numbers."""


def train(
    config: Config,
    dataset: Dataset,
    executor: Executor,
    evaluator: Evaluator,
    store: CheckpointStore,
    meta_graph: bytes,
    record: Record,
    progress: Progress,
    window: SumArrays,
) -> float:
    """Train from the executor's step to ``train.steps``; the last step is saved.

    Checkpoints are written while training goes on; whichever way this ends, the one under way is complete.

    Args:
        config: the experiment.
        dataset: its data.
        executor: has the variables, initialized or restored.
        evaluator: judges them on the validation part.
        store: takes the checkpoints.
        meta_graph: serialized inference graph, kept in every checkpoint.
        record: takes metrics.
        progress: shows them.
        window: statistics since the last logged step, from the checkpoint that is continued.

    Returns:
        Steps per second over the whole of this call, evaluation and saving not counted; 0 without steps.

    Raises:
        TrainingError: the loss is no longer finite.
        CheckpointError: a checkpoint could not be written; it is raised at the next boundary, or at the end.
    """
    with CheckpointWriter(store) as writer:
        return _train(config, dataset, executor, evaluator, store, writer, meta_graph, record, progress, window)


def _train(
    config: Config,
    dataset: Dataset,
    executor: Executor,
    evaluator: Evaluator,
    store: CheckpointStore,
    writer: CheckpointWriter,
    meta_graph: bytes,
    record: Record,
    progress: Progress,
    window: SumArrays,
) -> float:
    clock = config.train
    step = first = executor.step
    spent = since_log = 0.0
    logged = step
    while step < clock.steps:
        target = min(_after(step, every) for every in _boundaries(config))
        target = min(target, clock.steps)
        begun = time.perf_counter()
        add_sums(window, executor.run(target - step))
        took = time.perf_counter() - begun
        spent, since_log = spent + took, since_log + took
        _check_finite(window, step, target)
        writer.check()
        step, last = target, target == clock.steps
        metrics: dict[str, float] = {}
        if last or step % clock.log_every_steps == 0:
            train_metrics = {f"train/{name}": value for name, value in results(config, window).items()}
            rates = {
                "train/learning_rate": executor.learning_rate,
                "train/steps_per_second": (step - logged) / since_log,
            }
            window.clear()
            logged, since_log = step, 0.0
            metrics |= train_metrics | rates
        if "valid" in dataset.parts and (last or step % clock.evaluate_every_steps == 0):
            metrics |= evaluate(executor, evaluator, dataset, "valid")
        if metrics:
            record(step, metrics)
            progress.advance(step, metrics)
        if last or step % clock.save_every_steps == 0:
            writer.save(executor.values(executor.names), meta_graph, step, metrics, _plain(window))
    if step == first and store.latest() is None:
        writer.save(executor.values(executor.names), meta_graph, step, {}, {})
    return (step - first) / spent if spent else 0.0


def evaluate(executor: Executor, evaluator: Evaluator, dataset: Dataset, part: str) -> dict[str, float]:
    """Return metrics of a part of the data, raw and averaged, for the executor's variables as they are now."""
    evaluator.load(executor.values(evaluator.names))
    return {f"{part}/{name}": value for name, value in evaluator.evaluate(dataset.parts[part]).items()}


def _boundaries(config: Config) -> tuple[int, ...]:
    clock = config.train
    return clock.log_every_steps, clock.evaluate_every_steps, clock.save_every_steps


def _after(step: int, every: int) -> int:
    return (step // every + 1) * every


def _check_finite(window: SumArrays, first: int, last: int) -> None:
    total = float(window["loss"]["sum"])
    if not math.isfinite(total):
        raise TrainingError.at(
            "train",
            f"the loss became {total} between steps {first} and {last}; lower optimizer.learning_rate, or set "
            "optimizer.global_clipnorm; checkpoints up to there are kept",
        )


def _plain(window: SumArrays) -> dict[str, Any]:
    return {name: {key: np.asarray(v).tolist() for key, v in sums.items()} for name, sums in window.items()}
