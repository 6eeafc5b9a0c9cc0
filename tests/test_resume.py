"""A run that is killed and continued ends as one that never stopped, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.run_folder import locked
from support.command_line import PLAIN, call, start
from support.trainings import interrupt_call

STEPS = 600
WORDS = [
    f"train.steps={STEPS}",
    "train.log_every_steps=25",
    "train.evaluate_every_steps=50",
    "train.save_every_steps=30",
    "train.keep_last=100",
    "network.layers.layer1.units=16",
    "network.layers.dropout.rate=0.5",
    "optimizer=adam",
    "tracking=none",
    "export=none",
]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    cwd = tmp_path_factory.mktemp("unbroken")
    done = call("train", *WORDS, "hydra.run.dir=run", cwd=cwd)
    assert done.code == 0, done.err
    return cwd / "run"


def tensors(run: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / f"step-{STEPS:08d}" / "model"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def metrics(run: Path) -> list[dict[str, Any]]:
    """Return a run's metrics; how fast it was is not a promise."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "train/steps_per_second"} for line in lines]


def assert_same(run: Path, unbroken: Path) -> None:
    found, expected = tensors(run), tensors(unbroken)
    assert set(found) == set(expected)
    assert [name for name in expected if found[name].tobytes() != expected[name].tobytes()] == []
    assert metrics(run) == metrics(unbroken)
    steps = [line["step"] for line in metrics(run)]
    assert sorted(set(steps[:-1])) == steps[:-1]
    assert steps[-1] == STEPS


def kill_when(ready: Any, *words: str, cwd: Path) -> bool:
    """Start a run and kill it as soon as ``ready`` says so; return whether it was killed before it ended."""
    process = start("train", *WORDS, *words, cwd=cwd)
    try:
        while process.poll() is None and not ready():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finally:
        process.kill()
    return process.returncode == -signal.SIGKILL


def test_a_run_that_is_killed_again_and_again_ends_as_the_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def kept(count: int) -> bool:
        return len(list(run.glob("checkpoints/step-*"))) >= count

    assert kill_when(lambda: kept(1), "hydra.run.dir=run", cwd=tmp_path)
    assert json.loads((run / "run.json").read_text())["status"] == "RUNNING"
    reached = len(list(run.glob("checkpoints/step-*")))
    killed = kill_when(lambda: kept(reached + 3), "run.resume=run", cwd=tmp_path)
    assert killed or kept(STEPS // 30)
    done = call("train", *WORDS, "run.resume=run", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert json.loads((run / "run.json").read_text())["status"] == "FINISHED"
    assert_same(run, unbroken)


def test_a_run_that_is_killed_at_any_moment_is_found_and_continued_by_auto(unbroken: Path, tmp_path: Path) -> None:
    moment = random.Random(os.getpid()).uniform(0, 0.4)
    since: list[float] = []

    def ready() -> bool:
        if not since and list(tmp_path.glob("runs/*/*/checkpoints")):
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= moment

    kill_when(ready, cwd=tmp_path)
    (run,) = tmp_path.glob("runs/*/*")
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "status": "RUNNING"}))  # also where it was faster than the kill
    done = call("train", *WORDS, "run.resume=auto", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert list(tmp_path.glob("runs/*/*")) == [run]
    assert_same(run, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_between_boundaries_saves_there_and_ends_as_the_unbroken_one(
    number: signal.Signals, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_call(monkeypatch, 5, number)
    words = [*WORDS, "train.steps_per_execution=3", *PLAIN]
    stopped = call("train", *words, cwd=tmp_path)
    (run,) = (path.resolve() for path in tmp_path.glob("runs/*/*"))
    saved = sorted(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*"))
    assert saved[-1] % 25 != 0
    assert saved[-1] % 30 != 0
    assert stopped.code == 128 + number
    said = f"interrupted: saved step {saved[-1]}; resume with the same command and run.resume={run}"
    assert stopped.errors == [said]
    assert json.loads((run / "run.json").read_text())["status"] == "KILLED"
    done = call("train", *words, "run.resume=auto", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert f"(resumed from step {saved[-1]})" in done.out
    assert_same(run, unbroken)


def test_auto_begins_a_run_when_there_is_none_to_continue(tmp_path: Path) -> None:
    words = ["train.steps=2", "tracking=none", "export=none", "run.resume=auto"]
    for count in (1, 2):  # the second finds one, but it has finished
        assert call("train", *words, cwd=tmp_path).code == 0
        assert len(list(tmp_path.glob("runs/*/*/run.json"))) == count


def test_more_steps_may_be_asked_of_a_finished_run(unbroken: Path, tmp_path: Path) -> None:
    words = [word for word in WORDS if not word.startswith("train.steps")]
    assert call("train", *words, "train.steps=300", "hydra.run.dir=run", cwd=tmp_path).code == 0
    assert call("train", *WORDS, "run.resume=run", cwd=tmp_path).code == 0
    found, expected = tensors(tmp_path / "run"), tensors(unbroken)
    assert [name for name in expected if found[name].tobytes() != expected[name].tobytes()] == []
    assert sum("test/loss" in line for line in metrics(tmp_path / "run")) == 1, "of its new end"


def test_a_run_of_another_configuration_is_not_continued_and_every_difference_is_named(unbroken: Path) -> None:
    before = (unbroken / "run.json").read_text()
    words = ["ema.decay=0.5", "network.layers.layer1.units=17", f"run.resume={unbroken}"]
    done = call("train", *WORDS, *words, cwd=unbroken.parent)
    assert done.code == 2
    assert done.errors == [
        "error: network.layers.layer1.units: is 17, but the run to resume has 16; undo that, or start a new run",
        "error: ema.decay: is 0.5, but the run to resume has 0.99; undo that, or start a new run",
    ]
    assert (unbroken / "run.json").read_text() == before


def test_a_run_that_another_process_is_at_work_on_is_refused_and_left_as_it_is(unbroken: Path) -> None:
    before = {path.name: path.read_bytes() for path in unbroken.iterdir() if path.is_file() and path.name != ".lock"}
    with locked(unbroken):
        done = call("train", *WORDS, f"run.resume={unbroken}", cwd=unbroken.parent)
    said = f"process {os.getpid()} is using this run; wait until it has ended, or start a new run"
    assert (done.code, done.errors) == (2, [f"error: {unbroken}: {said}"])
    assert before == {path.name: path.read_bytes() for path in unbroken.iterdir() if path.name in before}
