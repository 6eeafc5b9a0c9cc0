"""The recorder's process, forked from one that has MLflow imported: that takes seconds, and most tests record.

It is the real recorder, started faster; ``tracking/test_recorder.py`` and all tests that start the program as a process
of its own start it as users do.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

_FORKSERVER = multiprocessing.get_context("forkserver")


def warm() -> None:
    """Start the process that is forked from; it imports while the tests go on."""
    _FORKSERVER.set_forkserver_preload(["support.recorder_imports"])
    tests = Path(__file__).parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tests), str(tests.parent)]))  # it takes no other notice of ours
        multiprocessing.forkserver.ensure_running()


class ForkedRecorder:
    """A ``RecorderProcess`` that is forked."""

    def __init__(self) -> None:
        theirs, mine = _FORKSERVER.Pipe(duplex=False)
        answers, answering = _FORKSERVER.Pipe(duplex=False)
        settings = (dict(os.environ), list(sys.path), os.getcwd())
        self._process = _FORKSERVER.Process(target=_serve, args=(theirs, answering, *settings), daemon=False)
        self._process.start()
        theirs.close()
        answering.close()
        self.stdin = os.fdopen(os.dup(mine.fileno()), "w", encoding="utf-8")
        self.stdout = os.fdopen(os.dup(answers.fileno()), "r", encoding="utf-8")
        mine.close()
        answers.close()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code.

        Raises:
            subprocess.TimeoutExpired: the process has not ended in time.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("recorder", timeout)
        return self._process.exitcode


def _serve(stdin: Connection, stdout: Connection, environment: dict[str, str], path: list[str], folder: str) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = path
    for number, pipe in enumerate((stdin, stdout)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin = os.fdopen(0, encoding="utf-8")
    from expkit.tracking.recorder_process import serve

    serve()
