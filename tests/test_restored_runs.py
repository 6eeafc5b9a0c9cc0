"""Runs that begin from another run's checkpoint: what goes on as if nothing was renamed, and the receipts left."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from expkit.config.schema import Config
from expkit.errors import CheckpointError
from expkit.evaluation import evaluate
from expkit.experiment import freeze
from expkit.run_folder import RunFolder
from support.experiments import CNN, Values, assert_same, checkpoint_values, config_of, opened, run

EMA = "/ExponentialMovingAverage"
STEPS = 8
SECTIONS: dict[str, Any] = {
    "optimizer": {"kind": "adam", "learning_rate": 0.02, "global_clipnorm": 1.0},
    "export": {"enabled": False},
}
SLOTS = {
    "momentum": {"Momentum"},
    "rmsprop": {"RMSProp", "RMSProp_1"},
    "adagrad": {"Adagrad"},
}
RENAMED = {
    **CNN,
    "variables": {"kernel": "weights", "bias": "biases"},
    "layers": {
        name: {**layer, "scope": f"tower/{name}"} if name in ("conv", "norm") else layer
        for name, layer in CNN["layers"].items()
    },
}
"""The network under other names: two layers in a scope, and what layers call their variables."""
RULES = [
    {"name": "conv/kernel", "to": "tower/conv/weights"},
    {"prefix": "norm/", "to": "tower/norm/"},
    {"pattern": "logits/(kernel|bias)", "to": r"logits/\1", "optional": True},
    {"name": "logits/kernel", "to": "logits/weights"},
    {"name": "logits/bias", "to": "logits/biases"},
]


def renamed(name: str) -> str:
    """Return what a name of the first network is in the second."""
    name = re.sub("^(conv|norm)/", r"tower/\1/", name)
    return name.replace("/kernel", "/weights").replace("/bias", "/biases")


def steps(count: int) -> dict[str, int]:
    return {"steps": count, "log_every_steps": 3, "evaluate_every_steps": 4, "save_every_steps": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("restored")


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> Values:
    """What a run leaves that was never renamed."""
    config = config_of(folder, network=CNN, train=steps(STEPS), **SECTIONS)
    return checkpoint_values(run(config, folder / "unbroken").checkpoint)


@pytest.fixture(scope="module")
def half(folder: Path) -> Path:
    """The checkpoint of half a run."""
    config = config_of(folder, network=CNN, train=steps(STEPS // 2), **SECTIONS)
    return run(config, folder / "half").checkpoint


def going_on(folder: Path, half: Path, **restore: Any) -> Config:
    asked = {"from": str(half), "rename": RULES, **restore}
    return config_of(folder, network=RENAMED, train=steps(STEPS), restore=asked, **SECTIONS)


def test_training_on_after_a_rename_equals_training_on_without_it(folder: Path, half: Path, unbroken: Values) -> None:
    done = run(going_on(folder, half, optimizer="restore"), folder / "renamed")
    found = checkpoint_values(done.checkpoint)
    assert int(found["global_step"]) == STEPS
    assert {name.rpartition("/")[2] for name in found} >= {"Adam", "Adam_1", "ExponentialMovingAverage", "beta1_power"}
    assert_same(found, {renamed(name): value for name, value in unbroken.items()})


@pytest.mark.parametrize("kind", SLOTS)
def test_every_optimizer_goes_on_after_a_rename(folder: Path, kind: str) -> None:
    momentum = {} if kind == "adagrad" else {"momentum": 0.5}
    sections = {**SECTIONS, "optimizer": {"kind": kind, "learning_rate": 0.01, **momentum}, "ema": {"enabled": False}}
    whole = run(config_of(folder, network=CNN, train=steps(4), **sections), folder / f"{kind} whole")
    first = run(config_of(folder, network=CNN, train=steps(2), **sections), folder / f"{kind} half")
    asked = {"from": str(first.folder), "rename": RULES, "optimizer": "restore"}
    done = run(
        config_of(folder, network=RENAMED, train=steps(4), restore=asked, **sections), folder / f"{kind} renamed"
    )
    found = checkpoint_values(done.checkpoint)
    assert {name.rpartition("/")[2] for name in found} >= SLOTS[kind]
    assert_same(found, {renamed(name): value for name, value in checkpoint_values(whole.checkpoint).items()})
    assert done.restored == f"7/7 variables from {first.checkpoint}"


def test_by_default_the_optimizer_and_the_steps_begin_anew(folder: Path, half: Path, unbroken: Values) -> None:
    done = run(going_on(folder, half), folder / "anew")
    found = checkpoint_values(done.checkpoint)
    assert int(found["global_step"]) == STEPS
    assert found["tower/conv/weights"].tobytes() != unbroken["conv/kernel"].tobytes()
    assert next(line["step"] for line in RunFolder(folder / "anew").metrics()) == 3


def test_a_run_leaves_a_receipt_with_checksums_of_what_was_loaded(folder: Path, half: Path) -> None:
    config = going_on(folder, half, optimizer="restore", keep_initial=["logits/.*"], rename=RULES[:2])
    run(config, folder / "receipt")
    receipt = json.loads((folder / "receipt/restore.json").read_text())
    stored = checkpoint_values(half)
    assert (receipt["loaded"], receipt["files"]) == ("5/7", {"restore": str(half)})
    assert receipt["kept_initial"][:2] == ["logits/weights", "logits/biases"]
    rows = {row["variable"]: row for row in receipt["variables"]}
    assert rows["tower/conv/weights"] == {
        "variable": "tower/conv/weights",
        "role": "variable",
        "file": str(half),
        "source": ["conv/kernel"],
        "weights": "raw",
        "rule": "rename[0] 'conv/kernel' -> 'tower/conv/weights'",
        "transform": "",
        "shape": [3, 3, 1, 4],
        "dtype": "float32",
        "sha256": hashlib.sha256(stored["conv/kernel"].tobytes()).hexdigest(),
    }
    assert rows["tower/norm/gamma/Adam"]["role"] == "slot"
    assert rows["tower/norm/gamma/Adam"]["rule"] == "rename[1] 'norm/' -> 'tower/norm/'"
    assert rows[f"tower/norm/gamma{EMA}"]["weights"] == "ema"
    for row in rows.values():
        assert row["sha256"] == hashlib.sha256(stored[row["source"][0]].tobytes()).hexdigest()


def test_a_receipt_that_cannot_be_written_is_a_warning(
    folder: Path, half: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(RunFolder, "keep_receipt", refused)
    done = evaluate(opened(half.parents[2]))
    step, metrics = done.step, done.metrics
    assert (step, "test/loss" in metrics) == (4, True)
    assert caplog.messages == [f"no receipt is written into {half.parents[2]}: Permission denied"]


def test_evaluate_and_freeze_leave_receipts_of_their_own(folder: Path, half: Path) -> None:
    run_folder = half.parents[2]
    evaluate(opened(run_folder))
    freeze(opened(run_folder), weights="ema", path=folder / "out/frozen.pb")
    judged = json.loads((run_folder / "evaluate.restore.json").read_text())
    frozen = json.loads((folder / "out/frozen.restore.json").read_text())
    stored = checkpoint_values(half)
    assert not (run_folder / "restore.json").exists()
    assert (judged["loaded"], len(judged["variables"])) == ("7/7", 7 + 5)
    assert {row["variable"]: row["weights"] for row in frozen["variables"]} == {
        name: "raw" if "moving" in name else "ema"
        for name in ("conv/kernel", "norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance",
                     "logits/kernel", "logits/bias")
    }  # fmt: skip
    row = next(row for row in frozen["variables"] if row["variable"] == "logits/bias")
    assert row["sha256"] == hashlib.sha256(stored[f"logits/bias{EMA}"].tobytes()).hexdigest()


def test_an_optimizer_that_has_done_all_steps_is_reported(folder: Path, half: Path) -> None:
    config = going_on(folder, half, optimizer="restore")
    config = config.model_copy(update={"train": config.train.model_copy(update={"steps": STEPS // 2})})
    with pytest.raises(CheckpointError) as caught:
        run(config, folder / "done")
    assert str(caught.value) == (
        "train.steps: is 4, but the restored optimizer has done 4 steps, which count; give more, or set "
        "restore.optimizer to reset"
    )


def test_slots_of_another_optimizer_are_reported_all_at_once(folder: Path, half: Path) -> None:
    momentum = {"optimizer": {"kind": "momentum", "learning_rate": 0.1}, "export": {"enabled": False}}
    asked = {"from": str(half), "optimizer": "restore"}
    config = config_of(folder, network=CNN, train=steps(STEPS), restore=asked, **momentum)
    with pytest.raises(CheckpointError) as caught:
        run(config, folder / "momentum")
    assert [problem.message for problem in caught.value.problems] == [
        f"slot '{name}/Momentum' gets no value: '{name}/Momentum' is not in the checkpoint; set optimizer to reset, or "
        "add the slot to keep_initial"
        for name in ("conv/kernel", "norm/gamma", "norm/beta", "logits/kernel", "logits/bias")
    ]
