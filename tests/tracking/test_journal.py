"""The journal and its upload: whole lines, saved progress, calls that may be repeated."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from expkit.tracking.client import Store, StoreAddress
from expkit.tracking.errors import RunDeleted, StoreRefused, StoreUnreachable, failure
from expkit.tracking.journal import Journal
from expkit.tracking.uploader import OpenStores, Uploader


def begun(folder: Path, key: str = "k", parent: str | None = None) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    about = {"name": folder.name, "tags": {"a": "b"}, "params": {"p": "1"}, "milliseconds": 1, "process": "x"}
    journal.append("begin", key=key, parent=parent, address={"uri": "", "experiment": ""}, **about)
    return journal


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> StoreAddress:
    place = tmp_path_factory.mktemp("store")
    return StoreAddress(f"sqlite:///{place / 'mlflow.db'}", "e", (place / "a").as_uri())


@pytest.fixture
def client(address: StoreAddress) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(address.uri)


# The file


def test_entries_are_read_in_order_from_any_position(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert (journal.exists(), journal.read(0), journal.pending()) == (False, [], 0)
    for step in range(3):
        journal.append("metrics", step=step, values={"loss": step})
    entries = journal.read(0)
    assert [entry.values["step"] for entry in entries] == [0, 1, 2]
    assert [entry.values["step"] for entry in journal.read(entries[0].end)] == [1, 2]
    assert journal.last_steps() == {"loss": 2}


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("tags", values={})
    with journal.file.open("a") as file:
        file.write('{"act": "tags", "val')
    assert [entry.act for entry in journal.read(0)] == ["tags"]
    Journal(tmp_path).append("finish", status="FINISHED")
    assert [entry.act for entry in journal.read(0)] == ["tags", "unreadable", "finish"]


def test_progress_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    progress = journal.save_progress(journal.progress(), run_id="r", delivered=7)
    assert journal.progress() == progress
    (tmp_path / "tracking.json").write_text("")
    assert (journal.progress().run_id, journal.progress().delivered) == (None, 0)


def test_one_process_at_a_time_uploads(tmp_path: Path, address: StoreAddress) -> None:
    first, second = begun(tmp_path), Journal(tmp_path)
    assert first.lock()
    with pytest.raises(StoreUnreachable, match=f"another process is uploading {tmp_path}"):
        Uploader(second, address, OpenStores()).upload()
    first.close()
    assert second.lock()


# Its upload


def test_lost_answers_neither_duplicate_nor_lose_anything(
    tmp_path: Path, address: StoreAddress, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law: whatever call's answer is lost, before or after it was carried out, the store has all of it once."""
    from mlflow.entities import ViewType

    draw = random.Random(1)
    call = Store._call

    def lossy(self: Store, *arguments: Any, **named: Any) -> Any:
        if draw.random() < 0.3:
            raise StoreUnreachable("down before")
        result = call(self, *arguments, **named)
        making = arguments[0].__name__ == "create_run"  # once: that the run is there is found out before another try
        if making or draw.random() < 0.3:
            raise StoreUnreachable("down after")
        return result

    monkeypatch.setattr(Store, "_call", lossy)
    monkeypatch.setattr("expkit.tracking.uploader._METRICS_PER_REQUEST", 5)
    journal = begun(tmp_path, "lost")
    (tmp_path / "file.txt").write_text("kept")
    journal.append("dataset", kind="digits", digest="d" * 64, sizes={"train": 1})
    steps = list(range(60))
    for step in steps:
        values = {"loss": 1 / (step + 1), "nan": float("nan"), "inf": float("inf")}
        journal.append("metrics", step=step, values=values, milliseconds=1000 + step)
        if step % 20 == 0:
            journal.append("tags", values={"step": str(step)})
            journal.append("artifacts", paths=["file.txt"], folder="files")
    journal.append("finish", status="FAILED", error="it broke", milliseconds=5000)
    journal.append("continue", address={}, process="y")
    journal.append("finish", status="FINISHED", error=None, milliseconds=9000)
    failures = 0
    while journal.pending():
        try:
            Uploader(journal, address, OpenStores()).upload()
        except StoreUnreachable:
            failures += 1
    assert failures > 20
    experiment = client.get_experiment_by_name("e").experiment_id
    (run,) = client.search_runs([experiment], "tags.`expkit.key` = 'lost'", ViewType.ALL)
    for name in ("loss", "nan", "inf"):
        assert [metric.step for metric in client.get_metric_history(run.info.run_id, name)] == steps
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1, 9000)
    assert "error" not in run.data.tags
    assert (run.data.params, run.data.tags["step"]) == ({"p": "1"}, "40")
    assert len(run.inputs.dataset_inputs) == 1
    assert [item.path for item in client.list_artifacts(run.info.run_id, "files")] == ["files/file.txt"]


def test_a_run_created_by_a_call_that_came_too_late_is_deleted(
    tmp_path: Path, address: StoreAddress, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begun(tmp_path, "twin")
    store = OpenStores().at(address)
    create, late = Store.create, []

    def slow(self: Store, *arguments: Any) -> str:
        if not late:
            late.append(arguments)
            raise StoreUnreachable("no answer in time")
        return create(self, *arguments)

    monkeypatch.setattr(Store, "create", slow)
    with pytest.raises(StoreUnreachable):
        Uploader(journal, address, OpenStores()).upload()
    run_id = Uploader(journal, address, OpenStores()).upload().run_id
    twin = create(store, *late[0])  # the server had it in its queue
    assert sorted(store.find("twin")) == sorted([run_id, twin])
    journal.append("finish", status="FINISHED", error=None, milliseconds=2)
    Uploader(journal, address, OpenStores()).upload()
    assert store.find("twin") == [run_id]
    assert client.get_run(twin).info.lifecycle_stage == "deleted"


def test_only_the_entry_that_the_store_refuses_is_left_out(
    tmp_path: Path, address: StoreAddress, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    journal = begun(tmp_path, "refused")
    for step, name in enumerate(["good", "b[a]d\n", "good"]):
        journal.append("metrics", step=step, values={name: 1.0}, milliseconds=1)
    progress = Uploader(journal, address, OpenStores()).upload()
    assert (progress.refused, journal.pending()) == ((journal.read(0)[2].start,), 0)
    assert [metric.step for metric in client.get_metric_history(progress.run_id, "good")] == [0, 2]
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("expkit")]
    assert line.startswith("MLflow refused metrics: Invalid value ")


def test_a_child_nests_under_a_sweep_whose_run_is_created_first(
    tmp_path: Path, address: StoreAddress, client: Any
) -> None:
    begun(tmp_path, "sweep")
    child = begun(tmp_path / "0", "child", parent=str(tmp_path))
    run_id = Uploader(child, address, OpenStores()).upload().run_id
    above = Journal(tmp_path).progress().run_id
    assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == above
    assert client.get_run(above).data.tags["expkit.key"] == "sweep"


def test_a_run_that_was_deleted_in_mlflow_keeps_its_records(tmp_path: Path, address: StoreAddress, client: Any) -> None:
    journal = begun(tmp_path, "deleted")
    uploader = Uploader(journal, address, OpenStores())
    run_id = uploader.upload().run_id
    client.delete_run(run_id)
    journal.append("metrics", step=1, values={"loss": 1.0}, milliseconds=1)
    for attempt in (uploader, Uploader(journal, address, OpenStores())):
        with pytest.raises(RunDeleted, match=f"run {run_id} was deleted in MLflow; its records stay in the run folder"):
            attempt.upload()
    assert journal.pending() == 1
    again = Uploader(journal, address, OpenStores(), recreate_deleted=True).upload().run_id
    assert again != run_id
    assert (client.get_run(again).data.metrics, journal.pending()) == ({"loss": 1.0}, 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("HTTPConnectionPool(...): Failed to establish: [Errno 111] Connection refused", "connection refused"),
        ("API request failed with timeout exception: Read timed out. (read timeout=10)", "no answer in time"),
        ("('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", "the connection was cut"),
        ("Failed to resolve 'nosuch' ([Errno -2] Name or service not known)", "its name cannot be resolved"),
        (
            "API request to http://user:secret@host:1/api failed: odd",
            "API request to http://***@host:1/api failed: odd",
        ),
    ],
)
def test_failures_of_a_server_are_reported_briefly_and_without_secrets(text: str, shown: str) -> None:
    from mlflow.exceptions import MlflowException

    meaning = failure(MlflowException(text))
    assert (type(meaning), str(meaning)) == (StoreUnreachable, shown)


def test_a_refused_call_is_another_failure_than_an_unreachable_server() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, UNAUTHENTICATED

    assert isinstance(failure(MlflowException("no", INVALID_PARAMETER_VALUE)), StoreRefused)
    assert isinstance(failure(MlflowException("who?", UNAUTHENTICATED)), StoreUnreachable)
    wrong = failure(MlflowException("who?", UNAUTHENTICATED), opening=True)
    assert isinstance(wrong, StoreRefused)
    assert "MLFLOW_TRACKING_USERNAME" in str(wrong)


def test_files_that_a_server_cannot_store_delay_nothing_and_are_tried_again(
    tmp_path: Path,
    address: StoreAddress,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = begun(tmp_path, "files")
    (tmp_path / "file.txt").write_text("kept")
    journal.append("artifacts", paths=["file.txt"], folder=None)
    journal.append("finish", status="FINISHED", error=None, milliseconds=2)
    apply, tried = Store.apply, []

    def broken(self: Store, run_id: str, folder: Path, entry: Any) -> None:
        if entry.act == "artifacts":
            tried.append(entry)
            raise StoreUnreachable("500: the bucket is not there")
        apply(self, run_id, folder, entry)

    monkeypatch.setattr(Store, "apply", broken)
    progress = Uploader(journal, address, OpenStores()).upload()
    assert client.get_run(progress.run_id).info.status == "FINISHED"
    assert (len(tried), len(progress.refused)) == (3, 1)
    assert "MLflow refused artifacts: 500: the bucket is not there" in caplog.text
    monkeypatch.undo()
    uploader = Uploader(journal, address, OpenStores())
    assert uploader.upload() == progress
    assert uploader.retry_refused().refused == ()
    assert [item.path for item in client.list_artifacts(progress.run_id)] == ["file.txt"]
