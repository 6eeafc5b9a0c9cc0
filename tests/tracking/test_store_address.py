"""The store of a run: the configuration's, that of MLflow's environment variables, or the one beside the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expkit.config.load import load
from expkit.tracking.client import StoreAddress
from expkit.tracking.journal import Journal
from expkit.tracking.store_address import environment_note, records_system_metrics, store_address, sync_command
from expkit.tracking.sync import addresses, sync
from expkit.tracking.uploader import OpenStores
from support.command_line import BARE, call

NAMES = ("TRACKING_URI", "EXPERIMENT_NAME", "EXPERIMENT_ID", "ENABLE_SYSTEM_METRICS_LOGGING")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


def configured(cwd: Path, *overrides: str) -> Any:
    return load([f"run.folder={cwd / 'runs'}", *overrides])


def test_without_words_it_lies_beside_the_runs(tmp_path: Path) -> None:
    runs = (tmp_path / "runs").resolve()
    local = StoreAddress(
        uri=f"sqlite:///{runs / 'mlflow.db'}", experiment="expkit", artifacts=(runs / "mlartifacts").as_uri()
    )
    config = configured(tmp_path)
    assert (store_address(config), environment_note(config)) == (local, None)


@pytest.mark.parametrize("value", ["", "  "])
def test_a_variable_that_is_empty_says_nothing(tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store_address(configured(tmp_path))
    for name in NAMES:
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    config = configured(tmp_path)
    assert (store_address(config), environment_note(config)) == (before, None)


def test_the_configuration_comes_before_the_environment_and_that_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host:5000/?token=secret")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    by_id = StoreAddress(
        uri="http://user:secret@host:5000/?token=secret", experiment="expkit", artifacts=None, experiment_id="7"
    )
    open_config = configured(tmp_path)
    assert store_address(open_config) == by_id
    store = "MLflow: store http://***@host:5000/?token=*** (MLFLOW_TRACKING_URI)"
    assert environment_note(open_config) == f"{store}, experiment 7 (MLFLOW_EXPERIMENT_ID)"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "team")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    named = store_address(open_config)
    assert (named.experiment, named.experiment_id, records_system_metrics(open_config)) == ("team", None, True)
    assert environment_note(open_config) == (
        f"{store}, experiment team (MLFLOW_EXPERIMENT_NAME), system metrics true (MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING)"
    )
    closed = configured(
        tmp_path, "tracking.uri='http://own'", "tracking.experiment=own", "tracking.system_metrics=false"
    )
    assert store_address(closed) == StoreAddress(uri="http://own", experiment="own")
    assert (records_system_metrics(closed), environment_note(closed)) == (False, None)
    assert environment_note(configured(tmp_path, "tracking=none")) is None


def test_a_relative_sqlite_file_means_the_same_from_everywhere(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///some/mlflow.db?timeout=20")
    expected = f"sqlite:///{empty_folder.resolve() / 'some' / 'mlflow.db'}?timeout=20"
    assert store_address(configured(empty_folder)).uri == expected


def test_runs_and_sweeps_are_recorded_where_the_environment_says_and_every_verb_finds_them_there(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    (empty_folder / "team").mkdir()
    uri = f"sqlite:///{empty_folder.resolve() / 'team' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    said = f"MLflow: store {uri} (MLFLOW_TRACKING_URI), experiment ours (MLFLOW_EXPERIMENT_NAME)"
    words = [*BARE, "tracking=local", "tracking.plots=false", "export=frozen", "tracking.model=false"]
    done = call("train", *words, cwd=empty_folder)
    assert (done.code, done.err.splitlines()) == (0, [said])
    swept = call("train", "-m", *BARE, "tracking=local", "tracking.plots=false", "run.seed=1,2", cwd=empty_folder)
    assert (swept.code, swept.err.splitlines()) == (0, [said])
    assert not (empty_folder / "runs" / "mlflow.db").exists()
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("ours").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["digits_mlp", "digits_mlp sweep over seed", "seed=1", "seed=2"]
    synced = call("sync", "runs", cwd=empty_folder)
    assert (synced.code, synced.out.splitlines()[-1]) == (0, "4 of 4 runs are complete in MLflow")
    (single,) = [run for run in runs if run.info.run_name == "digits_mlp"]
    info = call("info", f"runs:/{single.info.run_id}", cwd=empty_folder)
    assert (info.code, info.err.splitlines()) == (0, [f"MLflow: store {uri} (MLFLOW_TRACKING_URI)"])


def test_ui_names_the_page_of_the_server_that_the_environment_names(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@host:5000/")
    shown = call("ui", cwd=empty_folder)
    assert (shown.code, shown.err) == (0, "MLflow: store http://***@host:5000/ (MLFLOW_TRACKING_URI)\n")
    assert shown.out.startswith("http://host:5000/#/experiments")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@host/db")
    assert call("ui", cwd=empty_folder).errors[-1] == (
        "error: MLFLOW_TRACKING_URI: is not a local store; --folder DIR shows that of DIR"
    )


# Stores that only a run folder names


def begun(folder: Path, uri: str, artifacts: str | None = None) -> Path:
    folder.mkdir(parents=True)
    address = {"uri": uri, "experiment": "e", "artifacts": artifacts}
    about = {"name": "n", "tags": {}, "params": {}, "parent": None, "milliseconds": 1}
    Journal(folder).append("begin", key=folder.name, address=address, process="p", **about)
    return folder


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil:5000",
        "https://***@evil/x",
        "sqlite:////tmp/evil/mlflow.db",
        "sqlite:///mlflow.db",
        "sqlite:///{folder}/mlflow.db",
        "file:///tmp/evil",
        "postgresql://evil/db",
        "databricks",
        "",
    ],
)
def test_a_store_that_only_the_folder_names_gets_nothing_unless_it_is_given(empty_folder: Path, uri: str) -> None:
    folder = begun(empty_folder / "runs" / "day" / "run", uri.format(folder=empty_folder / "runs" / "day" / "run"))
    named = uri.format(folder=folder)
    done = call("sync", folder, cwd=empty_folder)
    assert (done.code, done.out) == (2, "")
    (error,) = done.errors
    assert error == (
        f"error: {folder}: only its records name the store {named}; if that is where they belong: "
        f"{sync_command(folder, named)}"
    )
    assert error.split(" --uri ")[1].strip("'") == named
    given = call("sync", folder, "--uri", f"sqlite:///{empty_folder / 'mine.db'}", cwd=empty_folder)
    assert (given.code, given.out.endswith(": uploaded 1 records\n")) == (0, True)


def test_one_such_folder_stops_all_before_anything_is_uploaded(empty_folder: Path) -> None:
    runs = empty_folder / "runs"
    begun(runs / "day" / "a", f"sqlite:///{runs.resolve() / 'mlflow.db'}")
    (runs / "mlflow.db").touch()
    begun(runs / "day" / "b", "http://b")
    begun(runs / "day" / "c", "http://c")
    done = call("sync", "runs", cwd=empty_folder)
    assert (done.code, done.out) == (2, "")
    assert [error.partition(";")[0] for error in done.errors] == [
        f"error: runs/day/{name}: only its records name the store http://{name}" for name in ("b", "c")
    ]
    assert not (runs / "day" / "a" / "tracking.json").exists()


def test_files_of_the_default_store_go_beside_it_whatever_the_folder_says(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path.resolve() / 'runs' / 'mlflow.db'}"
    MlflowClient(uri).search_experiments()
    folder = begun(tmp_path / "runs" / "day" / "run", uri, artifacts=(tmp_path / "evil").as_uri())
    assert sync(folder, OpenStores(), *addresses([folder])).missing == 0
    experiment = MlflowClient(uri).get_experiment_by_name("e")
    assert experiment.artifact_location == (tmp_path.resolve() / "runs" / "mlartifacts").as_uri()
