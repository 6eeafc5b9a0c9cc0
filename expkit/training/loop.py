"""The training loop: steps between boundaries; at boundaries it logs, evaluates and saves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.checkpoints.writer import CheckpointWriter
from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import DamagedCheckpointError, TrainingError
from expkit.training.sessions import Evaluator, Executor, add_sums, results
from expkit.training.state import RollBack, SumArrays, TrainingState

__all__ = ["Progress", "Record", "Trained", "Training", "evaluate", "restore_newest"]

Record = Callable[[int, Mapping[str, float]], None]
"""Takes a step and its metrics."""


class Progress(Protocol):
    """Shows how far training is."""

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show a step and some of its numbers."""


@dataclass(frozen=True)
class Trained:
    """How training went."""

    steps_per_second: float
    """Over all steps done, evaluation and saving not counted; 0 without steps."""
    stopped_at: int | None
    """Step at which it stopped early."""
    roll_backs: tuple[RollBack, ...]


@dataclass(frozen=True)
class _Trouble:
    """Something is not finite: what, and in the steps after ``first`` up to ``last``."""

    what: str
    first: int
    last: int


@dataclass
class Training:
    """What trains: the parts of an experiment that steps need, and what is remembered from one to the next."""

    config: Config
    dataset: Dataset
    executor: Executor
    """Has the variables, initialized or restored."""
    evaluator: Evaluator
    """Judges them on the validation part."""
    store: CheckpointStore
    meta_graph: bytes
    """Serialized inference graph, kept in every checkpoint."""
    record: Record
    """Takes metrics."""
    rolled_back: Callable[[tuple[RollBack, ...]], None]
    """Takes all roll backs so far; metrics after the step that the last one goes back to will be recorded again."""
    progress: Progress
    state: TrainingState
    """Of the checkpoint that is continued."""

    def run(self) -> Trained:
        """Train from the executor's step to ``train.steps``, or until it stops early; the last step is saved.

        Checkpoints are written while training goes on; whichever way this ends, the one under way is complete.

        Raises:
            TrainingError: the loss or a trained variable is no longer finite, and training may not roll back.
            CheckpointError: a checkpoint could not be written; it is raised at the next boundary, or at the end.
        """
        clock, first = self.config.train, self.executor.step
        seconds, steps = 0.0, 0
        self._set_rate()
        with CheckpointWriter(self.store) as writer:
            if self.store.latest() is None and (first >= clock.steps or clock.on_nan.action == "roll_back"):
                self._save(writer, first, {})
            trouble = _not_finite(self.store.latest())
            while True:
                if trouble is None:
                    begun = self.executor.step
                    trouble, spent = self._train(writer)
                    steps, seconds = steps + self.executor.step - begun, seconds + spent
                    writer.wait()
                    trouble = trouble or _not_finite(self.store.latest())
                if trouble is None:
                    break
                self._roll_back(trouble)
                trouble = None
        stopped_at = self.executor.step if self.state.stopped else None
        return Trained(steps / seconds if seconds else 0.0, stopped_at, self.state.roll_backs)

    def _train(self, writer: CheckpointWriter) -> tuple[_Trouble | None, float]:
        """Do steps to the end or up to something that is not finite; return that, and the seconds that steps took."""
        clock, state = self.config.train, self.state
        step = logged = self.executor.step
        spent = since_log = 0.0
        while step < clock.steps and not state.stopped:
            target = min(clock.steps, *(_after(step, every) for every in _boundaries(self.config)))
            begun = time.perf_counter()
            add_sums(state.window, self.executor.run(target - step))
            took = time.perf_counter() - begun
            spent, since_log = spent + took, since_log + took
            if (trouble := _trouble(state.window, step, target)) is not None:
                return trouble, spent
            writer.check()
            step = target
            judged = self._evaluate(step)
            last = step == clock.steps or state.stopped
            metrics: dict[str, float] = {}
            if last or step % clock.log_every_steps == 0:
                metrics |= {f"train/{name}": value for name, value in results(self.config, state.window).items()}
                metrics["train/learning_rate"] = self.executor.learning_rate
                metrics["train/steps_per_second"] = (step - logged) / since_log
                state.window.clear()
                logged, since_log = step, 0.0
            metrics |= judged
            if metrics:
                self.record(step, metrics)
                self.progress.advance(step, metrics)
            if last or any(step % every == 0 for every in _saves(self.config)):
                if (trouble := _not_finite(writer.wait())) is not None:
                    return trouble, spent
                self._save(writer, step, metrics)
        return None, spent

    def _evaluate(self, step: int) -> dict[str, float]:
        """Return the metrics of the validation part where they are due, and stop early where they no longer improve.

        The last step is evaluated, but counts only at a multiple: so more steps may be asked for later.
        """
        clock, due = self.config.train, step % self.config.train.evaluate_every_steps == 0
        if "valid" not in self.dataset.parts or not (due or step == clock.steps):
            return {}
        metrics = evaluate(self.executor, self.evaluator, self.dataset, "valid")
        asked = clock.early_stopping
        if due and asked.metric is not None:
            self.state.waiting = self.state.waiting.after(metrics[asked.metric], asked)
            self.state.stopped = self.state.waiting.evaluations >= asked.patience
        return metrics

    def _save(self, writer: CheckpointWriter, step: int, metrics: Mapping[str, float]) -> None:
        writer.wait()  # One snapshot at a time takes memory.
        writer.save(self.executor.snapshot(), self.meta_graph, step, metrics, self.state.plain())

    def _roll_back(self, trouble: _Trouble) -> None:
        """Go back to the last good checkpoint with a lower rate.

        Raises:
            TrainingError: that is not asked for, was done as often as it may be, or there is none.
        """
        asked, before = self.config.train.on_nan, self.state.roll_backs
        may = asked.action == "roll_back" and len(before) < asked.max_times
        good = restore_newest(self.store, self.executor, good=True) if may else None
        if good is None:
            raise TrainingError.at("train", _refusal(trouble, before, asked.factor, may))
        self.state = TrainingState.of(good.state)
        if len(self.state.roll_backs) <= len(before):  # Else it is of after a roll back that left the newest behind.
            back = RollBack(trouble.first, trouble.last, good.step)
            self.state = replace(self.state, roll_backs=(*before, back))
        self._set_rate()
        self.rolled_back(self.state.roll_backs)

    def _set_rate(self) -> None:
        self.executor.rate_factor = self.config.train.on_nan.factor ** len(self.state.roll_backs)


def evaluate(executor: Executor, evaluator: Evaluator, dataset: Dataset, part: str) -> dict[str, float]:
    """Return metrics of a part of the data, raw and averaged, for the executor's variables as they are now."""
    evaluator.load(executor.values(evaluator.names))
    return {f"{part}/{name}": value for name, value in evaluator.evaluate(dataset.parts[part]).items()}


def restore_newest(store: CheckpointStore, executor: Executor, *, good: bool = False) -> Checkpoint | None:
    """Load the newest checkpoint that is whole, or the newest ``good`` one; return it, or ``None`` where there is none.

    Raises:
        CheckpointError: there are some, but all are damaged, or it is not of this network.
    """
    while (newest := store.latest_good() if good else store.latest()) is not None:
        try:
            executor.restore(str(newest.prefix))
            return newest
        except DamagedCheckpointError as error:
            store.pass_over(newest, error.problems[0].message)
    return None


def _saves(config: Config) -> tuple[int, ...]:
    clock = config.train
    return (clock.save_every_steps, *([clock.keep_every_steps] if clock.keep_every_steps is not None else []))


def _boundaries(config: Config) -> tuple[int, ...]:
    clock = config.train
    return (clock.log_every_steps, clock.evaluate_every_steps, *_saves(config))


def _after(step: int, every: int) -> int:
    return (step // every + 1) * every


def _trouble(window: SumArrays, first: int, last: int) -> _Trouble | None:
    total = float(window["loss"]["sum"])
    return None if math.isfinite(total) else _Trouble(f"the loss became {total}", first, last)


def _not_finite(saved: Checkpoint | None) -> _Trouble | None:
    """Return what a checkpoint tells: a slot or an average may overflow while the loss stays finite."""
    if saved is None or saved.finite:
        return None
    return _Trouble("a value that training changes was not finite", saved.step, saved.step)


def _refusal(trouble: _Trouble, before: tuple[RollBack, ...], factor: float, may: bool) -> str:
    if trouble.first < trouble.last:
        where = f"between steps {trouble.first} and {trouble.last}"
    else:
        where = f"at step {trouble.last}"
    done = ""
    if before:
        steps = ", ".join(map(str, before))
        times = "once" if len(before) == 1 else f"{len(before)} times"
        done = f" after training rolled back {times} (steps {steps}) to {factor ** len(before):g} of the learning rate"
    missing = "; no checkpoint is good to roll back to" if may else ""
    return (
        f"{trouble.what} {where}{done}{missing}; lower optimizer.learning_rate, or set optimizer.global_clipnorm; "
        "checkpoints up to there are kept"
    )
