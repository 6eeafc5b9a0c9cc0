"""The verb ``ui``: MLflow's pages on the local store."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from expkit.errors import RunError
from expkit.redact import masked, without_user
from expkit.runs.interruption import Terminated, termination_raises
from expkit.tracking.errors import StoreRefused
from expkit.tracking.mlflow_internals import experiments_page
from expkit.tracking.sqlite_store import check_sqlite, sqlite_file
from expkit.tracking.store_address import local_artifacts, local_store, uri_of_environment

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "ui",
        help="open MLflow on the local store",
        description="Serve MLflow's pages on the local store, to this machine only; stop with Ctrl-C.",
    )
    parser.add_argument("--folder", metavar="DIR", help="folder of the runs (MLFLOW_TRACKING_URI, or runs)")
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1 (5000)")
    parser.set_defaults(run=_ui)


def _ui(given: argparse.Namespace) -> int:
    store = local_store(given.folder or "runs")
    uri = uri_of_environment() if given.folder is None else None
    if uri is not None:
        print(f"MLflow: store {masked(uri)} (MLFLOW_TRACKING_URI)", file=sys.stderr)
        if uri.startswith("http"):
            print(experiments_page(without_user(uri).rstrip("/")))
            return 0
        if (file := sqlite_file(uri)) is None:
            raise RunError.at("MLFLOW_TRACKING_URI", "is not a local store; --folder DIR shows that of DIR")
        store = Path(file)
    if not store.is_file():
        raise RunError.at(str(store), "no store there; `expkit train` creates one, --folder DIR names another folder")
    try:
        check_sqlite(f"sqlite:///{store}")
    except (StoreRefused, sqlite3.Error) as error:
        raise RunError.at(str(store), f"cannot be shown: {error}") from None
    if not 0 < given.port < 65536:
        raise RunError.at("--port", f"{given.port} is not a port; allowed: 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", given.port))
        except OSError as error:
            raise RunError.at("--port", f"{given.port} cannot be used ({error.strerror}); give another port") from None
    page = f"http://127.0.0.1:{given.port}"
    print(f"{experiments_page(page)}  (Ctrl-C stops it)", flush=True)
    from expkit.tracking.ui_links import store_pages

    for shown, link in store_pages(f"sqlite:///{store}", page).items():
        print(f"{shown}  {link}", flush=True)
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}",
        "--default-artifact-root", local_artifacts(store),
        "--host", "127.0.0.1", "--port", str(given.port), "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with termination_raises():
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            return process.wait()
        except (KeyboardInterrupt, Terminated):
            return 0
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGTERM)  # the server's workers too
            process.wait()
