"""The recorder: a process beside the run that delivers its journal, so that no server holds a step up."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any

from expkit.errors import Problem
from expkit.tracking.errors import TrackingError

__all__ = ["Recorder"]

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 15

_PROGRAM = """\
import json, sys

sys.path[:] = json.loads(sys.argv[1])
from expkit.tracking.recorder_process import serve

serve()
"""


class Recorder:
    """The process and the thread that listens to it: one JSON object a line, either way.

    The process is not of the terminal's group, so Ctrl-C leaves it alone; it ends when its standard input does, after
    delivering what it can: also when this process is killed.
    """

    def __init__(self) -> None:
        self._process = _start()
        self._asked: dict[int, Future[Any]] = {}
        self._number = 0
        self._ended: TrackingError | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="recorder", daemon=True)
        self._thread.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, act: str, **values: Any) -> Future[Any]:
        """Ask for one of the process's acts; the future has its result, or the error it raised."""
        future: Future[Any] = Future()
        with self._lock:
            if self._ended is not None:
                future.set_exception(self._ended)
                return future
            self._number += 1
            self._asked[self._number] = future
            line = json.dumps({"number": self._number, "act": act, **values}) + "\n"
            assert self._process.stdin is not None
            with suppress(OSError):  # the thread that listens finds that the process has ended
                self._process.stdin.write(line)
                self._process.stdin.flush()
        return future

    def close(self) -> None:
        """Let the process end; one that waits for a server is not waited for longer than some seconds."""
        assert self._process.stdin is not None
        with self._lock:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the journals know what it had not delivered
            self._process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if (warning := said.get("warning")) is not None:
                warn(warning)
                continue
            with self._lock:
                future = self._asked.pop(said["number"])
            if problems := said.get("problems"):
                future.set_exception(TrackingError(*(Problem(*problem) for problem in problems)))
            else:
                future.set_result(said["result"])
        code = self._process.wait()
        message = f"MLflow's process ended (exit code {code}); tracking=none runs without it"
        with self._lock:
            self._ended = TrackingError(Problem("tracking", message))
            left, self._asked = self._asked, {}
        for future in left.values():
            future.set_exception(self._ended)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def warn(text: str) -> None:
    """Say what the user should know, in the log and on the terminal."""
    _log.warning("%s", text)
    print(f"warning: {text}", file=sys.stderr)
