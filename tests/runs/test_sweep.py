"""``train -m``: output, files, resuming, invalid sweeps."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from conftest import Finished
from expkit.run_folder import RunFolder
from expkit.sweeps import launcher as launching
from expkit.sweeps.sweep_folder import SweepFolder
from support.command_line import BARE, PLAIN, call, start

QUICK = ["train.steps=4", "tracking=none", "export=none"]


def state(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


def only_sweep(cwd: Path) -> Path:
    (folder,) = (cwd / "runs" / "multirun").glob("*/*")
    return folder


# What it says and leaves


def test_a_sweep_tells_its_runs_apart_and_counts_those_that_failed(sweep: Finished) -> None:
    lines = sweep.done.out.splitlines()
    assert sweep.done.code == 2
    assert [line.partition(", valid")[0] for line in lines[:4]] == [
        "units=16, learning_rate=0.1 (1 of 4): finished",
        "units=16, learning_rate=1e+30 (2 of 4): failed",
        "units=32, learning_rate=0.1 (3 of 4): finished",
        "units=32, learning_rate=1e+30 (4 of 4): failed",
    ]
    assert lines[-6] == f"report {sweep.folder / 'report' / 'report.html'}"
    assert lines[-5].startswith("best valid/accuracy 0.")
    assert lines[-4].startswith("one seed: differences below about 0.0")
    assert lines[-3] == f"train again with expkit train --config-dir {sweep.folder}/conf experiment=best"
    assert lines[-2] == "2 of 4 runs finished, 2 failed"
    assert lines[-1].startswith("MLflow run ")
    assert [line.partition(" became ")[0] for line in sweep.done.errors] == [
        "error: units=16, learning_rate=1e+30: train: the loss",
        "error: units=32, learning_rate=1e+30: train: the loss",
    ]


def test_every_run_of_a_sweep_has_a_folder_with_its_own_status(sweep: Finished) -> None:
    folders = sorted(path for path in sweep.folder.iterdir() if path.is_dir() and (path / "run.json").is_file())
    assert [folder.name for folder in folders] == [f"{number}_digits_mlp" for number in range(4)]
    assert [state(folder)["status"] for folder in folders] == ["FINISHED", "FAILED"] * 2
    configs = [RunFolder(folder).config() for folder in folders]
    assert [config.network.layers["layer1"].units for config in configs] == [16, 16, 32, 32]
    assert yaml.safe_load((folders[3] / "overrides.yaml").read_text()) == [
        "network.layers.layer1.units=32",
        "optimizer.learning_rate=1e+30",
        "optimizer=sgd",
        *BARE,
    ]


def test_a_sweep_s_file_says_what_it_is_and_which_runs_it_has(sweep: Finished) -> None:
    settings = SweepFolder(sweep.folder).settings()
    assert (settings["name"], settings["status"]) == ("digits_mlp sweep over units, learning_rate", "FAILED")
    assert (settings["objective"], settings["mode"]) == ("valid/accuracy", "max")
    assert settings["runs"]["2_digits_mlp"]["label"] == "units=32, learning_rate=0.1"
    assert sweep.done.out.splitlines()[-1].split()[2] == settings["mlflow_run_id"]


def test_overrides_may_stand_before_and_after_the_flag(tmp_path: Path) -> None:
    done = call("train", *QUICK, "-m", "run.seed=1,2", "run.name=both", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["seed=1 (1 of 2): finished", "seed=2 (2 of 2): finished"]
    assert lines[-1] == "2 of 2 runs finished"


def test_a_sweep_over_nothing_is_one_run_by_its_name(tmp_path: Path) -> None:
    done = call("train", "-m", *QUICK, cwd=tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("digits_mlp (1 of 1): finished")


def test_what_a_sweep_varies_is_named_as_short_as_it_is_clear(tmp_path: Path) -> None:
    varied = ["network.layers.layer1.use_bias=true,false", "network.layers.logits.use_bias=choice(true)"]
    done = call("train", "-m", *varied, *QUICK, "train.steps=1", cwd=tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("layer1.use_bias=True, logits.use_bias=True (1 of 2): finished")


def test_runs_of_a_sweep_leave_nothing_in_the_environment(sweep: Finished) -> None:
    assert [name for name in os.environ if name.startswith("EXPKIT_") and name != "EXPKIT_DATA"] == []


# Given again


def test_a_sweep_that_is_given_again_runs_only_what_is_missing(tmp_path: Path) -> None:
    words = ["-m", "run.seed=1,2,3", "data.split.valid=0.1", *QUICK]
    assert call("train", *words, cwd=tmp_path).code == 0
    folder = only_sweep(tmp_path)
    again = call("train", "-m", "data.split.valid=0.1", *QUICK, "run.seed=3,1,2", cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert again.out == (
        f"nothing to run: all 3 runs are finished in {folder}; "
        "to run them again give another folder with hydra.sweep.dir=FOLDER\n"
    )
    kept = {name: (folder / name / "metrics.jsonl").stat().st_mtime_ns for name in ("0_digits_mlp", "2_digits_mlp")}
    RunFolder(folder / "1_digits_mlp").update(status="FAILED", error="the disk was full")
    SweepFolder(folder).update(status="FAILED")
    once_more = call("train", *words, cwd=tmp_path)
    assert once_more.code == 0
    assert [line.partition(",")[0] for line in once_more.out.splitlines()] == [
        "seed=2 (3 of 3): finished",
        *(line.partition(",")[0] for line in once_more.out.splitlines()[1:3]),
        "3 of 3 runs finished",
    ]
    assert {name: (folder / name / "metrics.jsonl").stat().st_mtime_ns for name in kept} == kept
    assert "error" not in {key for key, value in state(folder / "1_digits_mlp").items() if value}


def test_a_folder_of_its_own_makes_a_sweep_anew_and_takes_more_runs_later(tmp_path: Path) -> None:
    words = ["-m", *QUICK, "train.steps=1", "hydra.sweep.dir=mine"]
    assert call("train", *words, "run.seed=1,2", cwd=tmp_path).code == 0
    more = call("train", *words, "run.seed=2,5,1", cwd=tmp_path)
    assert more.code == 0
    assert [line.partition(",")[0] for line in more.out.splitlines()[:1]] == ["seed=5 (3 of 3): finished"]
    assert sorted(SweepFolder(tmp_path / "mine").settings()["runs"]) == [f"{number}_digits_mlp" for number in range(3)]


def test_runs_that_compute_the_same_are_run_once(tmp_path: Path) -> None:
    done = call("train", "-m", *QUICK, "train.steps=1", "optimizer.learning_rate=0.1,1e-1", cwd=tmp_path)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "1 of 2 runs compute the same as others, and are run once"
    assert lines[-1] == "1 of 1 runs finished"


def test_a_sweep_that_is_interrupted_is_killed(tmp_path: Path) -> None:
    words = ["-m", "run.seed=1,2", *PLAIN, "train.steps=1000000", "train.save_every_steps=100", "export=none"]
    words += ["train.steps_per_execution=20", "tracking.plots=false"]
    process = start("train", *words, cwd=tmp_path)
    while not list(tmp_path.glob("runs/multirun/*/*/0_digits_mlp/checkpoints/*/checkpoint.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "stopped; the same command runs the missing runs\n"
    folder = only_sweep(tmp_path)
    settings = SweepFolder(folder).settings()
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    first = state(folder / "0_digits_mlp")
    assert (settings["status"], first["status"]) == ("KILLED", "KILLED")
    assert not (folder / "1_digits_mlp").exists()
    for run_id in (settings["mlflow_run_id"], first["mlflow_run_id"]):
        assert client.get_run(run_id).info.status == "KILLED"


def test_a_sweep_whose_parent_was_deleted_resumes_under_a_new_one_with_a_note(tmp_path: Path) -> None:
    words = ["-m", "run.seed=1,2", "train.steps=2", "export=none", "tracking.plots=false"]
    assert call("train", *words, cwd=tmp_path).code == 0
    folder = only_sweep(tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    parent = SweepFolder(folder).settings()["mlflow_run_id"]
    client.delete_run(parent)
    RunFolder(folder / "1_digits_mlp").update(status="KILLED")
    done = call("train", *words, cwd=tmp_path)
    assert done.code == 0
    assert done.out.splitlines()[-2] == "2 of 2 runs finished"
    assert f"MLflow no longer has run {parent}: {folder} is recorded there again" in done.err
    new = SweepFolder(folder).settings()["mlflow_run_id"]
    assert (new != parent, client.get_run(new).info.status) == (True, "FINISHED")
    child = client.get_run(RunFolder(folder / "1_digits_mlp").state()["mlflow_run_id"])
    assert (child.info.status, child.data.tags["mlflow.parentRunId"]) == ("FINISHED", new)


# What is wrong with it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run.seed=1,"], "command line: cannot read the override 'run.seed=1,'; write path.to.key=VALUE, or =A,B"),
        (
            ["run.seed=choice()"],
            "command line: cannot read the override 'run.seed=choice()'; write path.to.key=VALUE, or =A,B",
        ),
        (["run.seed=range(3,3)"], "run.seed: has no values, so the sweep is empty; give it some"),
        (
            ["run.seed=interval(0,1)"],
            "run.seed: is a replicate, of which every value is run, and an interval has infinitely many; write "
            "range(START,STOP) or A,B, or for seeds hydra.sweeper.repeats=5",
        ),
        (
            ["run.seed=1,2", "run.resume=auto"],
            "run.resume: a sweep is resumed by the same command without run.resume",
        ),
        (
            ["tracking.experiment=e1,e2"],
            "tracking.experiment: differs between runs of the sweep ('e1' and 'e2'), but makes no other run; give it "
            "one value",
        ),
        (
            ["run.sed=choice(1,2)"],
            "run.sed: unknown field; did you mean 'seed'? allowed: name, seed, folder, resume (job 0 of 2: run.sed=1)",
        ),
        (
            ["run.seed=1,2", "hydra.sweeper.objective=valid/acuracy"],
            "hydra.sweeper.objective: no metric 'valid/acuracy'; did you mean 'valid/accuracy'? allowed: train/loss, "
            "train/accuracy, valid/loss, valid/loss/ema, valid/accuracy, valid/accuracy/ema, test/loss, test/loss/ema, "
            "test/accuracy, test/accuracy/ema",
        ),
        (
            ["hydra.sweeper.direction=most"],
            "hydra.sweeper.direction: needs 'minimize' or 'maximize' or a list, got 'most' (text)",
        ),
        (
            ["+hydra.sweeper.n_job=2"],
            "hydra.sweeper.n_job: unknown field for kind 'grid'; did you mean 'n_jobs'? allowed: kind, objective, "
            "direction, params, n_jobs, repeats, repeat_over, on_tie",
        ),
        (
            ["hydra.sweeper.n_trials=3", "run.seed=1,2"],
            "hydra.sweeper.n_trials: is a field of another sweeper; add hydra/sweeper=optuna, or omit it",
        ),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.n_trial=3", "run.seed=1,2"],
            "hydra.sweeper.n_trial: no sweeper has this field; did you mean 'n_trials'? allowed: objective, direction, "
            "params, n_jobs, repeats, repeat_over, on_tie, sampler, pruner, n_trials, timeout, storage, study_name",
        ),
        (
            ["hydra/sweeper=basic"],
            "hydra/sweeper: 'hydra._internal.core_plugins.basic_sweeper.BasicSweeper' is a sweeper of another package, "
            "which cannot resume runs, nor give workers the next one as they become free; write hydra/sweeper=NAME; "
            "allowed: grid, optuna",
        ),
        (["hydra.sweeper.repeats=0"], "hydra.sweeper.repeats: must be greater than 0, got 0"),
        (
            ["hydra.sweeper.repeats=5", "run.seed=1,2"],
            "hydra.sweeper.repeats: 5 repeats take 5 seeds from run.seed on, but run.seed varies in this sweep; omit "
            "repeats, or give run.seed one value",
        ),
        (
            ["hydra.sweeper.on_tie=simplest", "optimizer.learning_rate=0.1,0.01"],
            "hydra.sweeper.on_tie: needs several runs of a configuration, which show what is tied; give "
            "hydra.sweeper.repeats=5, or vary run.seed",
        ),
        (
            ["hydra.sweeper.on_tie=largest", "run.seed=1,2"],
            "hydra.sweeper.on_tie: unknown value 'largest' (text); allowed: simplest, first",
        ),
        (
            ["hydra.sweeper.objective=valid/accuracy", "experiment=digits_mlp,autoencoder"],
            "hydra.sweeper.objective: 'valid/accuracy' is not recorded by 1 of 2 points (experiment=autoencoder); give "
            "one that all record: test/loss, test/loss/ema, train/loss, valid/loss, valid/loss/ema",
        ),
        (["hydra.sweep.dir=${nosuch}"], "command line: Interpolation key 'nosuch' not found"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_sweeps(words: list[str], said: str, tmp_path: Path) -> None:
    done = call("train", "-m", *words, cwd=tmp_path)
    assert (done.code, done.errors, done.out) == (2, [f"error: {said}"], "")
    assert list(tmp_path.iterdir()) == []


def test_no_run_of_a_sweep_starts_when_one_is_wrong(tmp_path: Path) -> None:
    done = call("train", "-m", "run.seed=1,2", "ema.decay=0.5,2", *QUICK, cwd=tmp_path)
    assert done.code == 2
    words = " ".join(QUICK)
    assert done.errors == [
        "error: ema.decay: must be less than 1 (allowed: > 0 and < 1), got 2 "
        f"(job 2 of 4: ema.decay=2 {words} run.seed=1)"
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("cores", "hydra-joblib-launcher", "joblib"),
        ("joblib", "hydra-joblib-launcher", "joblib"),
        ("slurm", "hydra-submitit-launcher", "submitit"),
        ("slurm_local", "hydra-submitit-launcher", "submitit"),
    ],
)
def test_a_launcher_that_is_not_installed_is_reported_with_its_extra(
    name: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "is_installed", lambda package: False)
    done = call("train", "-m", f"hydra/launcher={name}", "run.seed=1,2", cwd=tmp_path)
    assert (done.code, done.errors) == (
        2,
        [
            f"error: hydra/launcher: '{name}' needs {package}, which is not installed: pip install 'expkit[{extra}]'; "
            "without a launcher runs are executed one after another"
        ],
    )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_launcher_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    done = call("train", "-m", "hydra/launcher=nosuch", "run.seed=1,2", cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith("error: hydra/launcher: no file 'nosuch' in this group; allowed: basic, cores, ")


def test_an_unwritable_folder_is_reported_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder has to be")
    done = call("train", "-m", "run.seed=1,2", *QUICK, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith(f"error: run.folder: cannot write {tmp_path}/runs/multirun/")
    assert line.endswith(" (Not a directory); give a writable folder with run.folder=PATH")


def test_a_sweep_is_not_run_twice_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with SweepFolder(tmp_path / "mine").lock():
        done = call("train", "-m", "run.seed=1,2", *QUICK, "hydra.sweep.dir=mine", cwd=tmp_path)
    assert (done.code, done.errors) == (
        2,
        [f"error: {tmp_path}/mine: this sweep is already running; wait for it, or give another hydra.sweep.dir=FOLDER"],
    )
