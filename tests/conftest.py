"""What several tests share: configurations from a few words of YAML."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from expkit.runs.recording import recorders_started_by
from support.command_line import BARE, SHORT, Done, call
from support.forked_recorder import ForkedRecorder, warm

UNTRACED = {"cli", "export", "plots", "report", "runs", "sweeps", "tracking", "training"}
"""Folders of tests that run without coverage, whose tracing doubles the time of building graphs."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Trace what tests the plain half, whose coverage is asked for, and leave out what only takes time."""
    trace = sys.gettrace()
    if UNTRACED.intersection(item.path.parts) or item.get_closest_marker("untraced") is not None:
        sys.settrace(None)
    result = yield
    sys.settrace(trace)
    return result


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a ``conf`` of its own, so that only the built-in files are read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="session")
def recorder_begins_fast() -> Iterator[None]:
    """Fork the recorder's process from one that has MLflow imported."""
    warm()
    with recorders_started_by(ForkedRecorder):
        yield


@dataclass(frozen=True)
class Finished:
    """A call of the program that was made once for many tests."""

    cwd: Path
    folder: Path
    done: Done


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose store is made once for the whole session."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="session")
def digits_run(workspace: Path) -> Finished:
    """A finished run of the default experiment, cut short; nobody changes it."""
    done = call("train", *SHORT, cwd=workspace)
    assert done.code == 0, done.err
    (folder,) = (file.parent for file in (workspace / "runs").glob("????-*/*/run.json"))
    return Finished(workspace, folder, done)


@pytest.fixture(scope="session")
def sweep(workspace: Path, digits_run: Finished) -> Finished:
    """A sweep of four runs, two of which fail because their learning rate is absurd."""
    varied = ["network.layers.layer1.units=16,32", "optimizer.learning_rate=0.1,1e30"]
    done = call("train", *varied, "-m", "optimizer=sgd", *BARE, cwd=workspace)
    (folder,) = (workspace / "runs" / "multirun").glob("*/*")
    return Finished(workspace, folder, done)
