"""The loop: boundaries are hit exactly, a resumed run is the unbroken one, a loss that is not finite ends it."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.config.load import load
from expkit.errors import CheckpointError, TrainingError
from expkit.training.signals import deferred_signals
from support.experiments import Unseen, assert_same, checkpoint_values, config_of, examples
from support.trainings import CLOCK, Trained, interrupt_call, small, train

TIMED = "train/steps_per_second"
GOLDEN = Path(__file__).parents[1] / "golden"


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
    assert (middle.metrics, middle.state["window"]["loss"]["count"]) == ({}, 2 * 8)
    assert (dict(last.metrics), last.state["window"]) == (unbroken.records[-1][1], {})


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


class Seen(Unseen):
    """A progress that keeps what it is shown."""

    def __init__(self) -> None:
        self.records: list[tuple[int, dict[str, float]]] = []

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Keep a step's metrics, but for how fast it was."""
        self.records.append((step, {name: value for name, value in shown.items() if name != TIMED}))


def test_a_run_interrupted_after_every_session_call_equals_the_unbroken_one(
    unbroken: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress, done, saved = Seen(), None, [0]
    while done is None:
        interrupt_call(monkeypatch, 1 if len(saved) % 3 else 2)
        try:
            done = train(small(tmp_path, keep_last=99), tmp_path / "checkpoints", progress)
        except KeyboardInterrupt:
            saved.append(max(int(path.name.removeprefix("step-")) for path in tmp_path.glob("checkpoints/step-*")))
    assert len(saved) > 5
    assert saved == sorted(set(saved))
    assert_same(unbroken.values, done.values)
    timeless = [
        (step, {name: value for name, value in values.items() if name != TIMED}) for step, values in unbroken.records
    ]
    assert progress.records == timeless
    assert [item.step for item in done.store.all() if item.metrics] == [11]


def test_a_second_interruption_is_raised_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_signals() as interrupted:
        assert not interrupted()
    noted: list[bool] = []

    def twice() -> None:
        with deferred_signals() as interrupted:
            signal.raise_signal(signal.SIGINT)
            noted.append(interrupted())
            signal.raise_signal(signal.SIGINT)
            noted.append(False)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert noted == [True]
    assert signal.getsignal(signal.SIGINT) is before


def flip_a_value(checkpoint: Checkpoint) -> None:
    """Change one bit of what a checkpoint holds of its largest variable."""
    (data,) = checkpoint.prefix.parent.glob("model.data-*")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)


def test_a_flipped_bit_of_a_value_is_found_and_the_checkpoint_before_it_is_used(
    unbroken: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small(tmp_path)
    done = train(config, tmp_path / "checkpoints")
    kill_after(done, 10)
    flip_a_value(done.store.all()[-1])
    resumed = train(config, tmp_path / "checkpoints")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    folder = tmp_path / "checkpoints/step-00000010"
    assert said.startswith(f"{folder} is damaged and skipped: damaged: ")
    assert "hecksum" in said
    assert resumed.records[0][0] == 6
    assert_same(unbroken.values, resumed.values)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_earlier_checkpoints_and_the_run_resumes_when_there_is_space(
    unbroken: Trained, tmp_path: Path, small_disk: Path
) -> None:
    config, folder = small(tmp_path, save_every_steps=1, keep_last=99), small_disk / "checkpoints"
    with pytest.raises(CheckpointError) as caught:
        train(config, folder)
    kept = sorted(path.name for path in folder.iterdir() if path.name != "checkpoint")
    step = len(kept) + 1
    assert kept == [f"step-{number:08d}" for number in range(1, step)]
    assert len(kept) > 1
    said = str(caught.value)
    assert said.startswith(f"{folder}: step {step} could not be saved (")
    assert "No space left on device" in said
    assert said.endswith("); earlier checkpoints are intact: fix that, and run.resume continues from the last")
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    assert_same(unbroken.values, train(config, folder).values)


def test_a_file_size_limit_is_reported_and_the_previous_checkpoint_is_intact(tmp_path: Path) -> None:
    longer, folder = small(tmp_path, steps=4), tmp_path / "checkpoints"
    train(small(tmp_path, steps=2), folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(CheckpointError) as caught:
            train(longer, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(f"{folder}: step 4 could not be saved (")
    assert "File too large" in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "step-00000002"]


def test_a_checkpoint_of_another_network_is_not_reported_as_damaged(tmp_path: Path) -> None:
    train(small(tmp_path, steps=2), tmp_path / "checkpoints")
    other = config_of(tmp_path, train={**CLOCK})
    with pytest.raises(CheckpointError) as caught:
        train(other, tmp_path / "checkpoints")
    prefix = tmp_path / "checkpoints/step-00000002/model"
    assert str(caught.value).startswith(f"{prefix}: not of this network: ")
    assert str(caught.value).endswith(f"; start a new run, with restore.from={prefix}")


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


def test_a_finished_run_trains_no_more(unbroken: Trained, tmp_path: Path) -> None:
    config = small(tmp_path, steps=2)
    train(config, tmp_path / "checkpoints")
    again = train(config, tmp_path / "checkpoints")
    assert (again.records, int(again.values["global_step"])) == ([], 2)


def test_zero_steps_save_the_initial_values(tmp_path: Path) -> None:
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
