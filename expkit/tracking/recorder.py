"""The recorder: a process beside the run that uploads its journal, so that no server delays a step."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Protocol

from expkit.errors import Problem
from expkit.redact import masked
from expkit.tracking.errors import TrackingError

__all__ = ["Recorder", "RecorderProcess", "start_process", "warn"]

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 15

_PROGRAM = """\
import json, sys

sys.path[:] = json.loads(sys.argv[1])
from expkit.tracking.recorder_process import serve

serve()
"""


class RecorderProcess(Protocol):
    """A process that runs ``recorder_process.serve``: the part of ``subprocess.Popen`` that the recorder uses."""

    @property
    def stdin(self) -> IO[str] | None:
        """Calls to the process, one JSON object a line."""

    @property
    def stdout(self) -> IO[str] | None:
        """Its answers, one JSON object a line."""

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the process has ended; subprocess.TimeoutExpired after ``timeout`` seconds."""

    def kill(self) -> None:
        """Kill the process."""


def start_process() -> RecorderProcess:
    """Start the process with the interpreter and the ``sys.path`` of this one, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


class Recorder:
    """The process, with the thread that reads its answers.

    The process is not in the terminal's group, so Ctrl-C does not reach it. It ends when its standard input does, after
    uploading all it can; so too when this process is killed.
    """

    def __init__(self, start: Callable[[], RecorderProcess] = start_process) -> None:
        """Start the process; ``start`` says how."""
        self._process = start()
        self._calls: dict[int, Future[Any]] = {}
        self._number = 0
        self._ended: TrackingError | None = None
        self._answers = 0
        self._settle: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="recorder", daemon=True)
        self._thread.start()
        self.opened: set[Hashable] = set()
        """Addresses of the stores that have answered."""

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, act: str, **values: Any) -> Future[Any]:
        """Call one of the process's acts; the future has its result, or the error that it raised."""
        future: Future[Any] = Future()
        with self._lock:
            if self._ended is not None:
                future.set_exception(self._ended)
                return future
            self._number += 1
            self._calls[self._number] = future
            line = json.dumps({"number": self._number, "act": act, **values}) + "\n"
            assert self._process.stdin is not None
            with suppress(OSError):  # The thread finds out that the process has ended.
                self._process.stdin.write(line)
                self._process.stdin.flush()
        return future

    def settle_later(self, settle: Callable[[], None]) -> None:
        """Wait for a run that has ended when the next one has, by a function; at most one upload lags behind."""
        before, self._settle = self._settle, settle
        if before is not None:
            before()

    def close(self) -> None:
        """End the process after its last call; one that still waits for a server is killed after some seconds."""
        assert self._process.stdin is not None
        if self._settle is not None:
            self._settle()
        with self._lock:
            with suppress(OSError):
                self._process.stdin.close()
        answers = -1
        while self._process_runs(_CLOSE_SECONDS):
            if answers == self._answers:
                self._process.kill()  # The journals keep what is not uploaded.
                self._process.wait()
            answers = self._answers
        self._thread.join()

    def _process_runs(self, seconds: float) -> bool:
        """Return True if the process has not ended after some seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._answers += 1
            if (warning := answer.get("warning")) is not None:
                warn(warning)
                continue
            with self._lock:
                future = self._calls.pop(answer["number"])
            if problems := answer.get("problems"):
                future.set_exception(TrackingError(*(Problem(*problem) for problem in problems)))
            else:
                future.set_result(answer["result"])
        code = self._process.wait()
        message = f"MLflow's process ended (exit code {code}); tracking=none runs without it"
        with self._lock:
            self._ended = TrackingError.at("tracking", message)
            open_calls, self._calls = self._calls, {}
        for future in open_calls.values():
            future.set_exception(self._ended)


def warn(text: str) -> None:
    """Write a warning to the log and to the terminal."""
    text = masked(text)
    _log.warning("%s", text)
    print(f"warning: {text}", file=sys.stderr)
