"""The recorder's process: it answers in order, tells its errors, and writes what it has when the run is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_line import REPOSITORY
from expkit.tracking.recorder import Recorder
from expkit.tracking.store import TrackingError


def address(folder: Path) -> dict[str, Any]:
    return {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": "e", "artifacts": (folder / "a").as_uri()}


def begin(recorder: Recorder, folder: Path) -> Any:
    return recorder.submit("begin", store=address(folder), name="n", tags={}, params={"p": "1"}).result()


def metrics_of(folder: Path, run_id: str) -> dict[str, float]:
    from mlflow import MlflowClient

    return dict(MlflowClient(address(folder)["uri"]).get_run(run_id).data.metrics)


def test_errors_come_back_as_they_were_raised_and_the_process_goes_on(tmp_path: Path) -> None:
    with Recorder() as recorder:
        wrong = {**address(tmp_path), "uri": "nosuch://host/x"}
        with pytest.raises(TrackingError, match=r"tracking.uri: the store nosuch://host/x cannot be opened"):
            recorder.submit("begin", store=wrong, name="n", tags={}, params={}).result()
        with pytest.raises(TrackingError, match="KeyError"):
            recorder.submit("metrics", run_id="unknown").result()
        assert begin(recorder, tmp_path)["link"].endswith("(expkit ui)")


def test_a_process_that_died_is_an_error_of_every_later_call_and_hangs_nothing(tmp_path: Path) -> None:
    with Recorder() as recorder:
        os.kill(recorder._process.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(TrackingError, match=r"MLflow's process ended .*; tracking=none runs without it"):
                recorder.submit("begin", store=address(tmp_path), name="n", tags={}, params={}).result()


KILLED = """
import os, pathlib, signal, sys
from test_recorder import Recorder, begin
recorder = Recorder()
run_id = begin(recorder, pathlib.Path(sys.argv[1]))["run_id"]
for step in range(3):
    recorder.submit("metrics", run_id=run_id, step=step, values={"loss": 1.0 + step}, milliseconds=1).result()
print(run_id, recorder._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_handed_over_is_written_when_the_run_is_killed(tmp_path: Path) -> None:
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), str(Path(__file__).parent)])
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    # The recorder holds its standard error open: the call returns when it has ended too.
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert metrics_of(tmp_path, done.stdout.split()[0]) == {"loss": 3.0}
