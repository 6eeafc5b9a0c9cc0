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
from expkit.config.sections.train import TrainConfig
from expkit.data.dataset import Dataset
from expkit.errors import DamagedCheckpointError, TrainingError
from expkit.metric_names import LOSS, STEPS_PER_SECOND
from expkit.training.sessions import Evaluator, Executor
from expkit.training.signals import deferred_signals
from expkit.training.state import RollBack, StatisticArrays, TrainingState
from expkit.training.sums import add_statistics, results

__all__ = ["Progress", "Record", "Trained", "Training", "evaluate", "restore_newest"]

Record = Callable[[int, Mapping[str, float]], None]
"""Takes a step and its metrics."""


class Progress(Protocol):
    """Display of the progress of training."""

    def start(self, step: int, last: int) -> None:
        """Show that training starts after a step: 0, or that of the checkpoint from which a run is resumed.

        Args:
            step: the step.
            last: the step at which training ends.
        """

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show a step and some of its numbers."""

    def note(self, text: str) -> None:
        """Show a sentence about what was done."""

    def warn(self, text: str) -> None:
        """Show a warning."""


@dataclass(frozen=True)
class Trained:
    """The outcome of training."""

    steps_per_second: float
    """Over all steps done, without evaluation and saving; 0 without steps."""
    stopped_at: int | None
    """Step at which it stopped early."""
    roll_backs: tuple[RollBack, ...]


@dataclass(frozen=True)
class _Trouble:
    """A value that is not finite, computed in the steps after ``first`` up to ``last``."""

    message: str
    first: int
    last: int


@dataclass(kw_only=True)
class Training:
    """The training of an experiment, and its state."""

    config: Config
    dataset: Dataset
    executor: Executor
    """Its variables are initialized or restored."""
    evaluator: Evaluator
    """Evaluates them on the validation split."""
    store: CheckpointStore
    meta_graph: bytes
    """Serialized inference graph, kept in every checkpoint."""
    record: Record
    """Takes metrics."""
    rolled_back: Callable[[tuple[RollBack, ...]], None]
    """Takes all roll backs so far; metrics after the step to which the last one returns will be recorded again."""
    saved: Callable[[int], None]
    """Called with the step of every checkpoint, while the executor has its values."""
    progress: Progress
    state: TrainingState
    """State that training starts with: the checkpoint's, if the run is resumed."""

    def run(self) -> Trained:
        """Train from the executor's step to ``train.steps``, or until training stops early; the last step is saved.

        Checkpoints are written while training continues; however it ends, the one being written is completed. Ctrl-C
        and SIGTERM are raised after the session call in progress, once the step that it reached is saved; a second one
        at once.

        Raises:
            TrainingError: the loss or a trained variable is no longer finite, and training may not roll back.
            CheckpointError: a checkpoint could not be written; it is raised at the next boundary, or at the end.
        """
        train, first = self.config.train, self.executor.step
        seconds, steps = 0.0, 0
        self._set_rate()
        with deferred_signals() as interrupted, CheckpointWriter(self.store) as writer:
            if self.store.latest() is None and (first >= train.last_step or train.on_nan.action == "roll_back"):
                self._save(writer, first, {})
            trouble = _not_finite(self.store.latest())
            while True:
                if trouble is None:
                    begun = self.executor.step
                    trouble, spent = self._train(writer, interrupted)
                    steps, seconds = steps + self.executor.step - begun, seconds + spent
                    writer.wait()
                    trouble = trouble or _not_finite(self.store.latest())
                if trouble is None:
                    break
                self._roll_back(trouble)
                trouble = None
        stopped_at = self.executor.step if self.state.stopped else None
        return Trained(steps / seconds if seconds else 0.0, stopped_at, self.state.roll_backs)

    def _train(self, writer: CheckpointWriter, interrupted: Callable[[], bool]) -> tuple[_Trouble | None, float]:
        """Run steps to the end, an interruption or a value that is not finite.

        Returns:
            The trouble, and the seconds that steps took.
        """
        train, state = self.config.train, self.state
        step = logged = self.executor.step
        spent = since_log = 0.0
        while step < train.last_step and not state.stopped:
            target = min(train.last_step, *(_after(step, every) for every in _boundaries(self.config)))
            begun = time.perf_counter()
            add_statistics(state.window, self.executor.run(target - step, interrupted))
            took = time.perf_counter() - begun
            spent, since_log = spent + took, since_log + took
            begun_at, step = step, self.executor.step
            if (trouble := _trouble(state.window, begun_at, step)) is not None:
                return trouble, spent
            writer.check()
            evaluated = self._evaluate(step)
            last = step == train.last_step or state.stopped
            metrics: dict[str, float] = {}
            if last or step % train.log_every_steps == 0:
                rates = self.executor.learning_rates | {STEPS_PER_SECOND: (step - logged) / since_log}
                trained = results(self.config, state.window) | rates
                metrics |= {f"train/{name}": value for name, value in trained.items()}
                state.window.clear()
                logged, since_log = step, 0.0
            metrics |= evaluated
            if metrics:
                self.record(step, metrics)
                self.progress.advance(step, metrics)
            due, ends = last or any(step % every == 0 for every in _saves(self.config)), interrupted()
            if due or (ends and train.on_nan.action != "roll_back"):  # Else where a roll back ends would depend on it.
                if (trouble := _not_finite(writer.wait())) is not None:
                    return trouble, spent
                self._save(writer, step, metrics if due else {})  # With metrics it might become the best.
            if ends:
                break
        return None, spent

    def _evaluate(self, step: int) -> dict[str, float]:
        """Return the metrics of the validation split where they are due, and stop early if they no longer improve.

        The last step is evaluated, but counts only at a multiple: so a run may be resumed with more steps.
        """
        train, due = self.config.train, step % self.config.train.evaluate_every_steps == 0
        if "valid" not in self.dataset.splits or not (due or step == train.last_step):
            return {}
        metrics = evaluate(self.executor, self.evaluator, self.dataset, "valid")
        stopping = train.early_stopping
        if due and stopping.metric is not None:
            mode = train.mode_of(stopping.metric, stopping.mode)
            self.state.waiting = self.state.waiting.after(metrics[stopping.metric], mode, stopping.min_delta)
            self.state.stopped = self.state.waiting.evaluations >= stopping.patience
        return metrics

    def _save(self, writer: CheckpointWriter, step: int, metrics: Mapping[str, float]) -> None:
        writer.wait()  # One snapshot at a time takes memory.
        writer.save(self.executor.snapshot(), self.meta_graph, step, metrics, self.state.plain())
        self.saved(step)

    def _roll_back(self, trouble: _Trouble) -> None:
        """Return to the last good checkpoint with a lower learning rate.

        Raises:
            TrainingError: training may not roll back, or not again, or there is no good checkpoint.
        """
        on_nan, earlier = self.config.train.on_nan, self.state.roll_backs
        allowed = on_nan.action == "roll_back" and len(earlier) < on_nan.max_times
        good = restore_newest(self.store, self.executor, good=True) if allowed else None
        if good is None:
            raise TrainingError.at("train", _failure(trouble, earlier, self.config.train, allowed))
        self.state = TrainingState.of(good.state)
        if len(self.state.roll_backs) <= len(earlier):  # Else it was saved after a roll back past the newest one.
            roll_back = RollBack(trouble.first, trouble.last, good.step)
            self.state = replace(self.state, roll_backs=(*earlier, roll_back))
        self._set_rate()
        self.rolled_back(self.state.roll_backs)

    def _set_rate(self) -> None:
        self.executor.rate_factor = self.config.train.on_nan.factor ** len(self.state.roll_backs)


def evaluate(executor: Executor, evaluator: Evaluator, dataset: Dataset, split: str) -> dict[str, float]:
    """Return metrics of a split, raw and EMA, for the current values of the executor's variables."""
    evaluator.load(executor.values(evaluator.names))
    evaluated = evaluator.evaluate(dataset.splits[split], executor.step)
    return {f"{split}/{name}": value for name, value in evaluated.items()}


def restore_newest(store: CheckpointStore, executor: Executor, *, good: bool = False) -> Checkpoint | None:
    """Load the newest intact checkpoint, or the newest ``good`` one; return it, or ``None`` if there is none.

    Raises:
        CheckpointError: all are damaged, or the newest is of another network.
    """
    while (newest := store.latest_good() if good else store.latest()) is not None:
        try:
            executor.restore(str(newest.prefix))
            return newest
        except DamagedCheckpointError as error:
            store.skip(newest, error.problems[0].message)
    return None


def _saves(config: Config) -> tuple[int, ...]:
    train = config.train
    return (train.save_every_steps, *([train.keep_every_steps] if train.keep_every_steps is not None else []))


def _boundaries(config: Config) -> tuple[int, ...]:
    train = config.train
    return (train.log_every_steps, train.evaluate_every_steps, *_saves(config))


def _after(step: int, every: int) -> int:
    return (step // every + 1) * every


def _trouble(window: StatisticArrays, first: int, last: int) -> _Trouble | None:
    total = float(window[LOSS]["sum"])
    return None if math.isfinite(total) else _Trouble(f"the loss became {total}", first, last)


def _not_finite(saved: Checkpoint | None) -> _Trouble | None:
    """Return the trouble of a checkpoint: a slot or an EMA may overflow while the loss stays finite."""
    if saved is None or saved.finite:
        return None
    return _Trouble("a value that training changes was not finite", saved.step, saved.step)


def _failure(trouble: _Trouble, earlier: tuple[RollBack, ...], train: TrainConfig, allowed: bool) -> str:
    """Return the message of a training that ends because a value is not finite."""
    if trouble.first < trouble.last:
        where = f"between steps {trouble.first} and {trouble.last}"
    else:
        where = f"at step {trouble.last}"
    rolled_back = ""
    if earlier:
        steps, count = ", ".join(map(str, earlier)), len(earlier)
        times = "once" if count == 1 else f"{count} times"
        rate = f"{train.on_nan.factor**count:g} of the learning rate"
        rolled_back = f" after training rolled back {times} (steps {steps}) to {rate}"
    missing = "; no checkpoint is good to roll back to" if allowed else ""
    way_out = "lower optimizer.learning_rate, or set optimizer.global_clipnorm"
    if train.phases:
        way_out = "lower the learning_rate of a phase's optimizer, or set its global_clipnorm"
    return f"{trouble.message} {where}{rolled_back}{missing}; {way_out}; checkpoints up to there are kept"
