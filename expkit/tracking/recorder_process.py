"""The recorder's process: it answers the run, and delivers journals while the run goes on."""

from __future__ import annotations

import importlib
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from expkit.tracking.client import Address, prepare
from expkit.tracking.errors import TrackingError, Unreachable
from expkit.tracking.journal import Journal
from expkit.tracking.system import SystemMetrics
from expkit.tracking.uploader import Delivery, Stores, Trashed

__all__ = ["serve"]

_EVERY_SECONDS = 1.0
"""Seconds between two looks into the journals."""
_LONGEST_PAUSE_SECONDS = 30.0
"""Most seconds between two attempts at a server that is down."""
_GRACE_SECONDS = 5.0
"""Seconds for which the end of a run tries again when the server is down."""
_LAST_SECONDS = 60.0
"""Seconds for which records are delivered after the run was killed; nobody waits for that."""


class _Warnings(logging.Handler):
    """Sends warnings to the run at once."""

    def __init__(self, process: _Process) -> None:
        super().__init__(logging.WARNING)
        self._process = process

    def emit(self, record: logging.LogRecord) -> None:
        self._process.say(warning=record.getMessage())


class _Run:
    """A run whose journal is delivered."""

    def __init__(self, delivery: Delivery, process: str) -> None:
        self.delivery = delivery
        self.process = process
        """What the run's process wrote into the entry with which it began or went on."""
        self.failed = 0
        """Attempts in a row that did not succeed."""
        self.due = 0.0
        self.why: str | None = None
        """Why the last attempt did not succeed."""
        self.stopped = False
        """Whether nothing is tried any more, because the run was deleted or its store is wrong."""
        self.finished = False
        self.system: SystemMetrics | None = None

    def attempt(self, until: float = float("inf")) -> None:
        """Deliver what there is; a failure is remembered and never raised, but for the store's being wrong."""
        try:
            self.delivery.deliver(until)
            self.failed, self.why, self.due = 0, None, time.monotonic() + _EVERY_SECONDS
            if self.finished:
                self._rest()
        except Unreachable as error:
            self.failed += 1
            self.why = str(error)
            self.due = time.monotonic() + min(_EVERY_SECONDS * 2 ** (self.failed - 1), _LONGEST_PAUSE_SECONDS)
        except Trashed as error:
            self._stop(str(error))
        except TrackingError as error:
            self._stop(str(error))
            raise

    def finish(self, seconds: float) -> dict[str, Any]:
        """Deliver all that is left, as long as that goes on; return what could not be delivered."""
        begun = time.monotonic()
        if self.system is not None:
            self.system.stop()
        while not self.stopped:
            try:
                self.attempt(begun + seconds)
            except TrackingError:
                break
            spent = time.monotonic() - begun
            if self.why is None or spent >= min(seconds, _GRACE_SECONDS):
                break
            time.sleep(min(1.0, seconds - spent))
        self.finished = True
        result = self.result()
        if self.why is None:
            self._rest()
        return result

    def _stop(self, why: str) -> None:
        """Try nothing any more, and let others."""
        self.stopped, self.why = True, why
        self.delivery.journal.close()

    def _rest(self) -> None:
        """Look no more into the journal, of which all is delivered, and let others."""
        self.due = float("inf")
        self.delivery.journal.close()

    def result(self) -> dict[str, Any]:
        """Return the run's id, where to look at it, how many entries are left and why."""
        cursor = self.delivery.journal.cursor()
        left = self.delivery.journal.left()
        return {"run_id": cursor.run_id, "link": cursor.link, "left": left, "why": self.why}


class _Process:
    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what libraries print is no answer
        self._saying = threading.Lock()
        self._calls: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stores = Stores()
        self._runs: dict[str, _Run] = {}
        logging.getLogger("expkit").addHandler(_Warnings(self))
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, **values: Any) -> None:
        """Send a line to the run, if it is still there."""
        with self._saying:
            with suppress(OSError):
                self._answers.write(json.dumps(values) + "\n")
                self._answers.flush()

    def work(self) -> None:
        """Answer calls until the run has ended or was killed; between them deliver what is due."""
        while True:
            open_runs = [run for run in self._runs.values() if not run.stopped]
            pause = min((run.due for run in open_runs), default=float("inf")) - time.monotonic()
            try:
                call = self._calls.get(timeout=None if pause == float("inf") else max(pause, 0.01))
            except queue.Empty:
                for run in open_runs:
                    if time.monotonic() >= run.due:
                        self._attempt(run)
                continue
            if call is None:
                break
            self._answer(call)
        self._end()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._calls.put(json.loads(line))
        self._calls.put(None)

    def _answer(self, call: dict[str, Any]) -> None:
        number, act = call.pop("number"), call.pop("act")
        acts: dict[str, Callable[..., Any]] = {"begin": self._begin, "finish": self._finish}
        acts |= {"prepare_plots": self._prepare_plots, "plots": self._plots}
        try:
            self.say(number=number, result=acts[act](**call))
        except TrackingError as error:
            self.say(number=number, problems=[(problem.path, problem.message) for problem in error.problems])
        except Exception as error:  # whatever it is, the run is told and goes on
            self.say(number=number, problems=[("tracking", f"{type(error).__name__}: {error}")])

    def _begin(self, folder: str, address: dict[str, Any], process: str, system: bool) -> dict[str, Any]:
        run = _Run(Delivery(Journal(Path(folder)), Address(**address), self._stores, anew=True), process)
        self._runs[folder] = run
        run.attempt()
        if system and not run.stopped:
            run.system = SystemMetrics(run.delivery.journal)
        return run.result()

    def _finish(self, folder: str, seconds: float) -> dict[str, Any]:
        return self._runs[folder].finish(seconds)

    def _prepare_plots(self) -> None:
        """Import what draws while the run goes on."""
        importlib.import_module("expkit.plots.run")

    def _plots(self, folder: str) -> None:
        """Draw a run's pictures into its folder and keep them with the run, which may have ended."""
        from expkit.plots.run import draw_run

        if not draw_run(Path(folder)):
            return
        run = self._runs[folder]
        run.delivery.journal.append("artifacts", paths=["plots"], folder=None)
        if not run.stopped:
            self._attempt(run)

    def _attempt(self, run: _Run) -> None:
        """Deliver while the run goes on, and say it once when that begins to fail, and when it goes well again."""
        before = run.why
        with suppress(TrackingError):
            run.attempt()
        place = run.delivery.journal.folder
        if run.why is not None and before is None:
            end = f"`expkit sync {place}` delivers them" if run.stopped else "they are delivered when it does"
            self.say(warning=f"MLflow does not take records ({run.why}): the run goes on and keeps them; {end}")

    def _end(self) -> None:
        """Deliver what is left once more; a run that did not say how it ended was killed."""
        until = time.monotonic() + _LAST_SECONDS
        for run in self._runs.values():
            journal = run.delivery.journal
            if not run.finished and not journal.ended():
                start = journal.start()
                if start is not None and start.values["process"] == run.process:
                    journal.append("finish", status="KILLED", error=None, milliseconds=int(time.time() * 1000))
        waiting = [run for run in self._runs.values() if not run.stopped]
        while waiting and time.monotonic() < until:
            for run in waiting:
                self._attempt(run)
            waiting = [run for run in waiting if run.why is not None and not run.finished and not run.stopped]
            if waiting:
                time.sleep(1.0)


def serve() -> None:
    """Be the process: answer the calls on standard input until it ends."""
    os.nice(5)  # where the step needs all cores, it has them
    process = _Process()
    prepare()  # while the first call is not there yet
    process.work()
    os._exit(0)  # all is written; taking MLflow down would be for nothing
