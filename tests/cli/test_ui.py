"""The verb ``ui``: MLflow's pages on the local store."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from conftest import Finished
from support.command_line import call, start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    done = call("ui", "--folder", "nosuch", cwd=tmp_path)
    store = tmp_path.resolve() / "nosuch" / "mlflow.db"
    assert (done.code, done.out) == (2, "")
    assert done.errors == [
        f"error: {store}: no store there; `expkit train` creates one, --folder DIR names another folder"
    ]


def test_a_port_that_is_taken_is_named(workspace: Path, digits_run: Finished) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call("ui", "--port", str(port), cwd=workspace)
    assert (done.code, done.out) == (2, "")
    assert done.errors == [f"error: --port: {port} cannot be used (Address already in use); give another port"]


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_number_that_is_no_port_is_named(port: str, workspace: Path, digits_run: Finished) -> None:
    done = call("ui", "--port", port, cwd=workspace)
    assert (done.code, done.errors) == (2, [f"error: --port: {port} is not a port; allowed: 1 to 65535"])


def test_a_port_that_is_no_number_is_named(tmp_path: Path) -> None:
    done = call("ui", "--port", "http", cwd=tmp_path)
    assert done.code == 2
    assert done.errors[-1] == "expkit ui: error: argument --port: invalid int value: 'http'"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_pages_are_served_to_this_machine_until_interrupted(
    number: signal.Signals, workspace: Path, digits_run: Finished
) -> None:
    port = free_port()
    process = start("ui", "--port", str(port), cwd=workspace)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        assert url == f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
        assert _status(url, until=time.monotonic() + 600) == 200
        process.send_signal(number)
        process.communicate()
        assert process.returncode == 0
    finally:
        process.kill()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))  # nobody is left who listens


def _status(url: str, *, until: float) -> int | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        try:
            with opener.open(url, timeout=60) as answer:
                return int(answer.status)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return None


def test_a_store_elsewhere_is_found_by_its_folder(digits_run: Finished, tmp_path: Path) -> None:
    folder = os.path.relpath(digits_run.cwd / "runs", tmp_path)
    done = call("ui", "--folder", folder, "--port", "0", cwd=tmp_path)
    assert done.errors == ["error: --port: 0 is not a port; allowed: 1 to 65535"]
