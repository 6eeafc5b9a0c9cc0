"""The recorder: a process beside the run that has MLflow, so that neither import nor writing holds a step up."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from expkit.errors import Problem
from expkit.tracking.store import Store, TrackingError, prepare

__all__ = ["Recorder", "serve"]

_log = logging.getLogger(__name__)

_PROGRAM = """\
import json, sys

sys.path[:] = json.loads(sys.argv[1])
from expkit.tracking.recorder import serve

serve()
"""

Call = tuple[str, dict[str, Any], "Future[Any]"]


class Recorder:
    """The process and the thread that speaks with it: calls are answered in their order, one JSON object a line.

    The process is not of the terminal's group, so Ctrl-C leaves it alone; it ends when its standard input does, after
    writing what it has: also when this process is killed.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, act: str, **values: Any) -> Future[Any]:
        """Ask for one of the store's acts; the future has its result, or the error it raised."""
        future: Future[Any] = Future()
        self._calls.put((act, values, future))
        return future

    def close(self) -> None:
        """Wait until every call is answered and the process has ended."""
        self._calls.put(None)
        self._thread.join()
        self._process.communicate()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            act, values, future = call
            try:
                answer = self._ask({"act": act, **values})
            except (EOFError, OSError, ValueError) as error:
                said = f"MLflow's process ended ({error}); tracking=none runs without it"
                future.set_exception(TrackingError.at("tracking", said))
                continue
            for warning in answer["warnings"]:
                _log.warning("%s", warning)
            if problems := answer.get("problems"):
                future.set_exception(TrackingError(*(Problem(*problem) for problem in problems)))
            else:
                future.set_result(answer.get("result"))

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise EOFError(f"exit code {self._process.wait()}")
        return dict(json.loads(answer))


class _Warnings(logging.Handler):
    """Keeps warnings for the next answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def serve() -> None:
    """Be the process: answer the calls on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    warnings = _Warnings()
    logging.getLogger("expkit").addHandler(warnings)
    prepare()  # while the first call is not there yet
    stores: dict[str, Store] = {}
    of_run: dict[str, Store] = {}
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        try:
            answer["result"] = _answer(json.loads(line), stores, of_run)
        except TrackingError as error:
            answer["problems"] = [(problem.path, problem.message) for problem in error.problems]
        except Exception as error:  # whatever it is, the run is told and goes on
            answer["problems"] = [("tracking", f"{type(error).__name__}: {error}")]
        answer["warnings"], warnings.said = warnings.said, []
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    for store in stores.values():
        store.flush()
    os._exit(0)  # all is written; taking MLflow down would be for nothing


def _answer(call: dict[str, Any], stores: dict[str, Store], of_run: dict[str, Store]) -> Any:
    act = call.pop("act")
    if act != "begin":
        return getattr(of_run[call["run_id"]], act)(**call)
    address = call.pop("store")
    key = json.dumps(address)
    if key not in stores:
        stores[key] = Store(**address)
    begun = stores[key].begin(**call)
    of_run[begun["run_id"]] = stores[key]
    return begun
