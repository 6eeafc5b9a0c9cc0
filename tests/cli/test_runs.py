"""The verbs on runs: ``evaluate`` and ``freeze``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from conftest import Finished
from expkit.run_folder import RunFolder
from support.command_line import call


@pytest.fixture
def copy(digits_run: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run, to change."""
    shutil.copytree(digits_run.folder, tmp_path / "run")
    return tmp_path / "run"


def test_evaluate_prints_what_training_recorded_raw_and_averaged(digits_run: Finished) -> None:
    done = call("evaluate", digits_run.folder, cwd=digits_run.cwd)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{digits_run.folder}, latest checkpoint, step 60"
    assert lines[1].split() == ["metric", "raw", "EMA"]
    *_, last, test = RunFolder(digits_run.folder).metrics()
    known = {**last, **test}
    rows = {name: values for name, *values in map(str.split, lines[2 : lines.index("")])}
    assert rows == {
        name: [f"{known[name]:.6f}", f"{known[f'{name}/ema']:.6f}"]
        for name in ("valid/loss", "valid/accuracy", "test/loss", "test/accuracy")
    }


def test_evaluating_changes_nothing_in_the_run_but_its_receipt(copy: Path) -> None:
    def others() -> dict[Path, bytes]:
        files = (file for file in copy.rglob("*") if file.is_file() and file.name != "evaluate.restore.json")
        return {file: file.read_bytes() for file in files}

    before = others()
    assert call("evaluate", "run", cwd=copy.parent).code == 0
    assert others() == before


def test_evaluate_of_the_best_checkpoint_names_its_step(copy: Path) -> None:
    metrics = [line for line in RunFolder(copy).metrics() if "valid/accuracy" in line]
    best = max(metrics, key=lambda line: (line["valid/accuracy"], -line["step"]))
    done = call("evaluate", "run", "--checkpoint", "best", cwd=copy.parent)
    assert done.code == 0
    assert done.out.splitlines()[0] == f"run, best checkpoint, step {int(best['step'])}"


def test_freeze_writes_the_same_file_again(copy: Path) -> None:
    before = (copy / "frozen.pb").read_bytes()
    (copy / "frozen.pb").unlink()
    done = call("freeze", "run", cwd=copy.parent)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "run/frozen.pb: ema weights of step 60"
    assert (copy / "frozen.pb").read_bytes() == before


def test_freeze_prints_the_proof(copy: Path) -> None:
    done = call("freeze", "run", "--output", "out/other.pb", "--weights", "ema", cwd=copy.parent)
    assert done.code == 0
    assert (copy.parent / "out" / "other.pb").is_file()
    proof = json.loads((copy.parent / "out" / "other.parity.json").read_text())
    names = [row["name"] for row in proof]
    assert "frozen file" in names
    assert [name for name in names if not any(name in line for line in done.out.splitlines())] == []
    assert any("control" in name for name in names)


def test_freeze_of_raw_weights_needs_no_control(copy: Path) -> None:
    done = call("freeze", "run", "--weights", "raw", "--output", "raw.pb", cwd=copy.parent)
    assert done.code == 0
    assert done.out.splitlines()[0] == "raw.pb: raw weights of step 60"
    assert "control" not in done.out


def test_ema_of_a_run_that_keeps_none_cannot_be_frozen(tmp_path: Path) -> None:
    words = ["ema=none", "train.steps=1", "tracking=none", "export=none", "hydra.run.dir=run"]
    assert call("train", *words, cwd=tmp_path).code == 0
    done = call("freeze", "run", "--weights", "ema", cwd=tmp_path)
    assert done.code == 2
    assert done.errors == ["error: weights: this run keeps no EMA (ema.enabled is false); allowed: raw"]


def test_a_place_that_cannot_be_written_is_named(copy: Path) -> None:
    (copy.parent / "taken").write_text("")
    done = call("freeze", "run", "--output", "taken/x.pb", cwd=copy.parent)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith("error: export: cannot write taken/x.pb (")


@pytest.mark.parametrize("verb", ["evaluate", "freeze"])
def test_what_is_no_run_is_answered_with_the_runs_there_are(verb: str, digits_run: Finished) -> None:
    folder = digits_run.folder.relative_to(digits_run.cwd).as_posix()
    done = call(verb, "nosuch", cwd=digits_run.cwd)
    assert done.code == 2
    assert done.errors[0].startswith("error: nosuch: does not exist; runs: ")
    assert folder in done.errors[0]
    done = call(verb, "runs", cwd=digits_run.cwd)
    assert done.code == 2
    assert done.errors[0].startswith("error: runs: is not a run folder (config.yaml and run.json are not in it); ")


@pytest.mark.parametrize("verb", ["evaluate", "freeze"])
def test_a_run_without_checkpoints_says_so(verb: str, copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    done = call(verb, "run", cwd=copy.parent)
    assert done.code == 2
    assert "checkpoint" in done.errors[0]


@pytest.mark.parametrize("verb", ["evaluate", "freeze"])
def test_a_run_whose_configuration_was_damaged_says_where(verb: str, copy: Path) -> None:
    (copy / "config.yaml").write_text("run: [")
    done = call(verb, "run", cwd=copy.parent)
    assert done.code == 2
    assert done.errors[0].startswith("error: run/config.yaml: not a readable configuration: ")


def test_an_unknown_choice_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    done = call("evaluate", "run", "--checkpoint", "newest", cwd=tmp_path)
    assert done.code == 2
    assert "argument --checkpoint: invalid choice: 'newest' (choose from 'latest', 'best')" in done.errors[-1]
