"""The loop: boundaries are hit exactly, a resumed run is the unbroken one, a loss that is not finite ends it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import CNN, Unseen, Values, assert_same, checkpoint_values, config_of, examples, loaded
from expkit.checkpoints.store import CheckpointStore
from expkit.config.load import load
from expkit.config.schema import Config
from expkit.errors import TrainingError
from expkit.training import loop
from expkit.training.executor import Evaluator, Executor
from expkit.training.graphs import evaluate_graph, infer_graph, train_graph

GOLDEN = Path(__file__).parents[1] / "golden"
CLOCK = {"steps": 11, "log_every_steps": 3, "evaluate_every_steps": 4, "save_every_steps": 5, "keep_last": 9}
TIMED = "train/steps_per_second"


@dataclass
class Trained:
    """What a call of the loop left."""

    records: list[tuple[int, dict[str, float]]]
    values: Values
    store: CheckpointStore


def train(config: Config, folder: Path) -> Trained:
    """Train in a folder, from its latest checkpoint where it has one, as ``run_experiment`` does."""
    spec, data = loaded(config)
    clock = config.train
    store = CheckpointStore(folder, keep_last=clock.keep_last, best_metric=clock.best_metric, best_mode=clock.best_mode)
    own = store.latest()
    window = {name: {k: np.asarray(v) for k, v in sums.items()} for name, sums in (own.window if own else {}).items()}
    records: list[tuple[int, dict[str, float]]] = []
    built = train_graph(config, spec, data)
    with Executor(built) as executor, Evaluator(evaluate_graph(config, spec, data), config) as evaluator:
        if own is None:
            executor.initialize()
        else:
            executor.restore(str(own.prefix))
        loop.train(
            config,
            data,
            executor,
            evaluator,
            store,
            infer_graph(spec, data.scaling).meta_graph,
            lambda step, values: records.append((step, dict(values))),
            Unseen(),
            window,
        )
        return Trained(records, executor.values(built.variables), store)


def small(folder: Path, **train: Any) -> Config:
    """Return an experiment with all that has a memory: Adam, averages, batch normalization, dropout."""
    return config_of(folder, network=CNN, optimizer={"kind": "adam", "learning_rate": 0.01}, train={**CLOCK, **train})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("unbroken")
    return train(small(folder), folder / "checkpoints")


def test_metrics_are_recorded_at_their_steps_and_at_the_last(unbroken: Trained) -> None:
    kinds = {step: {name.partition("/")[0] for name in values} for step, values in unbroken.records}
    both = {"train", "valid"}
    assert kinds == {3: {"train"}, 4: {"valid"}, 6: {"train"}, 8: {"valid"}, 9: {"train"}, 11: both}


def test_checkpoints_are_saved_at_their_steps_and_at_the_last(unbroken: Trained) -> None:
    assert [checkpoint.step for checkpoint in unbroken.store.all()] == [5, 10, 11]
    assert [int(checkpoint_values(item.prefix)["global_step"]) for item in unbroken.store.all()] == [5, 10, 11]


def test_a_checkpoint_keeps_its_steps_metrics_and_the_statistics_since_the_last_log(unbroken: Trained) -> None:
    middle, _, last = unbroken.store.all()
    assert (middle.metrics, middle.window["loss"]["count"]) == ({}, 2 * 8)
    assert (dict(last.metrics), last.window) == (unbroken.records[-1][1], {})


def kill_after(done: Trained, step: int) -> None:
    """Leave what a run leaves that is killed before it saves again."""
    for checkpoint in done.store.all():
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.prefix.parent)


@pytest.mark.parametrize("saved", [5, 10])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(unbroken: Trained, tmp_path: Path, saved: int) -> None:
    config = small(tmp_path)
    kill_after(train(config, tmp_path / "checkpoints"), saved)
    resumed = train(config, tmp_path / "checkpoints")
    assert resumed.records[0][0] > saved
    assert_same(unbroken.values, resumed.values)
    assert_same(checkpoint_values(unbroken.store.all()[-1].prefix), checkpoint_values(resumed.store.all()[-1].prefix))


def test_a_run_resumed_with_more_steps_ends_as_the_longer_one(unbroken: Trained, tmp_path: Path) -> None:
    train(small(tmp_path, steps=7), tmp_path / "checkpoints")
    assert_same(unbroken.values, train(small(tmp_path), tmp_path / "checkpoints").values)


def test_a_resumed_run_logs_the_numbers_of_the_unbroken_one(unbroken: Trained, tmp_path: Path) -> None:
    config = small(tmp_path)
    kill_after(train(config, tmp_path / "checkpoints"), 5)
    resumed = train(config, tmp_path / "checkpoints")

    def untimed(records: list[tuple[int, dict[str, float]]]) -> list[tuple[int, dict[str, float]]]:
        return [(step, {k: v for k, v in values.items() if k != TIMED}) for step, values in records if step > 5]

    assert untimed(resumed.records) == untimed(unbroken.records)
    assert untimed(resumed.records)[0][0] == 6, "the first point after the resume covers steps on both sides of it"


def test_evaluating_and_saving_more_often_changes_no_value(unbroken: Trained, tmp_path: Path) -> None:
    often = train(
        small(tmp_path, evaluate_every_steps=1, save_every_steps=1, log_every_steps=2), tmp_path / "checkpoints"
    )
    assert_same(unbroken.values, often.values)
    assert_same(checkpoint_values(unbroken.store.all()[-1].prefix), checkpoint_values(often.store.all()[-1].prefix))


def test_a_run_that_is_done_trains_no_more(unbroken: Trained, tmp_path: Path) -> None:
    config = small(tmp_path, steps=2)
    train(config, tmp_path / "checkpoints")
    again = train(config, tmp_path / "checkpoints")
    assert (again.records, int(again.values["global_step"])) == ([], 2)


def test_zero_steps_save_what_was_there(tmp_path: Path) -> None:
    done = train(small(tmp_path, steps=0), tmp_path / "checkpoints")
    assert [checkpoint.step for checkpoint in done.store.all()] == [0]
    assert_same(done.values, checkpoint_values(done.store.all()[0].prefix))


def test_without_a_validation_part_only_training_is_recorded(tmp_path: Path) -> None:
    config = small(tmp_path, steps=4)
    split = config.data.split.model_copy(update={"valid": None})
    config = config.model_copy(update={"data": config.data.model_copy(update={"split": split})})
    assert {name for _, values in train(config, tmp_path / "checkpoints").records for name in values} == {
        "train/loss",
        "train/accuracy",
        "train/learning_rate",
        TIMED,
    }


def test_a_loss_that_is_not_finite_ends_training_and_keeps_earlier_checkpoints(tmp_path: Path) -> None:
    rate = {"kind": "piecewise", "boundaries": [2], "values": [0.01, 1e30]}
    data = {**examples((4,)), "target": examples((4,))["x"][:, :3]}
    config = config_of(
        tmp_path,
        data,
        optimizer={"kind": "sgd", "learning_rate": rate},
        train={
            "steps": 20,
            "log_every_steps": 20,
            "save_every_steps": 2,
            "losses": {"main": {"kind": "mean_squared_error", "labels": "target"}},
            "metrics": {},
        },
    )
    with pytest.raises(TrainingError) as caught:
        train(config, tmp_path / "checkpoints")
    store = CheckpointStore(tmp_path / "checkpoints", keep_last=3, best_metric=None, best_mode="max")
    kept = store.all()
    first = kept[-1].step
    assert str(caught.value) in [
        f"train: the loss became {value} between steps {first} and {first + 2}; lower optimizer.learning_rate, or set "
        "optimizer.global_clipnorm; checkpoints up to there are kept"
        for value in ("inf", "nan")
    ]
    values = checkpoint_values(kept[0].prefix)
    assert all(np.isfinite(value).all() for value in values.values())


def test_the_first_20_losses_of_digits_mlp_are_those_promised(tmp_path: Path) -> None:
    steps = ["train.steps=20", "train.log_every_steps=1", "data.split.valid=null", "train.best_metric=null"]
    config = load(["experiment=digits_mlp", *steps])
    losses = [values["train/loss"] for _, values in train(config, tmp_path / "checkpoints").records]
    promised = np.loadtxt(GOLDEN / "digits_mlp_losses.txt")
    assert len(losses) == 20
    np.testing.assert_allclose(losses, promised, rtol=0, atol=1e-5)
