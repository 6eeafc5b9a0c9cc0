"""Early stopping, and rolling back where something is not finite: both exact when a run is killed and goes on."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.checkpoints.record import write_record
from expkit.checkpoints.writer import write_values
from expkit.config.schema import Config
from expkit.config.sections.train import JitCompile
from expkit.errors import ConfigError, TrainingError
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from expkit.training.state import RollBack, TrainingState, Waiting
from support.experiments import CNN, assert_same, checkpoint_values, config_of, examples, loaded, run
from support.trainings import Trained, interrupt_call, train

TIMED = "train/steps_per_second"


@pytest.mark.parametrize(
    ("mode", "min_delta", "values", "waited"),
    [
        ("min", 0.0, [3, 2, 2, 1, 5], [0, 0, 1, 0, 1]),
        ("max", 0.0, [3, 2, 4, 4, math.nan], [0, 1, 0, 1, 2]),
        ("min", 0.5, [3, 2.6, 2.4, 2, 1.8], [0, 1, 0, 1, 0]),
        ("max", 1.0, [math.nan, 1, 2, 2.1], [1, 0, 1, 0]),
    ],
)
def test_only_what_is_better_by_more_than_min_delta_counts(
    mode: Any, min_delta: float, values: list[float], waited: list[int]
) -> None:
    state, seen = Waiting(), []
    for value in values:
        state = state.after(value, mode, min_delta)
        seen.append(state.evaluations)
    assert seen == waited


def test_the_training_state_is_restored_from_a_checkpoint() -> None:
    sums = {"loss": {"sum": np.float64(0.1 + 0.2), "count": np.float64(3)}}
    state = TrainingState(window=sums, waiting=Waiting(0.1, 2), stopped=True, roll_backs=(RollBack(10, 20, 5),))
    again = TrainingState.of(json.loads(json.dumps(state.plain())))
    assert (again.waiting, again.stopped, again.roll_backs) == (state.waiting, state.stopped, state.roll_backs)
    assert again.window == {name: dict(parts) for name, parts in sums.items()}
    assert TrainingState.of({}) == TrainingState()


def untimed(done: Trained) -> list[tuple[int, dict[str, float]]]:
    return [(step, {name: v for name, v in values.items() if name != TIMED}) for step, values in done.records]


def stopping(folder: Path, **changed: Any) -> Config:
    """Return an experiment whose validation loss soon gets worse."""
    return config_of(
        folder,
        optimizer={"kind": "adam", "learning_rate": 0.5},
        train={
            "steps": 100,
            "log_every_steps": 4,
            "evaluate_every_steps": 2,
            "save_every_steps": 3,
            "keep_last": 99,
            "early_stopping": {"metric": "valid/loss/ema", "patience": 3},
            **changed,
        },
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("stopped")
    return train(stopping(folder), folder / "checkpoints")


def test_training_stops_after_as_many_evaluations_without_a_better_value_and_saves_the_step(stopped: Trained) -> None:
    judged = {step: values["valid/loss/ema"] for step, values in stopped.records if "valid/loss/ema" in values}
    best = min(judged, key=lambda step: judged[step])
    assert stopped.trained.stopped_at == best + 3 * 2 == max(judged) < 100
    last = stopped.store.latest()
    assert last is not None
    assert (last.step, last.state["stopped"]) == (best + 6, True)
    assert "train/loss" in stopped.records[-1][1], "the last step is logged as any last step is"


@pytest.mark.parametrize("back", [1, 2, 3])
def test_a_resumed_run_stops_at_the_same_step(stopped: Trained, tmp_path: Path, back: int) -> None:
    config = stopping(tmp_path)
    done = train(config, tmp_path / "checkpoints")
    for checkpoint in done.store.all()[-back:]:
        shutil.rmtree(checkpoint.prefix.parent)
    again = train(config, tmp_path / "checkpoints")
    assert again.trained.stopped_at == stopped.trained.stopped_at
    assert_same(stopped.values, again.values)
    assert untimed(again) == [item for item in untimed(stopped) if item[0] > again.records[0][0] - 1]


def test_a_stopped_run_trains_no_more_even_with_more_steps(stopped: Trained, tmp_path: Path) -> None:
    train(stopping(tmp_path), tmp_path / "checkpoints")
    again = train(stopping(tmp_path, steps=200), tmp_path / "checkpoints")
    assert (again.records, again.trained.stopped_at) == ([], stopped.trained.stopped_at)


def test_a_last_step_that_is_no_multiple_does_not_count_so_that_more_steps_may_follow(
    stopped: Trained, tmp_path: Path
) -> None:
    assert stopped.trained.stopped_at is not None
    train(stopping(tmp_path, steps=stopped.trained.stopped_at - 3), tmp_path / "checkpoints")
    again = train(stopping(tmp_path), tmp_path / "checkpoints")
    assert again.trained.stopped_at == stopped.trained.stopped_at
    assert_same(stopped.values, again.values)


def test_an_unknown_metric_of_early_stopping_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(stopping(tmp_path, early_stopping={"metric": "valid/los"}))
    assert str(caught.value) == (
        "train.early_stopping.metric: no metric 'valid/los'; did you mean 'valid/loss'? allowed: valid/loss, "
        "valid/loss/ema, valid/accuracy, valid/accuracy/ema"
    )


def exploding(folder: Path, data: bool = True, **on_nan: Any) -> Config:
    """Return an experiment whose rate becomes absurd after step 6; each roll back makes it 10,000 times lower."""
    rate = {"kind": "piecewise", "boundaries": [6], "values": [0.01, 1e9]}
    arrays = {**examples((4,)), "target": examples((4,))["x"][:, :3]}
    return config_of(
        folder,
        arrays,
        optimizer={"kind": "sgd", "learning_rate": rate},
        train={
            "steps": 60,
            "log_every_steps": 7,
            "evaluate_every_steps": 10,
            "save_every_steps": 4,
            "keep_last": 2,
            "losses": {"main": {"kind": "mean_squared_error", "labels": "target"}},
            "metrics": {},
            "on_nan": {"action": "roll_back", "factor": 0.0001, "max_times": 4, **on_nan},
        },
    )


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("rolled_back")
    return train(exploding(folder), folder / "checkpoints")


def test_training_rolls_back_to_the_last_good_checkpoint_with_a_lower_rate(rolled_back: Trained) -> None:
    backs = rolled_back.trained.roll_backs
    assert len(backs) > 1
    assert all(back.back_to <= back.first < back.last for back in backs)
    assert {back.back_to for back in backs} <= {0, 4, 8, 12, 16}
    rates = [values["train/learning_rate"] for _, values in rolled_back.records if "train/learning_rate" in values]
    np.testing.assert_allclose(rates[-1], 1e9 * 0.0001 ** len(backs), rtol=1e-5)
    assert all(np.isfinite(value).all() for value in rolled_back.values.values())
    last = rolled_back.store.latest()
    assert last is not None
    assert (last.step, last.finite, len(last.state["roll_backs"])) == (60, True, len(backs))


class Interrupting:
    """A progress that ends training when it was shown something so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def start(self, step: int, last: int) -> None:
        """Show nothing."""

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Count."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_rolled_back_run_that_is_interrupted_again_and_again_equals_the_unbroken_one(
    rolled_back: Trained, tmp_path: Path
) -> None:
    config, interrupted = exploding(tmp_path), 0
    while True:
        try:
            again = train(config, tmp_path / "checkpoints", Interrupting(interrupted + 1))
            break
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted > 3
    assert again.trained.roll_backs == rolled_back.trained.roll_backs
    assert_same(rolled_back.values, again.values)


@pytest.mark.parametrize("call", [2, 5, 9, 14, 20])
def test_a_run_interrupted_before_it_rolls_back_goes_back_to_the_step_of_the_unbroken_one(
    call: int, rolled_back: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_call(monkeypatch, call)
    with pytest.raises(KeyboardInterrupt):
        train(exploding(tmp_path), tmp_path / "checkpoints")
    again = train(exploding(tmp_path), tmp_path / "checkpoints")
    assert again.trained.roll_backs == rolled_back.trained.roll_backs
    assert_same(rolled_back.values, again.values)


def test_a_killed_run_that_finds_a_checkpoint_from_before_its_roll_backs_resumes_with_the_lowered_rate(
    rolled_back: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        train(exploding(tmp_path), folder, Interrupting(len(rolled_back.records) - len(rolled_back.trained.roll_backs)))
    newest = max(folder.glob("step-*"))
    values = {name: value * np.float32(np.nan) for name, value in checkpoint_values(newest / "model").items()}
    left_behind = shutil.copytree(newest, folder / "step-00000060", ignore=shutil.ignore_patterns("*.json", "*.data*"))
    write_values(str(left_behind / "model"), {**values, "global_step": np.int64(60)})
    write_record(left_behind, {"step": 60, "finite": False, "metrics": {}, "state": TrainingState().plain()})
    again = train(exploding(tmp_path), folder)
    assert again.trained.roll_backs == rolled_back.trained.roll_backs
    assert len(again.trained.roll_backs) > 1
    assert_same(rolled_back.values, again.values)


def test_after_as_many_roll_backs_as_allowed_training_fails_with_the_steps(
    rolled_back: Trained, tmp_path: Path
) -> None:
    config = exploding(tmp_path, max_times=1)
    with pytest.raises(TrainingError) as caught:
        train(config, tmp_path / "checkpoints")
    first, second = rolled_back.trained.roll_backs[:2]
    said = str(caught.value)
    assert said.startswith("train: ")
    assert f"between steps {second.first} and {second.last}" in said or f"at step {second.last}" in said
    assert f" after training rolled back once (steps {first}) to 0.0001 of the learning rate; lower " in said


def test_a_value_that_is_not_finite_after_the_last_step_fails_though_its_loss_was(tmp_path: Path) -> None:
    rate = {"kind": "piecewise", "boundaries": [2], "values": [0.0, 1e38]}
    arrays = {**examples((4,)), "target": 1000 * examples((4,))["x"][:, :3]}
    losses = {"main": {"kind": "mean_squared_error", "labels": "target"}}
    clock = {"steps": 4, "save_every_steps": 2, "losses": losses, "metrics": {}}
    config = config_of(tmp_path, arrays, optimizer={"kind": "sgd", "learning_rate": rate}, train=clock)
    with pytest.raises(TrainingError) as caught:
        train(config, tmp_path / "checkpoints")
    assert str(caught.value) == (
        "train: a value that training changes was not finite at step 4; lower optimizer.learning_rate, or set "
        "optimizer.global_clipnorm; checkpoints up to there are kept"
    )


def test_a_slot_that_overflows_while_the_loss_is_finite_is_found_at_the_next_save_and_when_resuming(
    tmp_path: Path,
) -> None:
    losses = {"main": {"kind": "sparse_softmax_cross_entropy", "weight": 1e25}}
    clock = {"steps": 100, "log_every_steps": 1, "save_every_steps": 2, "losses": losses}
    config = config_of(tmp_path, optimizer={"kind": "adagrad", "learning_rate": 0.01}, train=clock)
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"a value that training changes was not finite at step 2; lower"):
            train(config, tmp_path / "checkpoints")
        assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000002"]


@pytest.mark.parametrize("compiled", [False, "update", True])
def test_the_factor_reaches_the_step_however_it_is_compiled(tmp_path: Path, compiled: JitCompile) -> None:
    rates: dict[str, Any] = {"plain": 0.005, "factor": 0.01}
    seen = []
    for name, rate in rates.items():
        config = config_of(
            tmp_path / name,
            network=CNN,
            optimizer={"kind": "adamw", "learning_rate": rate, "weight_decay": 0.1},
            train={"on_nan": {"action": "roll_back" if name == "factor" else "stop"}},
        )
        with Executor(train_graph(*loaded(config), Execution(2, jit_compile=compiled))) as executor:
            executor.initialize()
            executor.rate_factor = 0.5
            executor.run(4)
            assert executor.learning_rates == pytest.approx({"learning_rate": 0.005})
            seen.append(executor.values(executor.names))
    assert_same(*seen)


class Recorded:
    """A tracker that keeps its records."""

    link = "here"

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}

    def tags(self, values: Any) -> None:
        self.facts |= values

    def __getattr__(self, name: str) -> Any:
        return lambda *values: None


def test_roll_backs_and_an_early_stop_are_recorded_by_the_tracker_and_metrics_are_logged_once(tmp_path: Path) -> None:
    config = exploding(tmp_path)
    folder, tracker = RunFolder.create(tmp_path / "run", config, []), Recorded()
    result = run(config, folder.path, tracker)
    backs = result.trained.roll_backs
    assert tracker.facts["rollbacks"] == str(len(backs))
    assert tracker.facts["rollbacks.steps"] == ", ".join(f"{back.first} to {back.last}" for back in backs)
    assert folder.state()["rollbacks"] == str(len(backs))
    steps = [line["step"] for line in folder.metrics()][:-1]
    assert steps == sorted(set(steps))
    early = stopping(tmp_path / "early")
    result = run(early, tmp_path / "early/run", tracker)
    assert tracker.facts["stopped.step"] == str(result.trained.stopped_at)
