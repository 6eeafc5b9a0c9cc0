"""Fixtures and options that several tests share."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from expkit.runs.recording import recorders_started_by
from expkit.tracking import recorder
from support.command_line import BARE, ENVIRONMENT, SHORT, Done, call
from support.forked_recorder import ForkedRecorder, warm

TRACED = {"checkpoints", "config", "data", "kinds", "network"}
"""Folders of tests that run with coverage; of the tests beside them those in ``PLAIN`` do, as tracing makes building
graphs much slower."""


TESTS = Path(__file__).parent
PLAIN = {
    "checkpoints": ("edit/test_plan.py", "test_diff.py", "test_ownership.py"),
    "checkpoints/matching": ("test_lock.py", "test_match.py"),
    "checkpoints/restore": ("test_planner.py", "test_transforms.py"),
    "cli": ("test_schema.py",),
    "config": ("*.py",),
    "data": ("test_dataset.py",),
    "diagram": ("*.py",),
    "importer": ("*.py",),
    "kinds": ("layers/test_layer_specs.py", "sources/test_on_disk.py", "sources/test_sources.py"),
    "network": ("test_names.py", "test_published_names.py", "test_resolve.py", "test_spec.py", "test_structure.py"),
    "sweeps": ("*.py",),
    ".": (
        "test_errors.py",
        "test_fs.py",
        "test_imports.py",
        "test_plain_half.py",
        "test_preflight.py",
        "test_protobuf_wire.py",
        "test_provenance.py",
        "test_redact.py",
        "test_registry.py",
        "test_run_folder.py",
        "test_same_syntax.py",
        "test_timing.py",
    ),
}
"""Test modules of ``make test-fast`` by folder: those that need neither TensorFlow nor MLflow."""
HEAVY = ("mlflow", "tensorflow")
SETTINGS = re.compile("(MLFLOW|HYDRA)_.*|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|TTY_COMPATIBLE|TTY_INTERACTIVE")
"""Variables of the user's shell by which runs of tests would reach the user's MLflow, or print otherwise."""


class HeavyImports:
    """A finder that refuses to import TensorFlow and MLflow."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Refuse the packages, and leave all others to the next finder."""
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"{name} is not imported by the tests of make test-fast", name=name)
        return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plain", action="store_true", help="run only the tests that need no TensorFlow")


def pytest_configure(config: pytest.Config) -> None:
    for name in filter(SETTINGS.fullmatch, list(os.environ)):
        del os.environ[name]
        ENVIRONMENT.pop(name, None)
    if config.getoption("--plain"):
        sys.meta_path.insert(0, HeavyImports())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules that need TensorFlow, when only the others are to run."""
    if not config.getoption("--plain") or collection_path.is_dir():
        return None
    plain = (TESTS / folder for folder in PLAIN)
    chosen = {
        file
        for folder, names in zip(plain, PLAIN.values(), strict=True)
        for name in names
        for file in folder.glob(name)
    }
    return collection_path not in chosen or None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Trace the tests of modules whose coverage is measured, and no others, which saves time."""
    trace, of_threads = sys.gettrace(), threading.gettrace()
    if not _is_traced(item):
        sys.settrace(None)
        threading.settrace(None)
    result = yield
    sys.settrace(trace)
    threading.settrace(of_threads)
    return result


def _is_traced(item: pytest.Item) -> bool:
    if item.get_closest_marker("untraced") is not None:
        return False
    folder = item.path.relative_to(TESTS).parts[0]
    return folder in TRACED or folder in PLAIN["."]


@pytest.fixture(autouse=True, scope="session")
def hydra_is_untraced() -> Iterator[None]:
    """Compose configurations without coverage, which doubles the time of Hydra's own code."""
    from hydra._internal.hydra import Hydra

    composed = Hydra.compose_config

    def untraced(*arguments: Any, **named: Any) -> DictConfig:
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            return composed(*arguments, **named)
        finally:
            sys.settrace(trace)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "compose_config", untraced)
        yield


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a ``conf`` of its own, so that only the built-in files are read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave the user's cache as it is; matplotlib keeps its own there, whose fonts take seconds to list."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    places = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    places |= {"MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or str(usual / "matplotlib")}
    with pytest.MonkeyPatch.context() as patch:
        for name, place in places.items():
            patch.setenv(name, place)
            patch.setitem(ENVIRONMENT, name, place)  # of processes that tests start
        yield


@pytest.fixture(autouse=True, scope="session")
def recorder_begins_fast(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fork the recorder's process from one that has MLflow imported."""
    if request.config.getoption("--plain"):
        yield
        return
    warm()
    with pytest.MonkeyPatch.context() as patch, recorders_started_by(ForkedRecorder):
        patch.setattr(recorder, "_CLOSE_SECONDS", 600)  # what ends in time, ends in time on a slow machine too
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
