"""The recorder's process: it reports its errors, and uploads its records when the run is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from expkit.tracking.errors import TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.recorder import Recorder, start_process
from support.command_line import REPOSITORY


def address(folder: Path) -> dict[str, Any]:
    return {"uri": f"sqlite:///{folder / 'mlflow.db'}", "experiment": "e", "artifacts": (folder / "a").as_uri()}


def journal_in(folder: Path) -> Journal:
    """Begin a run's journal."""
    journal = Journal(folder)
    about = {"name": "n", "tags": {}, "params": {"p": "1"}, "parent": None, "milliseconds": 1}
    journal.append("begin", key="k", address=address(folder), process="p", **about)
    return journal


def begin(recorder: Recorder, folder: Path, where: dict[str, Any]) -> Any:
    return recorder.submit("begin", folder=str(folder), address=where, process="p", system_metrics=False).result()


def run_in(folder: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(address(folder)["uri"]).get_run(Journal(folder).progress().run_id)


def test_errors_are_raised_as_in_the_process_which_continues(tmp_path: Path) -> None:
    journal_in(tmp_path)
    with Recorder() as recorder:
        wrong = {**address(tmp_path), "uri": "nosuch://host/x"}
        with pytest.raises(TrackingError, match=r"tracking.uri: the store nosuch://host/x cannot be opened"):
            begin(recorder, tmp_path, wrong)
        with pytest.raises(TrackingError, match="KeyError"):
            recorder.submit("finish", folder="unknown", seconds=1).result()
        assert begin(recorder, tmp_path, address(tmp_path))["link"].endswith("(expkit ui)")


def test_a_process_that_died_is_an_error_of_every_later_call_and_hangs_nothing(tmp_path: Path) -> None:
    journal_in(tmp_path)
    process = start_process()
    with Recorder(lambda: process) as recorder:
        process.kill()
        for _ in range(2):
            with pytest.raises(TrackingError, match=r"MLflow's process ended .*; tracking=none runs without it"):
                begin(recorder, tmp_path, address(tmp_path))


KILLED = """
import os, pathlib, signal, sys
from test_recorder import Recorder, address, begin, journal_in
recorder, folder = Recorder(), pathlib.Path(sys.argv[1])
journal = journal_in(folder)
begin(recorder, folder, address(folder))
for step in range(3):
    journal.append("metrics", step=step, values={"loss": 1.0 + step}, milliseconds=1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_records_are_uploaded_when_the_run_is_killed_and_its_status_says_it(tmp_path: Path) -> None:
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), str(Path(__file__).parent)])
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    # The recorder holds its standard error open: the call returns when it has ended too.
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = run_in(tmp_path)
    assert (run.data.metrics, run.info.status) == ({"loss": 3.0}, "KILLED")


def test_pictures_wait_for_calls_and_the_end_of_the_process_for_both(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    order = []
    with Recorder() as recorder:
        for folder in folders:
            folder.mkdir()
            journal_in(folder).append("metrics", step=1, values={"train/loss": 1.0}, milliseconds=1)
            (folder / "metrics.jsonl").write_text('{"step": 1, "train/loss": 1.0}\n{"step": 2, "train/loss": 0.5}\n')
            begin(recorder, folder, address(tmp_path))
        drawn = [recorder.submit("plots", folder=str(folder)) for folder in folders]
        finished = [recorder.submit("finish", folder=str(folder), seconds=60) for folder in folders]
        for what, futures in (("drawn", drawn), ("finished", finished)):
            for future in futures:
                future.add_done_callback(lambda _, what=what: order.append(what))
    assert order == ["finished", "finished", "drawn", "drawn"]
    assert all((folder / "plots" / "learning_curves.png").is_file() for folder in folders)


def test_one_run_at_most_lags_behind_and_the_end_waits_for_it(tmp_path: Path) -> None:
    settled: list[int] = []
    with Recorder() as recorder:
        for number in range(3):
            recorder.settle_later(partial(settled.append, number))
            assert settled == list(range(number))
    assert settled == [0, 1, 2]
