"""MLflow's own server on SQLite, in a process that is killed and started again within a second."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

# The process has the server imported and forks it: MLflow takes seconds to import, and a test kills many servers.
_PROGRAM = """\
import os, signal, sys
import uvicorn
from mlflow.server.fastapi_app import app

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        uvicorn.run(app, host="127.0.0.1", port=int(line), log_level="error")
        os._exit(0)
    print(pid, flush=True)
"""


def free_port() -> int:
    """Return a port nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server with its database and artifacts in a folder; down at first."""

    def __init__(self, folder: Path) -> None:
        self.store = f"sqlite:///{folder.resolve() / 'server.db'}"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        environment = {
            **os.environ,
            "_MLFLOW_SERVER_FILE_STORE": self.store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": (folder.resolve() / "artifacts").as_uri(),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "false",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_LOGGING_LEVEL": "ERROR",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )
        self._pid: int | None = None
        self._ready = False

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self._process.kill()
        self._process.communicate()

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._ready:
            assert self._process.stdout.readline() == "ready\n"
            self._ready = True
        print(self.port, file=self._process.stdin, flush=True)
        self._pid = int(self._process.stdout.readline())
        until = time.monotonic() + 600
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not listen")

    def kill(self) -> None:
        """Kill it, whatever it does, and wait until it is gone: its port is free then."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                while True:
                    os.kill(self._pid, signal.SIGKILL)
                    time.sleep(0.01)
        self._pid = None

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGSTOP)

    def client(self) -> Any:
        """Return a client that reads the server's database."""
        from mlflow import MlflowClient

        return MlflowClient(self.store)
