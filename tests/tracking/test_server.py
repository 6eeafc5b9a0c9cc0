"""A real server that is down, slow, or dies: training continues, nothing is lost or recorded twice."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from expkit.config.load import load
from expkit.run_folder import RunFolder
from expkit.tracking import recorder
from expkit.tracking.client import Store, StoreAddress
from expkit.tracking.errors import TrackingError
from expkit.tracking.recorder import Recorder
from expkit.tracking.tracker import MlflowTracker
from support.command_line import BARE, PLAIN, SHORT, call, start
from support.forked_recorder import ForkedRecorder
from support.mlflow_server import Server

KILLS = 10
PATIENCE = "600"
WAIT = f"tracking.wait_seconds={PATIENCE}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        server.start()
        assert server.client().search_experiments()
        yield server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request time out because the machine is busy."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENCE)


@pytest.fixture
def up(server: Server) -> Server:
    server.kill()
    server.start()
    return server


def one_folder(cwd: Path) -> RunFolder:
    (folder,) = (file.parent for file in (cwd / "runs").glob("????-*/*/run.json"))
    return RunFolder(folder)


def histories(server: Server, folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Return every point of a run's metrics that the server has."""
    client = server.client()
    (run,) = runs_of(server, folder)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def runs_of(server: Server, folder: RunFolder) -> list[Any]:
    client = server.client()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.run_folder = '{folder.path}'"))


def points(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Return every point of a run's metrics that its folder has."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in folder.metrics():
        for name, value in line.items():
            if name != "step":
                found.setdefault(name, []).append((int(line["step"]), value))
    return found


def test_a_server_killed_ten_times_during_a_run_loses_and_duplicates_nothing(up: Server, tmp_path: Path) -> None:
    words = [
        "export=none",
        *PLAIN,
        "train.log_every_steps=5",
        "train.evaluate_every_steps=200",
        "train.save_every_steps=200",
    ]
    endless = [*words, WAIT, f"tracking.uri={up.uri}", "train.steps=10000000"]
    process = start("train", *endless, cwd=tmp_path, MLFLOW_HTTP_REQUEST_TIMEOUT=PATIENCE)
    moments = random.Random(0)
    try:
        wait_for(lambda: any((tmp_path / "runs").glob("*/*/metrics.jsonl")))
        for _ in range(KILLS):
            time.sleep(moments.uniform(0.1, 1.2))
            up.kill()
            time.sleep(moments.uniform(0.0, 0.8))
            up.start()
            assert process.poll() is None
        up.kill()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=int(PATIENCE))
    finally:
        process.kill()
    folder = one_folder(tmp_path)
    steps = max(int(line["step"]) for line in folder.metrics())
    assert process.returncode == 143
    assert f"upload the rest with `expkit sync {folder.path} --uri {up.uri}`" in " ".join(err.split())
    up.start()
    synced = call("sync", folder.path, "--uri", up.uri, cwd=tmp_path)
    assert (synced.code, synced.err) == (0, "")
    (run,) = runs_of(up, folder)
    assert run.info.status == "KILLED"
    assert histories(up, folder) == points(folder)
    assert len(points(folder)["train/loss"]) == steps // 5 > 100

    words += [WAIT, f"run.resume={folder.path}", f"tracking.uri={up.uri}", f"train.steps={steps + 400}"]
    done = call("train", *words, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    (run,) = runs_of(up, folder)
    assert run.info.status == "FINISHED"
    found, kept = histories(up, folder), points(folder)
    speed = "train/steps_per_second"  # the steps after the last checkpoint were done again, at another speed
    assert [step for step, _ in found.pop(speed)] == [step for step, _ in kept.pop(speed)]
    assert found == kept


def test_a_server_that_is_down_from_the_start_gets_all_of_a_run_later_and_no_secret(up: Server, tmp_path: Path) -> None:
    up.kill()
    uri = up.uri.replace("//", "//user:secret@")
    done = call("train", *SHORT, f"tracking.uri={uri}", cwd=tmp_path)
    folder = one_folder(tmp_path)
    shown = uri.replace("user:secret", "***")
    command = f"expkit sync {folder.path} --uri '{shown}'"
    assert (done.code, done.errors) == (
        0,
        [
            f"warning: MLflow does not accept records ({shown}: connection refused): the run continues and keeps them; "
            f"they are uploaded as soon as it does, or with `{command}`",
            f"warning: MLflow does not have all of this run ({shown}: connection refused); "
            f"upload the rest with `{command}`",
        ],
    )
    assert f"MLflow run     not recorded yet ({command})" in done.out.splitlines()
    count = len((folder.path / "tracking.jsonl").read_text().splitlines())
    unnamed = call("sync", folder.path, cwd=tmp_path)
    problem = f"{folder.path}: only its records name the store {shown}; if that is where they belong: {command}"
    assert (unnamed.code, unnamed.errors) == (2, [f"error: {problem}"])
    still = call("sync", folder.path, "--uri", shown, cwd=tmp_path)
    assert (still.code, still.out) == (
        1,
        f"{folder.path}: no run in MLflow yet: {count} records are missing: {shown}: connection refused\n",
    )
    up.start()
    synced = call("sync", folder.path, "--uri", shown, cwd=tmp_path)
    (run,) = runs_of(up, folder)
    assert (synced.code, synced.out) == (0, f"{folder.path}: MLflow run {run.info.run_id}: uploaded {count} records\n")
    assert run.info.status == "FINISHED"
    assert run.data.params["tracking.uri"] == shown
    assert histories(up, folder) == points(folder)
    artifacts = Path(up.client().download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert (artifacts / "frozen.pb").read_bytes() == folder.frozen.read_bytes()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in files if b"secret" in file.read_bytes()] == []
    again = call("sync", "runs", "--uri", uri, cwd=tmp_path)
    place = folder.path.relative_to(tmp_path.resolve())
    assert (again.code, again.out) == (0, f"{place}: MLflow run {run.info.run_id}: nothing was missing\n")


def test_a_sweep_nests_under_one_run_also_when_the_server_was_down(
    up: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_CLOSE_SECONDS", 1)
    up.kill()
    uri = up.uri.replace("//", "//user:secret@")
    words = ["run.seed=1,2", "train.steps=2", "export=none", "tracking.plots=false", f"tracking.uri={uri}"]
    done = call("train", "-m", *words, "run.name=nested", cwd=tmp_path)
    assert done.code == 0
    assert "secret" not in done.out + done.err
    (sweep,) = (tmp_path / "runs" / "multirun").glob("*/*")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in files if b"secret" in file.read_bytes()] == []
    up.start()
    synced = call("sync", sweep, "--uri", uri, cwd=tmp_path)
    assert synced.out.splitlines()[-1] == "3 of 3 runs are complete in MLflow"
    client = up.client()
    (experiment,) = client.search_experiments(filter_string="name = 'expkit'")
    parent = json.loads((sweep / "sweep.json").read_text())["mlflow_run_id"]
    assert client.get_run(parent).info.status == "FINISHED"
    nested = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted((run.info.run_name, run.info.status) for run in nested) == [
        ("seed=1", "FINISHED"),
        ("seed=2", "FINISHED"),
    ]


def test_a_server_that_does_not_answer_delays_a_run_for_a_bounded_time(
    up: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(recorder, "_CLOSE_SECONDS", 1)
    up.freeze()
    words = ["export=none", f"tracking.uri={up.uri}", "tracking.wait_seconds=2"]
    done = call("train", *BARE, *words, cwd=tmp_path)
    folder = one_folder(tmp_path)
    assert done.code == 0
    begun, ended = done.errors
    assert begun.startswith("warning: MLflow does not accept records (")
    assert ended.startswith("warning: MLflow does not have all of this run (")
    assert ended.endswith(f"; upload the rest with `expkit sync {folder.path} --uri {up.uri}`")
    assert "no answer" in begun
    assert "no answer" in ended
    up.kill()
    up.start()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENCE)
    synced = call("sync", folder.path, "--uri", up.uri, cwd=tmp_path)
    assert (synced.code, synced.err) == (0, "")
    assert histories(up, folder) == points(folder)


def test_a_run_deleted_in_mlflow_is_reported_once_and_can_be_restored(up: Server, tmp_path: Path) -> None:
    with Recorder(ForkedRecorder) as recorder:
        config = load([f"run.folder={tmp_path / 'runs'}", f"tracking.uri={up.uri}"])
        folder = RunFolder.create(tmp_path / "runs" / "a" / "b", config, [])
        tracker = MlflowTracker(recorder, config, folder)
        tracker.begin()
        up.client().delete_run(tracker.run_id)
        message = io.StringIO()
        with contextlib.redirect_stderr(message):
            tracker.metrics(1, {"train/loss": 0.5})
            wait_for(message.getvalue)
            tracker.metrics(2, {"train/loss": 0.25})
            tracker.finish("FINISHED")
    command = f"expkit sync {folder.path} --uri {up.uri}"
    deleted = f"run {tracker.run_id} was deleted in MLflow; its records stay in the run folder"
    assert message.getvalue().splitlines() == [
        f"warning: MLflow does not accept records ({deleted}): "
        f"the run continues and keeps them; upload them with `{command}`",
        f"warning: MLflow does not have all of this run ({deleted}); upload the rest with `{command}`",
    ]
    refused = call("sync", folder.path, "--uri", up.uri, cwd=tmp_path)
    assert (refused.code, refused.out) == (
        1,
        f"{folder.path}: MLflow run {tracker.run_id}: 3 records are missing: {deleted}; "
        f"`{command} --restore` restores it\n",
    )
    assert call("sync", "--restore", folder.path, "--uri", up.uri, cwd=tmp_path).code == 0
    history = up.client().get_metric_history(tracker.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2]
    assert up.client().get_run(tracker.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "it requires another user or password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, "this user may not write there"),
        (404, "no MLflow server answers there"),
        (200, "the page there is no MLflow server"),
    ],
)
def test_a_server_that_is_the_wrong_one_is_an_error_at_the_start(status: int, message: str) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{page.server_port}"
        with pytest.raises(TrackingError) as caught:
            Store(StoreAddress(uri=uri, experiment="e"))
        page.shutdown()
    assert str(caught.value) == (
        f"tracking.uri: the store {uri} cannot be opened ({message}); fix it, give another with tracking.uri=URI, "
        "or use tracking=none"
    )


def wait_for(condition: Any) -> None:
    until = time.monotonic() + int(PATIENCE)
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
