"""``train -m hydra/sweeper=optuna``: output, files, resuming, invalid searches."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="expkit[optuna] is not installed")

from mlflow import MlflowClient

from conftest import Finished
from expkit.run_folder import RunFolder
from expkit.sweeps.sweep_folder import SweepFolder
from expkit.tracking.journal import Journal
from support.command_line import Done, call, start

RATE = "optimizer.learning_rate=tag(log,interval(0.001,0.1))"
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweep.dir=mine"]
QUICK = ["train.steps=40", "train.log_every_steps=20", "train.evaluate_every_steps=20", "export=none", "tracking=none"]
METRICS = (
    "train/loss, train/accuracy, valid/loss, valid/loss/ema, valid/accuracy, valid/accuracy/ema, "
    "test/loss, test/loss/ema, test/accuracy, test/accuracy/ema"
)


@pytest.fixture(scope="session")
def search(workspace: Path, digits_run: Finished) -> Finished:
    """A recorded search over five points; those after two are pruned when they fall behind."""
    words = [
        *("hydra.sweeper.n_trials=5", "hydra/sweeper/sampler=random", "hydra.sweep.dir=search"),
        *("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=2"),
        *(RATE, "network.layers.layer1.units=int(interval(4,64))", "train.steps=60", "train.log_every_steps=20"),
        *("train.evaluate_every_steps=20", "export=none", "tracking.plots=false"),
    ]
    done = call("train", "-m", "hydra/sweeper=optuna", *words, cwd=workspace)
    assert done.code == 0, done.err
    return Finished(workspace, workspace / "search", done)


def statuses(folder: Path) -> list[str]:
    return [state.status for state in SweepFolder(folder).states().values()]


def test_a_search_tells_its_best_run_and_how_to_train_it_again(search: Finished) -> None:
    lines = search.done.out.splitlines()
    assert search.done.err == ""
    assert lines[0].startswith("learning_rate=0.0")
    assert lines[0].partition(" (")[2].startswith("1 of 5): finished, valid/accuracy 0.")
    assert lines[-5].startswith("best valid/accuracy 0.")
    assert lines[-4].startswith("one seed: differences below about 0.0")
    assert lines[-3] == f"train again with expkit train --config-dir {search.folder}/conf experiment=best"
    assert lines[-2].startswith(f"{statuses(search.folder).count('FINISHED')} of 5 runs finished, ")
    assert lines[-2].endswith(" pruned")


def test_a_run_that_falls_behind_is_pruned_while_it_trains(search: Finished) -> None:
    found = statuses(search.folder)
    assert found[:2] == ["FINISHED"] * 2
    assert set(found) == {"FINISHED", "PRUNED"}
    pruned = [state for state in SweepFolder(search.folder).states().values() if state.status == "PRUNED"]
    for state in pruned:
        value = state.values["valid/accuracy"]
        assert state.error == f"median: valid/accuracy {value:.4g} at step {state.step}"
        assert state.step in (20, 40, 60)
        assert "test/accuracy" not in state.values


def test_the_study_can_be_read_with_optuna_itself(search: Finished) -> None:
    import optuna

    url = f"sqlite:///{search.folder}/study.db"
    (name,) = optuna.get_all_study_names(url)
    study = optuna.load_study(study_name=name, storage=url)
    states = SweepFolder(search.folder).states()
    assert [trial.user_attrs["run"] for trial in study.trials] == [[name] for name in states]
    for trial, state in zip(study.trials, states.values(), strict=True):
        assert trial.state.name == {"FINISHED": "COMPLETE"}.get(state.status, state.status)
        assert trial.values == [state.values["valid/accuracy"]]
        assert sorted(trial.intermediate_values) == list(range(20, state.step + 1, 20))
        config = RunFolder(search.folder / trial.user_attrs["run"][0]).config()
        assert config.network.layers["layer1"].units == trial.params["network.layers.layer1.units"]


def test_the_best_run_is_marked_in_mlflow_and_so_is_its_parent(search: Finished) -> None:
    settings = SweepFolder(search.folder).settings()
    (best,) = settings["best"]
    best_id = RunFolder(search.folder / best).state()["mlflow_run_id"]
    store = sqlite3.connect(search.cwd / "runs" / "mlflow.db")
    tags = store.execute("select run_uuid, key, value from tags where key like 'expkit.best%'").fetchall()
    ours = {best_id, settings["mlflow_run_id"]}
    assert sorted(row for row in tags if row[0] in ours) == sorted(
        [
            (best_id, "expkit.best", "true"),
            (settings["mlflow_run_id"], "expkit.best", settings["runs"][best]["label"]),
            (settings["mlflow_run_id"], "expkit.best.runs", best_id),
        ]
    )
    ends = store.execute("select run_uuid, end_time, status from runs").fetchall()
    (ended,) = (row for row in ends if row[0] == best_id)
    (after,) = (row for row in ends if row[0] == settings["mlflow_run_id"])
    assert (ended[2], after[2]) == ("FINISHED", "FINISHED")
    finished = [entry.values["milliseconds"] for entry in Journal(search.folder / best).all() if entry.act == "finish"]
    assert [ended[1]] == finished  # which being marked later has not changed
    (kept,) = (search.cwd / "runs" / "mlartifacts").glob(f"**/{settings['mlflow_run_id']}/artifacts/best.yaml")
    assert kept.read_text() == (search.folder / "conf" / "experiment" / "best.yaml").read_text()


def test_the_best_configuration_trains_again_to_the_same_numbers(search: Finished, tmp_path: Path) -> None:
    (best,) = SweepFolder(search.folder).settings()["best"]
    done = call("train", "--config-dir", search.folder / "conf", "experiment=best", "tracking=none", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    (folder,) = (file.parent for file in (tmp_path / "runs").glob("*/*/run.json"))
    last = [RunFolder(path).metrics()[-1] for path in (search.folder / best, folder)]
    assert last[0] == last[1]


def test_a_repeated_search_runs_nothing_or_only_further_points(tmp_path: Path) -> None:
    words = [*SEARCH, RATE, *QUICK[:-1], "tracking.plots=false", "hydra/sweeper/sampler=random"]
    assert call("train", *words, "hydra.sweeper.n_trials=2", cwd=tmp_path).code == 0
    again = call("train", *words, "hydra.sweeper.n_trials=2", cwd=tmp_path)
    assert (again.code, again.out.partition(" in ")[0]) == (0, "nothing to run: all 2 runs are finished")
    more = call("train", *words, "hydra.sweeper.n_trials=3", cwd=tmp_path)
    assert more.code == 0
    assert " (3 of 3): finished" in more.out.splitlines()[0]
    assert more.out.splitlines()[-2] == "3 of 3 runs finished"
    parent = SweepFolder(tmp_path / "mine").settings()["mlflow_run_id"]
    store = sqlite3.connect(tmp_path / "runs" / "mlflow.db")
    assert store.execute("select count(*) from runs").fetchone() == (4,)
    assert store.execute("select value from tags where key = 'mlflow.parentRunId'").fetchall() == [(parent,)] * 3
    best = store.execute("select count(*) from tags where key = 'expkit.best' and value = 'true'").fetchone()
    assert best == (1,)


@pytest.mark.parametrize(
    "varied", [["run.seed=1,2"], [*SEARCH[1:2], "hydra.sweeper.n_trials=2", RATE]], ids=["grid", "optuna"]
)
def test_every_run_of_a_sweep_has_its_export_in_its_folder_and_in_mlflow(varied: list[str], tmp_path: Path) -> None:
    words = ["train.steps=1", "tracking.plots=false", "tracking.model=false", "export.to=[npz]", *SEARCH[2:]]
    done = call("train", "-m", *varied, *words, cwd=tmp_path)
    assert done.code == 0, done.err
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    folders = [RunFolder(tmp_path / "mine" / f"{number}_digits_mlp") for number in range(2)]
    for folder in folders:
        record = json.loads((folder.path / "export" / "export.json").read_text())
        assert (record["source"]["run"], record["targets"]["npz"]["verdict"]) == (str(folder.path), "proven")
        kept = client.list_artifacts(folder.state()["mlflow_run_id"], "export")
        assert [item.path for item in kept] == ["export/export.json", "export/variables.npz"]


def test_several_objectives_end_in_the_runs_that_none_is_better_than(tmp_path: Path) -> None:
    two = ["hydra.sweeper.objective=[valid/accuracy,valid/loss]", "hydra/sweeper/sampler=nsgaii"]
    done = call("train", *SEARCH, *two, RATE, *QUICK, "hydra.sweeper.n_trials=3", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()[3:]
    files = sorted(path.stem for path in (tmp_path / "mine" / "conf" / "experiment").iterdir())
    these = "this one" if len(files) == 1 else f"these {len(files)}"
    assert lines[0] == f"no run is better than {these} in all objectives:"
    assert all(line.startswith("  valid/accuracy 0.") for line in lines[1:-2])
    assert len(lines) == len(files) + 3
    assert lines[-2] == f"train again with expkit train --config-dir {tmp_path}/mine/conf experiment={files[0]}"


def test_a_killed_search_resumes_where_it_was(tmp_path: Path) -> None:
    words = [*SEARCH, RATE, *QUICK, "hydra.sweeper.n_trials=4", "train.save_every_steps=20"]
    process = start("train", *words, cwd=tmp_path)
    while not (tmp_path / "mine" / "1_digits_mlp" / "run.json").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "FINISHED" in statuses(tmp_path / "mine")
    again = call("train", *words, cwd=tmp_path)
    assert again.code == 0, again.err
    assert again.out.splitlines()[-1] == "4 of 4 runs finished"
    whole = call("train", *words, "hydra.sweep.dir=whole", cwd=tmp_path)
    assert whole.code == 0
    runs = [SweepFolder(tmp_path / name).settings()["runs"] for name in ("mine", "whole")]
    assert runs[0] == runs[1]
    for name in runs[0]:
        kept = [RunFolder(tmp_path / folder / name).metrics()[-1] for folder in ("mine", "whole")]
        assert kept[0] == kept[1]


# What is wrong with it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [RATE, "hydra.sweeper.objective=valid/acuracy"],
            f"hydra.sweeper.objective: no metric 'valid/acuracy'; did you mean 'valid/accuracy'? allowed: {METRICS}",
        ),
        (
            [RATE, "hydra/sweeper/sampler=grid"],
            "optimizer.learning_rate: an interval has infinitely many values, so 'grid' cannot search it; write "
            "range(START,STOP,STEP) or choice(A,B), or use another hydra/sweeper/sampler: tpe, cmaes, random, qmc, "
            "nsgaii",
        ),
        (
            ["run.sed=choice(1,2)"],
            "run.sed: unknown field; did you mean 'seed'? allowed: name, seed, folder, resume (job 0 of 2: run.sed=1)",
        ),
        (
            [],
            "hydra/sweeper: there is nothing to search; vary a key: KEY=interval(LOW,HIGH), "
            "KEY=range(START,STOP,STEP), KEY=choice(A,B), or KEY=A,B",
        ),
        (
            [RATE, "hydra/sweeper/sampler=tppe"],
            "hydra/sweeper/sampler: no file 'tppe' in this group; did you mean 'tpe'? allowed: cmaes, grid, nsgaii, "
            "qmc, random, tpe",
        ),
        (
            [RATE, "hydra/sweeper/pruner=mdian"],
            "hydra/sweeper/pruner: no file 'mdian' in this group; did you mean 'median'? allowed: asha, hyperband, "
            "median, none",
        ),
        (
            ["network.layers.layer1.activation=relu,tanh", "hydra/sweeper/sampler=cmaes"],
            "hydra/sweeper/sampler: 'cmaes' needs at least two intervals or ranges, got none; use tpe or random",
        ),
        (
            [RATE, "hydra.sweeper.storage=sqlite:////nosuch/study.db"],
            "hydra.sweeper.storage: sqlite:////nosuch/study.db cannot be opened ((sqlite3.OperationalError) unable to "
            "open database file); correct it, or omit it: the study is then stored in the sweep's folder",
        ),
        ([RATE, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials: must be greater than 0, got 0"),
        (
            [RATE, "hydra.sweeper.objective=[valid/accuracy,valid/loss]", "hydra/sweeper/pruner=hyperband"],
            "hydra/sweeper/pruner: 'hyperband' takes one objective, got 2; use median, asha or none",
        ),
        (
            [RATE, "+hydra.sweeper.sampler.n_startup_trials=3", "hydra/sweeper/sampler=random"],
            "hydra.sweeper.sampler.n_startup_trials: unknown field for kind 'random'; allowed: kind, seed",
        ),
        (
            ["network.layers.layer1.units=range(0,8)"],
            "network.layers.layer1.units: must be greater than 0, got 0 (job 0 of 2: network.layers.layer1.units=0)",
        ),
        ([RATE, "hydra/sweeper=optunna"], "hydra/sweeper: no file 'optunna' in this group; did you mean 'optuna'? "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_searches(words: list[str], said: str, tmp_path: Path) -> None:
    done = call("train", "-m", "hydra/sweeper=optuna", *words, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    (line,) = done.errors
    assert line.startswith(f"error: {said}") if said.endswith(" ") else line == f"error: {said}"
    assert list(tmp_path.iterdir()) == []


def test_a_search_without_optuna_is_reported_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expkit.sweeps.optuna_sweeper.is_installed", lambda package: False)
    done = call("train", "-m", "hydra/sweeper=optuna", RATE, cwd=tmp_path)
    assert (done.code, done.errors) == (
        2,
        [
            "error: hydra/sweeper: 'optuna' needs optuna, not installed: pip install 'expkit[optuna]'; "
            "without it hydra/sweeper=grid runs every combination"
        ],
    )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_study_is_reported_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.db").write_text("no database")
    done: Done = call("train", *SEARCH, RATE, *QUICK, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith(f"error: hydra.sweeper.storage: sqlite:///{tmp_path}/mine/study.db cannot be opened (")
    assert (tmp_path / "mine" / "study.db").read_text() == "no database"
    assert json.loads((tmp_path / "mine" / "sweep.json").read_text())["status"] == "FAILED"
