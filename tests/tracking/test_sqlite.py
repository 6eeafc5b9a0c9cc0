"""SQLite as a store: many processes at once, a file of another MLflow."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Finished
from expkit.config.load import load
from expkit.tracking.client import Store, StoreAddress
from expkit.tracking.errors import TrackingError
from expkit.tracking.journal import Journal
from support.command_line import REPOSITORY, call
from support.forked_recorder import ForkedRecorder

WRITERS, POINTS = 8, 300

# Processes of their own, forked from one that has MLflow imported, because that takes seconds. All make the database.
PROGRAM = """
import os, sys
from pathlib import Path
from expkit.tracking.uploader import Uploader, OpenStores
from expkit.tracking.errors import StoreUnreachable
from expkit.tracking.journal import Journal
from expkit.tracking.client import StoreAddress, prepare

place, writers, points = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
prepare()
import mlflow.store.tracking.sqlalchemy_store

def write(number):
    folder = place / str(number)
    folder.mkdir()
    journal = Journal(folder)
    about = {"name": folder.name, "tags": {}, "params": {}, "milliseconds": 1, "process": "x"}
    journal.append("begin", key=folder.name, parent=None, address={}, **about)
    address = StoreAddress(uri=f"sqlite:///{place / 'mlflow.db'}", experiment="e", artifacts=str(place / "a"))
    uploader = Uploader(journal, address, OpenStores())
    for step in range(points):
        journal.append("metrics", step=step, values={"loss": step + number}, milliseconds=step)
        if step % 5 == 0:
            uploader.upload()
    journal.append("finish", status="FINISHED", error=None, milliseconds=2)
    while journal.pending():
        try:
            uploader.upload()
        except StoreUnreachable as error:
            print(error)

for number in range(writers):
    if os.fork() == 0:
        write(number)
        os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(writers)))
"""


def test_eight_processes_that_create_and_write_one_file_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(WRITERS), str(POINTS)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert sorted(run.info.run_name for run in runs) == [str(number) for number in range(WRITERS)]
    for run in runs:
        found = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")]
        assert found == [(step, step + int(run.info.run_name)) for step in range(POINTS)]
        assert run.info.status == "FINISHED"


def test_two_runs_that_record_one_dataset_at_once_both_have_it(tmp_path: Path) -> None:
    from mlflow import MlflowClient
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    place = tmp_path.resolve()
    uris = [f"sqlite:///{place / 'mlflow.db'}", f"sqlite:///{place / '.' / 'mlflow.db'}?timeout=20"]
    first, second = (Store(StoreAddress(uri=uri, experiment="e", artifacts=str(place / "a"))) for uri in uris)
    about = {"name": "r", "tags": {}, "milliseconds": 1}
    runs = [store.create({**about, "key": key}, None) for store, key in ((first, "1"), (second, "2"))]
    dataset = ("digits", "d" * 64, {"train": 3})
    between = []

    def write_between(*_: object) -> None:
        if not between:
            between.append(runs[1])
            second.log_dataset(runs[1], *dataset)

    event.listen(Session, "before_flush", write_between)
    try:
        first.log_dataset(runs[0], *dataset)
    finally:
        event.remove(Session, "before_flush", write_between)
    assert between
    found = [MlflowClient(uris[0]).get_run(run).inputs.dataset_inputs for run in runs]
    assert [[item.dataset.name for item in items] for items in found] == [["digits"], ["digits"]]


# A file of a newer MLflow

NEWER = (
    "a newer MLflow created it: its schema 0123456789ab is unknown to the one installed here; "
    "pip install --upgrade mlflow"
)


@pytest.fixture
def newer(digits_run: Finished, tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    store = tmp_path.resolve() / "runs" / "mlflow.db"
    shutil.copy(digits_run.cwd / "runs" / "mlflow.db", store)
    with sqlite3.connect(store) as connection:
        connection.execute("update alembic_version set version_num = '0123456789ab'")
    return store


def test_a_file_of_a_newer_mlflow_is_an_error_before_training(newer: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        Store(StoreAddress(uri=f"sqlite:///{newer}", experiment="e"))
    assert str(caught.value) == (
        f"tracking.uri: the store sqlite:///{newer} cannot be opened ({NEWER}); fix it, give another with "
        "tracking.uri=URI, or use tracking=none"
    )


def test_a_file_of_a_newer_mlflow_is_an_error_of_ui(newer: Path, tmp_path: Path) -> None:
    done = call("ui", cwd=tmp_path)
    assert (done.code, done.errors) == (2, [f"error: {newer}: cannot be shown: {NEWER}"])


def test_a_file_that_is_no_store_has_no_pages(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_text("not a database, but long enough to be read as one" * 20)
    done = call("ui", cwd=tmp_path)
    store = tmp_path.resolve() / "runs" / "mlflow.db"
    assert (done.code, done.errors) == (2, [f"error: {store}: cannot be shown: file is not a database"])


# What cannot be synced


def test_a_run_that_does_not_exist_or_has_no_records_is_named(digits_run: Finished, tmp_path: Path) -> None:
    (tmp_path / "runs" / "day" / "one").mkdir(parents=True)
    Journal(tmp_path / "runs" / "day" / "one").append("tags", values={})
    away = call("sync", "nosuch", cwd=tmp_path)
    assert (away.code, away.errors) == (2, ["error: nosuch: does not exist; runs: runs/day/one"])
    (tmp_path / "empty").mkdir()
    empty = call("sync", "empty", cwd=tmp_path)
    message = "error: empty: has no records of a run (no tracking.jsonl in it); runs: runs/day/one"
    assert (empty.code, empty.errors) == (2, [message])
    unknown = call("sync", "runs:/nosuch", cwd=digits_run.cwd)
    assert unknown.code == 2
    assert unknown.errors == [
        "error: runs:/nosuch: no run in runs has the id nosuch in MLflow; give its folder, which is in "
        "the run's tag run_folder"
    ]


def test_a_run_is_found_by_its_id(digits_run: Finished) -> None:
    run_id = Journal(digits_run.folder).progress().run_id
    done = call("sync", f"runs:/{run_id}", cwd=digits_run.cwd)
    assert done.code == 0
    assert done.out.endswith(f": MLflow run {run_id}: nothing was missing\n")


def begun(folder: Path, uri: str) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    address: dict[str, Any] = {"uri": uri, "experiment": "e", "artifacts": None}
    about = {"name": "n", "tags": {}, "params": {}, "milliseconds": 1, "process": "x", "parent": None}
    journal.append("begin", key="k", address=address, **about)
    return journal


def test_a_run_whose_store_is_gone_needs_another(tmp_path: Path) -> None:
    folder, store = tmp_path / "day" / "run", tmp_path.resolve() / "mlflow.db"
    journal = begun(folder, f"sqlite:///{store}")
    done = call("sync", folder, cwd=tmp_path)
    message = f"error: {folder}: its store {store} no longer exists; give another with --uri URI"
    assert (done.code, done.errors) == (2, [message])
    assert not store.exists()
    other = call("sync", folder, "--uri", f"sqlite:///{tmp_path}/new.db", cwd=tmp_path)
    assert (other.code, other.out) == (0, f"{folder}: MLflow run {journal.progress().run_id}: uploaded 1 records\n")


def test_a_password_that_is_not_kept_is_required_again(tmp_path: Path) -> None:
    begun(tmp_path, "postgresql://***@host/db")
    done = call("sync", tmp_path, "--uri", "postgresql://***@host/db", cwd=tmp_path)
    assert done.code == 2
    assert "its password is not kept in the run's folder; give the whole URI with --uri URI" in done.errors[0]


# What the machine does


def test_system_metrics_are_recorded_on_request(workspace: Path, digits_run: Finished) -> None:
    pytest.importorskip("psutil", reason="expkit[system] is not installed")
    from mlflow import MlflowClient

    from expkit.run_folder import RunFolder
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.store_address import store_uri
    from expkit.tracking.tracker import MlflowTracker

    config = load([f"run.folder={workspace / 'runs'}", "tracking.system_metrics=true"])
    folder = RunFolder.create(workspace / "runs" / "direct" / "system", config, [])
    with Recorder(ForkedRecorder) as recorder:
        tracker = MlflowTracker(recorder, config, folder)
        tracker.begin()
        tracker.metrics(1, {"train/loss": 0.5})
        until = time.monotonic() + 600
        while "system/cpu_utilization_percentage" not in Journal(folder.path).last_steps():
            assert time.monotonic() < until
            time.sleep(0.1)
        tracker.finish("FINISHED")
    assert tracker.run_id is not None
    metrics = MlflowClient(store_uri(config)).get_run(tracker.run_id).data.metrics
    assert {"train/loss", "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(metrics)


def test_system_metrics_want_psutil(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    done = call("train", "tracking.system_metrics=true", "train.steps=2", cwd=workspace)
    assert (done.code, done.errors) == (
        2,
        ["error: tracking.system_metrics: needs psutil; pip install 'expkit[system]', or leave it false"],
    )
