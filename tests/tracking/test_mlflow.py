"""MLflow: what a run and a sweep leave in the store, read back with MLflow's own client."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import REPOSITORY, SHORT, call
from conftest import Finished
from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.preflight import check
from expkit.provenance import git_commit, versions
from expkit.rundir import RunFolder
from expkit.tracking.mlflow import MlflowTracker, SweepRun, TrackingError, store_uri
from expkit.tracking.recorder import Recorder


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
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
        "data.standardize": '["image"]',
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
        "run.log",
        "scaling.npz",
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
    dataset = load_dataset(config, check(config))
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
    tags = client_of(workspace).get_run(tracker.run_id).data.tags
    tracker.finish("FINISHED")
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
    _, parent, _ = children(sweep)
    assert parent.info.run_name == "digits_mlp sweep over units, learning_rate"
    assert parent.info.status == "FAILED"
    assert parent.data.metrics == {}


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


# A run that is continued


def test_a_continued_run_is_the_same_run_and_logs_nothing_twice(digits_run: Finished, workspace: Path) -> None:
    folder = workspace / "runs" / "continued"
    shutil.copytree(digits_run.folder, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000060")
    client = client_of(workspace)
    tags = {"error": "train: something that is mended"}
    run_id = client.create_run(recorded(digits_run)[1].info.experiment_id, tags=tags).info.run_id
    points = RunFolder(folder).metrics()
    for point in points[:3]:  # the killed run had logged step 60, whose checkpoint was never written
        for name, value in point.items():
            if name != "step":
                client.log_metric(run_id, name, value, step=int(point["step"]))
    client.set_terminated(run_id, "FAILED")
    RunFolder(folder).update(status="RUNNING", mlflow_run_id=run_id)
    done = call("train", *SHORT, f"run.resume={folder}", cwd=workspace)
    assert (done.code, done.err) == (0, "")
    run = client.get_run(run_id)
    assert RunFolder(folder).state()["mlflow_run_id"] == run_id
    assert (run.info.status, "error" in run.data.tags) == ("FINISHED", False)
    for name in run.data.metrics:
        steps = [metric.step for metric in client.get_metric_history(run_id, name)]
        assert steps == ([60] if name.startswith("test/") else [20, 40, 60])


def test_a_run_that_the_store_forgot_is_recorded_anew(
    recorder: Recorder, workspace: Path, digits_run: Finished
) -> None:
    folder = folder_in(workspace, "forgotten")
    folder.update(mlflow_run_id="0" * 32)
    tracker = MlflowTracker(recorder, config_in(workspace), folder)
    tracker.begin()
    tracker.finish("KILLED")
    assert folder.state()["mlflow_run_id"] == tracker.run_id != "0" * 32
    assert client_of(workspace).get_run(tracker.run_id).info.status == "KILLED"


# Stores that cannot be opened, or fail later


def test_a_server_that_is_down_is_named_without_its_password(tmp_path: Path) -> None:
    done = call("train", "train.steps=2", "tracking.uri=http://user:secret@127.0.0.1:1", cwd=tmp_path)
    assert done.code == 2
    (line,) = done.errors
    assert line.startswith("error: tracking.uri: the store http://***@127.0.0.1:1 cannot be opened (")
    assert line.endswith("; mend it, give another with tracking.uri=URI, or use tracking=none")
    written = [file.read_text() for file in tmp_path.rglob("*") if file.suffix in (".json", ".log")]
    assert written
    assert [text for text in [done.err, done.out, *written] if "secret" in text] == []


@pytest.mark.parametrize("damage", ["no folder", "no database"])
def test_a_file_that_is_no_store_is_named_at_once(recorder: Recorder, damage: str, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("not a database, but long enough to be read as one" * 20)
    path = tmp_path / ("no/store.db" if damage == "no folder" else "store.db")
    with pytest.raises(TrackingError) as caught:
        str(SweepRun(recorder, config_in(tmp_path, f"tracking.uri='sqlite:///{path}'"), "sweep").run_id)
    reason = "unable to open database file" if damage == "no folder" else "file is not a database"
    assert str(caught.value) == (
        f"tracking.uri: the store sqlite:///{path} cannot be opened ({reason}); mend it, give another with "
        "tracking.uri=URI, or use tracking=none"
    )


def test_a_store_of_an_unknown_kind_is_named(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="the store nosuch://\\*\\*\\*@host/x cannot be opened") as caught:
        str(SweepRun(recorder, config_in(tmp_path, "tracking.uri='nosuch://user:secret@host/x'"), "sweep").run_id)
    assert "secret" not in str(caught.value)


def test_a_store_that_fails_later_stops_nothing_and_is_logged(
    recorder: Recorder, workspace: Path, digits_run: Finished, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copy(workspace / "runs" / "mlflow.db", tmp_path / "runs" / "mlflow.db")
    config, folder = config_in(tmp_path), folder_in(tmp_path, "broken")
    tracker = MlflowTracker(recorder, config, folder)
    tracker.begin()
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as store:
        store.execute("drop table metrics")
        store.execute("drop table latest_metrics")
    with caplog.at_level(logging.WARNING, logger="expkit"):
        tracker.metrics(1, {"train/loss": 0.5})
        tracker.artifacts([tmp_path / "nosuch"])
        tracker.finish("FINISHED")
    said = [record.getMessage() for record in caplog.records if record.name == "expkit.tracking.recorder"]
    assert any(line.startswith("MLflow did not take metrics: ") for line in said)
    assert any(line.startswith("MLflow did not take artifact: ") for line in said)


def test_not_a_number_is_a_value_like_others(recorder: Recorder, workspace: Path, digits_run: Finished) -> None:
    tracker = MlflowTracker(recorder, config_in(workspace), folder_in(workspace, "nan"))
    tracker.metrics(1, {"valid/auc": float("nan")})
    tracker.finish("FINISHED")
    assert np.isnan(client_of(workspace).get_run(tracker.run_id).data.metrics["valid/auc"])


def test_the_store_lies_beside_the_runs_unless_another_is_given(tmp_path: Path) -> None:
    assert store_uri(config_in(tmp_path)) == f"sqlite:///{tmp_path.resolve() / 'runs' / 'mlflow.db'}"
    assert store_uri(config_in(tmp_path, "tracking.uri='http://host:5000'")) == "http://host:5000"
