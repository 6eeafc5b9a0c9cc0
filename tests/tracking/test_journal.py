"""The journal and its upload: whole lines, saved progress, calls that may be repeated."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit.tracking.client import Store, StoreAddress
from expkit.tracking.errors import RunDeleted, StoreRefused, StoreUnreachable, failure
from expkit.tracking.journal import Journal
from expkit.tracking.records import Record, refused_among
from expkit.tracking.uploader import OpenStores, Uploader


def begun(folder: Path, key: str = "k", parent: str | None = None, **changed: Any) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    about = {"name": folder.name, "tags": {"a": "b"}, "params": {"p": "1"}, "milliseconds": 1, "process": "x"}
    about |= {"key": key, "parent": parent, "address": {"uri": "", "experiment": ""}}
    journal.append("begin", **{**about, **changed})
    return journal


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> StoreAddress:
    place = tmp_path_factory.mktemp("store")
    return StoreAddress(uri=f"sqlite:///{place / 'mlflow.db'}", experiment="e", artifacts=(place / "a").as_uri())


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
            journal.append("artifacts", paths=["file.txt"])
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
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["file.txt"]


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


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("expkit")]


def test_each_record_that_the_store_refuses_is_left_out_by_name_and_all_others_are_kept(
    tmp_path: Path, address: StoreAddress, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    good = {f"good/{number}": str(number) for number in range(150)} | {"null": "a\0b"}
    params = {"acc@1": "1", "k" * 251: "2", "taken": "new", **good}
    journal = begun(tmp_path, "refused", params=params)
    uploader = Uploader(journal, address, OpenStores())
    run_id = uploader.upload(only_begin=True).run_id
    client.log_param(run_id, "taken", "old")
    for step in range(4):
        values = {"loss": step / 2, "acc@1, top %": 1.0, "valid/auc": float("nan")}
        journal.append("metrics", step=step, values=values, milliseconds=1)
    journal.append("metrics", step=2**63, values={"too late": 1.0}, milliseconds=1)
    journal.append("tags", values={"fine": "1", "a@b": "2", "": "3", "path": "/x/\udce9", "also fine": "4"})
    (tmp_path / "kept.txt").write_text("kept")
    journal.append("artifacts", paths=["nosuch.txt", "kept.txt"])
    journal.append("dataset", kind="digits", digest="d" * 64, sizes={"train": 1})
    journal.append("tags", values="damaged")
    journal.append("finish", status="FINISHED", error="\ud800", milliseconds=2)
    progress = uploader.upload()
    run = client.get_run(run_id)
    assert run.data.params == {**good, "null": "a\\x00b", "taken": "old"}
    kept = {"a": "b", "fine": "1", "path": "/x/\\udce9", "also fine": "4", "error": "\\ud800"}
    assert {key: value for key, value in run.data.tags.items() if "expkit" not in key and "mlflow" not in key} == kept
    assert set(run.data.metrics) == {"loss", "valid/auc"}
    assert [metric.step for metric in client.get_metric_history(run_id, "loss")] == [0, 1, 2, 3]
    assert [item.path for item in client.list_artifacts(run_id)] == ["kept.txt"]
    assert (len(run.inputs.dataset_inputs), run.info.status, journal.pending()) == (1, "FINISHED", 0)
    entries = journal.read(0)
    assert progress.refused == tuple(entries[number].start for number in (0, 1, 2, 3, 4, 5, 6, 7, 9))
    begin, metrics, tags, files, damaged = warnings_in(caplog)
    assert begin.startswith("MLflow refused param 'acc@1' (Invalid value \"acc@1\" for parameter 'params[")
    assert f"param '{'k' * 251}' ('Param key' exceeds the maximum length of 250 characters)" in begin
    assert "param 'taken' (Changing param values is not allowed." in begin
    assert begin.endswith("; all else is recorded")
    assert metrics.startswith("MLflow refused metric 'acc@1, top %' (Invalid value ")
    late = "metric 'too late' (Python int too large to convert to SQLite INTEGER)"
    assert metrics.endswith(f"and slashes (/).), {late}; all else is recorded")
    assert "tag 'a@b' (Invalid value " in tags
    assert "tag '' (Invalid value " in tags
    missing = f"[Errno 2] No such file or directory: '{tmp_path / 'nosuch.txt'}'"
    assert files == f"MLflow refused artifact 'nosuch.txt' (it cannot be read: {missing}); all else is recorded"
    assert damaged == "MLflow refused an entry 'tags' (it is damaged); all else is recorded"


@pytest.fixture
def of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreAddress:
    """A store of files, which refuses other things than a database."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return StoreAddress(uri=(tmp_path / "mlruns").as_uri(), experiment="e")


def test_a_run_of_which_the_store_refuses_a_tag_is_recorded_without_it(
    tmp_path: Path, of_files: StoreAddress, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    journal = begun(tmp_path / "run", "unnamed", name="run \ud800", tags={"fine": "1", "a@b": "2", "": "3"})
    run = MlflowClient(of_files.uri).get_run(Uploader(journal, of_files, OpenStores()).upload().run_id)
    assert (run.data.params, run.data.tags["fine"], "a@b" in run.data.tags) == ({"p": "1"}, "1", False)
    assert run.info.run_name == "run \\ud800"
    (line,) = warnings_in(caplog)
    assert "tag 'a@b' (Invalid value " in line
    assert "tag '' (Invalid value " in line


def test_a_metric_that_a_store_of_files_cannot_keep_costs_no_other(
    tmp_path: Path, of_files: StoreAddress, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    journal = begun(tmp_path / "run")
    for step in range(5):
        values = {"valid/loss": 1.0, "valid/loss/ema": 2.0, "valid/auc": 0.5}
        journal.append("metrics", step=step, values=values, milliseconds=1)
    journal.append("finish", status="FINISHED", error=None, milliseconds=2)
    run_id = Uploader(journal, of_files, OpenStores()).upload().run_id
    client = MlflowClient(of_files.uri)
    run = client.get_run(run_id)
    assert (run.info.status, set(run.data.metrics)) == ("FINISHED", {"valid/loss", "valid/auc"})
    assert {metric.step for metric in client.get_metric_history(run_id, "valid/auc")} == set(range(5))
    (line,) = warnings_in(caplog)
    assert line.startswith("MLflow refused metric 'valid/loss/ema' ([Errno 20] Not a directory: ")


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    names=st.lists(st.sampled_from("abcde"), min_size=1, max_size=12),
    bad=st.sets(st.tuples(st.sampled_from("abcde"), st.integers(0, 11))),
)
def test_exactly_the_records_at_fault_are_refused(names: list[str], bad: set[tuple[str, int]]) -> None:
    """The law: what is refused together is found out one by one, and every other record is sent."""
    records = [Record(kind="tag", name=f"{name}{step}", value="", start=step) for step, name in enumerate(names)]
    sent: set[str] = set()

    def send(some: Sequence[Record]) -> None:
        if any((record.name[0], record.start) in bad for record in some):
            raise StoreRefused("no")
        sent.update(record.name for record in some)

    refused = {refusal.what for refusal in refused_among(send, records)}
    at_fault = {record.name for record in records if (record.name[0], record.start) in bad}
    assert refused == {f"tag '{name}'" for name in at_fault}
    assert sent == {record.name for record in records} - at_fault


# Files outside of the run folder


def test_paths_and_links_that_lead_out_of_the_run_folder_are_not_uploaded(
    tmp_path: Path, address: StoreAddress, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder, secret = tmp_path / "run", tmp_path / "secret.txt"
    secret.write_text("mine")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "key").write_text("mine")
    journal = begun(folder, "outside")
    (folder / "fine.txt").write_text("kept")
    (folder / "link.txt").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path / "others")
    (folder / "deep" / "below").mkdir(parents=True)
    (folder / "deep" / "below" / "link").symlink_to(secret)
    (folder / "deep2").mkdir()
    (folder / "deep2" / "others").symlink_to(tmp_path / "others")
    (folder / "inside").symlink_to(folder / "fine.txt")
    os.mkfifo(folder / "pipe")
    outside = [
        str(secret),
        "../secret.txt",
        "link.txt",
        "linked",
        "linked/key",
        "deep",
        "deep2",
        str(folder / "link.txt"),
    ]
    journal.append("artifacts", paths=[*outside, "pipe", 5, "a\0b", "fine.txt", "inside"])
    about = {"metadata": {}, "register": None, "alias": None}
    journal.append("model", graph="link.txt", example="fine.txt", **about)
    journal.append("model", graph="fine.txt", example=str(secret), **about)
    journal.append("finish", status="FINISHED", error=None, milliseconds=2)
    run_id = Uploader(journal, address, OpenStores()).upload().run_id
    assert [item.path for item in client.list_artifacts(run_id)] == ["fine.txt", "inside"]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.search_logged_models([client.get_run(run_id).info.experiment_id], f"source_run_id = '{run_id}'") == []
    (files, *models) = warnings_in(caplog)
    why = "is not in the run folder, and only files in it are uploaded"
    assert f"artifact '{secret}' ({secret} {why})" in files
    assert f"artifact 'linked/key' ({folder / 'linked' / 'key'} {why})" in files
    assert f"artifact 'deep' ({folder / 'deep' / 'below' / 'link'} {why})" in files
    assert f"artifact 'deep2' ({folder / 'deep2' / 'others'} {why})" in files
    assert f"artifact 'pipe' ({folder / 'pipe'} is not a file)" in files
    assert files.count("artifact '") == 11
    assert models == [
        f"MLflow refused model 'link.txt' ({folder / 'link.txt'} {why}); all else is recorded",
        f"MLflow refused model 'fine.txt' ({secret} {why}); all else is recorded",
    ]


def test_a_parent_that_is_no_folder_above_the_run_is_not_read(
    tmp_path: Path, address: StoreAddress, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    begun(tmp_path / "another", "another")
    child = begun(tmp_path / "run", "stray", parent=str(tmp_path / "another"))
    run_id = Uploader(child, address, OpenStores()).upload().run_id
    assert "mlflow.parentRunId" not in client.get_run(run_id).data.tags
    assert Journal(tmp_path / "another").progress().run_id is None
    assert warnings_in(caplog) == [
        f"{tmp_path / 'run'} is not in its sweep {tmp_path / 'another'}: it is recorded without its parent"
    ]


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
    journal.append("artifacts", paths=["file.txt"])
    journal.append("finish", status="FINISHED", error=None, milliseconds=2)
    tried = []

    def broken(self: Store, run_id: str, file: Path) -> None:
        tried.append(file)
        raise StoreUnreachable("500: the bucket is not there")

    monkeypatch.setattr(Store, "log_file", broken)
    progress = Uploader(journal, address, OpenStores()).upload()
    assert client.get_run(progress.run_id).info.status == "FINISHED"
    assert (len(tried), len(progress.refused)) == (3, 1)
    assert warnings_in(caplog) == [
        "MLflow refused artifact 'file.txt' (500: the bucket is not there); all else is recorded"
    ]
    monkeypatch.undo()
    uploader = Uploader(journal, address, OpenStores())
    assert uploader.upload() == progress
    assert uploader.retry_refused().refused == ()
    assert [item.path for item in client.list_artifacts(progress.run_id)] == ["file.txt"]
