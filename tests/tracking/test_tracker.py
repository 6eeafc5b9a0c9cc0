"""MLflow: what a run and a sweep leave in the store, read back with MLflow's own client."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Finished
from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.preflight import check
from expkit.provenance import git_commit, versions
from expkit.run_folder import RunFolder
from expkit.tracking.errors import TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.recorder import Recorder
from expkit.tracking.store_address import store_uri
from expkit.tracking.tracker import MlflowTracker, SweepRun
from support.command_line import REPOSITORY, SHORT, call
from support.forked_recorder import ForkedRecorder


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder(ForkedRecorder) as recorder:
        yield recorder


def client_of(cwd: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{cwd.resolve() / 'runs' / 'mlflow.db'}")


def recorded(finished: Finished) -> tuple[Any, Any]:
    client = client_of(finished.cwd)
    return client, client.get_run(RunFolder(finished.folder).state()["mlflow_run_id"])


def test_a_finished_run_is_finished_and_named(digits_run: Finished) -> None:
    client, run = recorded(digits_run)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "digits_mlp")
    assert client.get_experiment(run.info.experiment_id).name == "expkit"
    assert "error" not in run.data.tags
    assert run.info.end_time >= run.info.start_time


def test_params_are_dotted(digits_run: Finished) -> None:
    _, run = recorded(digits_run)
    expected = {
        "run.seed": "0",
        "network.layers.layer1.kind": "dense",
        "network.layers.layer1.units": "256",
        "network.inputs.image.shape": "[64]",
        "optimizer.kind": "adam",
        "optimizer.learning_rate": "0.001",
        "train.steps": "60",
        "ema.enabled": "true",
        "data.preprocess.image": '[{"kind": "standardize"}]',
    }
    assert {key: run.data.params.get(key) for key in expected} == expected


def test_metrics_are_those_of_the_run_with_their_steps(digits_run: Finished) -> None:
    client, run = recorded(digits_run)
    points = RunFolder(digits_run.folder).metrics()
    names = {name for point in points for name in point if name != "step"}
    assert {"train/loss", "valid/accuracy", "valid/accuracy/ema", "test/loss", "test/accuracy/ema"} <= names
    assert set(run.data.metrics) == names
    for name in names:
        history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert history == [(point["step"], point[name]) for point in points if name in point]


def test_artifacts_are_copies_of_what_the_run_keeps(digits_run: Finished, tmp_path: Path) -> None:
    client, run = recorded(digits_run)
    names = [
        "config.yaml",
        "frozen.parity.json",
        "frozen.pb",
        "frozen.restore.json",
        "metrics.jsonl",
        "overrides.yaml",
        "plots",
        "preprocess.json",
        "run.log",
    ]
    assert sorted(item.path for item in client.list_artifacts(run.info.run_id)) == names
    pictures = sorted(f"plots/{file.name}" for file in (digits_run.folder / "plots").iterdir())
    assert sorted(item.path for item in client.list_artifacts(run.info.run_id, "plots")) == pictures
    for name in [name for name in names if name != "plots"] + pictures:
        copy = Path(client.download_artifacts(run.info.run_id, name, str(tmp_path)))
        assert copy.read_bytes() == (digits_run.folder / name).read_bytes()


def test_the_dataset_is_known_by_a_digest_of_its_bytes(digits_run: Finished) -> None:
    _, run = recorded(digits_run)
    config = RunFolder(digits_run.folder).config()
    dataset = load_dataset(config, check(config).spec)
    (item,) = run.inputs.dataset_inputs
    assert (item.dataset.name, item.dataset.digest) == ("digits", dataset.digest[:32])
    assert json.loads(item.dataset.source) == {"kind": "digits", "sha256": dataset.digest}
    assert json.loads(item.dataset.profile) == {"train": 1258, "valid": 180, "test": 359}


def test_tags_say_versions_and_where_the_run_lies(digits_run: Finished) -> None:
    _, run = recorded(digits_run)
    assert run.data.tags["run_folder"] == str(digits_run.folder)
    assert run.data.tags["mlflow.source.name"] == "expkit train"
    found = {key.removeprefix("version."): value for key, value in run.data.tags.items() if key.startswith("version.")}
    assert found == versions()


def test_the_commit_is_a_tag_in_a_checkout(
    recorder: Recorder, workspace: Path, digits_run: Finished, monkeypatch: Any
) -> None:
    monkeypatch.chdir(REPOSITORY)
    commit = git_commit()
    if commit is None:
        pytest.skip("the tests do not lie in a git checkout")
    tracker = MlflowTracker(recorder, config_in(workspace), folder_in(workspace, "commit"))
    tracker.finish("FINISHED")
    tags = client_of(workspace).get_run(tracker.run_id).data.tags
    assert (tags["git_commit"], tags["mlflow.source.git.commit"]) == (commit, commit.removesuffix("-dirty"))


def config_in(cwd: Path, *overrides: str) -> Any:
    return load([f"run.folder={cwd / 'runs'}", *overrides])


def folder_in(cwd: Path, name: str) -> RunFolder:
    return RunFolder.create(cwd / "runs" / "direct" / name, config_in(cwd), [])


# A sweep


def children(finished: Finished) -> tuple[Any, Any, list[Any]]:
    client = client_of(finished.cwd)
    parent_id = finished.done.out.splitlines()[-1].split()[2]
    parent = client.get_run(parent_id)
    nested = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'")
    return client, parent, sorted(nested, key=lambda run: run.info.start_time)


def test_a_sweep_is_one_parent_that_failed_when_a_child_did(sweep: Finished) -> None:
    client, parent, _ = children(sweep)
    kept = {item.path for item in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/report.html", "report/table.csv", "report/slices.png"} <= kept
    assert parent.info.run_name == "digits_mlp sweep over units, learning_rate"
    assert parent.info.status == "FAILED"
    assert set(parent.data.metrics) == {"valid/accuracy", "best/mean", "best/runs"}
    assert parent.data.params["optimizer.learning_rate"] == "0.1,1e30"
    assert parent.data.params["hydra.sweeper.objective"] == "valid/accuracy (max)"
    note = parent.data.tags["mlflow.note.content"].splitlines()
    assert note[0] == "## Result"
    assert note[1].startswith("Best valid/accuracy ")
    assert note[1].endswith(": units=32, learning_rate=0.1.")
    assert sum(line.startswith("|  | valid/accuracy | ") for line in note) == 1
    assert note[-1] == "---"


def test_the_result_in_a_description_is_replaced_and_other_lines_are_kept(
    recorder: Recorder, workspace: Path, digits_run: Finished
) -> None:
    folder, client = workspace / "runs" / "direct" / "described", client_of(workspace)
    sweep = SweepRun(recorder, config_in(workspace), folder, "sweep")
    sweep.begin()
    assert sweep.run_id is not None
    for text in ("best a", "best b"):
        client.set_tag(sweep.run_id, "mlflow.note.content", f"mine\n## Result\n{text} before\n---\n\nmy own words")
        sweep.describe(text)
        sweep.finish("FINISHED")
        note = client.get_run(sweep.run_id).data.tags["mlflow.note.content"]
        assert note == f"## Result\n{text}\n---\n\nmine\n\n\nmy own words"


def test_children_are_nested_and_named_by_what_varies(sweep: Finished) -> None:
    _, _, nested = children(sweep)
    assert [(run.info.run_name, run.info.status) for run in nested] == [
        ("units=16, learning_rate=0.1", "FINISHED"),
        ("units=16, learning_rate=1e+30", "FAILED"),
        ("units=32, learning_rate=0.1", "FINISHED"),
        ("units=32, learning_rate=1e+30", "FAILED"),
    ]


def test_children_have_params_and_metrics_of_their_own(sweep: Finished) -> None:
    _, _, nested = children(sweep)
    assert [run.data.params["network.layers.layer1.units"] for run in nested] == ["16", "16", "32", "32"]
    assert [run.data.params["optimizer.learning_rate"] for run in nested] == ["0.1", "1e+30"] * 2
    assert ["test/accuracy/ema" in run.data.metrics for run in nested] == [True, False] * 2


def test_a_child_that_failed_says_why(sweep: Finished) -> None:
    _, _, nested = children(sweep)
    for run in nested:
        assert ("error" in run.data.tags) == (run.info.status == "FAILED")
    assert nested[1].data.tags["error"].startswith("train: the loss became ")
    state = RunFolder(Path(nested[1].data.tags["run_folder"])).state()
    assert state["error"] == nested[1].data.tags["error"]


def test_a_sweep_whose_runs_all_finish_is_finished(workspace: Path, digits_run: Finished) -> None:
    words = ["train.steps=2", "run.seed=1,2", "export=none", "run.name=quick"]
    done = call("train", "-m", *words, cwd=workspace)
    assert (done.code, done.err) == (0, "")
    _, parent, nested = children(Finished(workspace, workspace, done))
    assert (parent.info.run_name, parent.info.status) == ("quick sweep over seed", "FINISHED")
    assert [(run.info.run_name, run.info.status) for run in nested] == [("seed=1", "FINISHED"), ("seed=2", "FINISHED")]


def test_a_sweep_deleted_in_mlflow_ends_no_child_and_is_reported(
    recorder: Recorder, workspace: Path, digits_run: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, client = workspace / "runs" / "direct" / "deleted", client_of(workspace)
    sweep = SweepRun(recorder, config_in(workspace), folder, "sweep")
    sweep.begin()
    deleted = sweep.run_id
    client.delete_run(deleted)
    child = MlflowTracker(recorder, config_in(workspace), folder_in(workspace, "deleted/child"), parent=sweep.reference)
    child.metrics(1, {"train/loss": 0.5})
    child.finish("FINISHED")
    assert capsys.readouterr().err == ""
    run = client.get_run(child.run_id)
    assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", deleted)
    sweep.finish("FINISHED")
    *_, told = capsys.readouterr().err.splitlines()  # the recorder may have told that it uploads nothing, first
    assert told == (
        f"warning: MLflow does not have all of this run (run {deleted} was deleted in MLflow; its records stay in the "
        f"run folder); upload the rest with `expkit sync {folder}`"
    )
    again = SweepRun(recorder, config_in(workspace), folder, "sweep")
    again.begin()
    again.finish("FINISHED")
    assert again.run_id != deleted
    assert client.get_run(again.run_id).info.status == "FINISHED"


# A run that is continued


def test_a_continued_run_is_the_same_run_and_logs_nothing_twice(digits_run: Finished, workspace: Path) -> None:
    folder = RunFolder(workspace / "runs" / "continued")
    shutil.copytree(digits_run.folder, folder.path)
    shutil.rmtree(folder.checkpoints / "step-00000060")  # the killed run had logged step 60, and never wrote it
    (folder.path / "tracking.json").unlink()
    journal = Journal(folder.path)
    lines = [json.loads(line) for line in journal.file.read_text().splitlines()]
    lines[0]["key"] = "0" * 32
    journal.file.write_text("".join(json.dumps(line) + "\n" for line in lines if line["act"] in ("begin", "metrics")))
    journal.append("finish", status="FAILED", error="train: something that is mended", milliseconds=1)
    folder.update(status="RUNNING", mlflow_run_id=None)
    done = call("train", *SHORT, f"run.resume={folder.path}", cwd=workspace)
    assert (done.code, done.err) == (0, "")
    run_id = folder.state()["mlflow_run_id"]
    client = client_of(workspace)
    run = client.get_run(run_id)
    assert run_id != RunFolder(digits_run.folder).state()["mlflow_run_id"]
    assert (run.info.status, "error" in run.data.tags) == ("FINISHED", False)
    for name in run.data.metrics:
        steps = [metric.step for metric in client.get_metric_history(run_id, name)]
        assert steps == ([60] if name.startswith("test/") else [20, 40, 60])


def test_a_run_that_the_store_forgot_is_recorded_anew_with_all_it_had(
    recorder: Recorder, workspace: Path, digits_run: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_in(workspace, "forgotten")
    tracker = MlflowTracker(recorder, config_in(workspace), folder)
    tracker.metrics(1, {"train/loss": 0.5})
    tracker.finish("KILLED")
    journal = Journal(folder.path)
    journal.save_progress(journal.progress(), run_id="0" * 32)
    lines = journal.file.read_text().replace(json.loads(journal.file.read_text().splitlines()[0])["key"], "1" * 32)
    journal.file.write_text(lines)
    again = MlflowTracker(recorder, config_in(workspace), folder)
    again.begin()
    again.metrics(2, {"train/loss": 0.25})
    again.finish("FINISHED")
    assert folder.state()["mlflow_run_id"] == again.run_id != "0" * 32
    client = client_of(workspace)
    assert client.get_run(again.run_id).info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(again.run_id, "train/loss")] == [1, 2]
    assert (
        f"warning: MLflow no longer has run {'0' * 32}: {folder.path} is recorded there again"
        in capsys.readouterr().err
    )


def test_what_a_resumed_run_changes_is_in_tags_and_in_the_note_because_params_cannot_change(
    recorder: Recorder, workspace: Path, digits_run: Finished
) -> None:
    folder, client = folder_in(workspace, "longer"), client_of(workspace)

    def resumed(*overrides: str) -> Any:
        tracker = MlflowTracker(recorder, config_in(workspace, *overrides), folder)
        tracker.finish("FINISHED")
        return client.get_run(tracker.run_id).data

    first = resumed("train.steps=20")
    assert (first.params["train.steps"], "mlflow.note.content" in first.tags) == ("20", False)
    client.set_tag(folder.state()["mlflow_run_id"], "mlflow.note.content", "my own words")
    longer = ("train.steps=40", "export.weights=raw", "run.resume=auto")
    for _ in range(2):  # the second time nothing has changed since
        data = resumed(*longer)
        assert data.params == first.params
        tags = {key: value for key, value in data.tags.items() if key.startswith("resumed.")}
        assert tags == {"resumed.train.steps": "40", "resumed.export.weights": "raw"}
        own, line = data.tags["mlflow.note.content"].splitlines()
        assert own == "my own words"
        note = (
            r"Resumed on [-\d]{10} [:\d]{8} UTC with train.steps=40 \(20 before\), export.weights=raw \(auto before\)\."
        )
        assert re.fullmatch(note, line)
    data = resumed("train.steps=60", "export=none")
    assert (data.tags["resumed.train.steps"], data.tags["resumed.export.enabled"]) == ("60", "false")
    *_, line = data.tags["mlflow.note.content"].splitlines()
    assert "train.steps=60 (40 before)" in line
    assert "export.enabled=false (true before)" in line


# Stores that cannot be opened, or fail later


@pytest.mark.parametrize("damage", ["no folder", "no database"])
def test_a_file_that_is_no_store_is_named_at_once(recorder: Recorder, damage: str, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("not a database, but long enough to be read as one" * 20)
    path = tmp_path / ("no/store.db" if damage == "no folder" else "store.db")
    with pytest.raises(TrackingError) as caught:
        SweepRun(recorder, config_in(tmp_path, f"tracking.uri='sqlite:///{path}'"), tmp_path / "s", "sweep").begin()
    reason = "unable to open database file" if damage == "no folder" else "file is not a database"
    assert str(caught.value) == (
        f"tracking.uri: the store sqlite:///{path} cannot be opened ({reason}); fix it, give another with "
        "tracking.uri=URI, or use tracking=none"
    )


def test_a_store_of_an_unknown_kind_is_named(recorder: Recorder, tmp_path: Path) -> None:
    config = config_in(tmp_path, "tracking.uri='nosuch://user:secret@host/x'")
    with pytest.raises(TrackingError, match="the store nosuch://\\*\\*\\*@host/x cannot be opened") as caught:
        SweepRun(recorder, config, tmp_path / "s", "sweep").begin()
    assert "secret" not in str(caught.value)


def test_a_store_that_fails_later_stops_nothing_and_the_records_stay(
    recorder: Recorder, workspace: Path, digits_run: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    store = tmp_path / "runs" / "mlflow.db"
    shutil.copy(workspace / "runs" / "mlflow.db", store)
    config, folder = config_in(tmp_path), folder_in(tmp_path, "broken")
    tracker = MlflowTracker(recorder, config, folder)
    tracker.begin()
    with sqlite3.connect(store) as damaged:
        damaged.execute("alter table metrics rename to away")
    tracker.metrics(1, {"train/loss": 0.5})
    tracker.artifacts([folder.path / "nosuch"])
    tracker.finish("FINISHED")
    assert f"upload the rest with `expkit sync {folder.path}`" in capsys.readouterr().err
    with sqlite3.connect(store) as mended:
        mended.execute("alter table away rename to metrics")
    tracker.finish("FINISHED")
    message = capsys.readouterr().err
    assert message.startswith("warning: MLflow refused artifact 'nosuch' (it cannot be read: [Errno 2] ")
    run = client_of(tmp_path).get_run(tracker.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"train/loss": 0.5})


def test_not_a_number_is_a_value_like_others(recorder: Recorder, workspace: Path, digits_run: Finished) -> None:
    tracker = MlflowTracker(recorder, config_in(workspace), folder_in(workspace, "nan"))
    tracker.metrics(1, {"valid/auc": float("nan")})
    tracker.finish("FINISHED")
    assert np.isnan(client_of(workspace).get_run(tracker.run_id).data.metrics["valid/auc"])


def test_the_store_lies_beside_the_runs_unless_another_is_given(tmp_path: Path) -> None:
    assert store_uri(config_in(tmp_path)) == f"sqlite:///{tmp_path.resolve() / 'runs' / 'mlflow.db'}"
    assert store_uri(config_in(tmp_path, "tracking.uri='http://host:5000'")) == "http://host:5000"
