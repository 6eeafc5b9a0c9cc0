"""The recorder's process: it answers the run, and uploads journals while the run continues."""

from __future__ import annotations

import importlib
import json
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from expkit.garbage import uncollected
from expkit.tracking.client import StoreAddress, prepare
from expkit.tracking.errors import RunDeleted, StoreUnreachable, TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.store_address import sync_command
from expkit.tracking.system import SystemMetrics
from expkit.tracking.uploader import OpenStores, Uploader

__all__ = ["serve"]

_EVERY_SECONDS = 1.0
"""Time between two uploads of a journal."""
_LONGEST_PAUSE_SECONDS = 30.0
"""Longest time between two attempts at a server that is down."""
_GRACE_SECONDS = 5.0
"""Time for which the end of a run retries while the server is down."""
_LAST_SECONDS = 60.0
"""Time for which records are uploaded after the run was killed; nobody waits for that."""


class _Warnings(logging.Handler):
    """Sends warnings to the run at once."""

    def __init__(self, server: _Server) -> None:
        super().__init__(logging.WARNING)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.send(warning=record.getMessage())


class _OpenRun:
    """A run whose journal is uploaded."""

    def __init__(self, uploader: Uploader, process: str) -> None:
        self.uploader = uploader
        self.process = process
        """The id that the run's process wrote into its ``begin`` or ``continue`` entry."""
        self.failures = 0
        """Failed attempts in a row."""
        self.due = 0.0
        """Time of the next attempt, of ``time.monotonic``."""
        self.cause: str | None = None
        """Why the last attempt failed."""
        self.stopped = False
        """True if there are no more attempts: the run was deleted, or its store cannot be used."""
        self.finished = False
        self.system_metrics: SystemMetrics | None = None

    def attempt(self, until: float = float("inf")) -> None:
        """Upload what there is; a failure is remembered, and only a store that cannot be used raises TrackingError."""
        try:
            self.uploader.upload(until)
            self.failures, self.cause, self.due = 0, None, time.monotonic() + _EVERY_SECONDS
            if self.finished:
                self._rest()
        except StoreUnreachable as error:
            self.failures += 1
            self.cause = str(error)
            self.due = time.monotonic() + min(_EVERY_SECONDS * 2 ** (self.failures - 1), _LONGEST_PAUSE_SECONDS)
        except RunDeleted as error:
            self._stop(str(error))
        except TrackingError as error:
            self._stop(str(error))
            raise

    def finish(self, seconds: float) -> dict[str, Any]:
        """Upload the rest within a time, as long as the server answers; return the result."""
        begun = time.monotonic()
        if self.system_metrics is not None:
            self.system_metrics.stop()
        while not self.stopped:
            try:
                self.attempt(begun + seconds)
            except TrackingError:
                break
            spent = time.monotonic() - begun
            if self.cause is None or spent >= min(seconds, _GRACE_SECONDS):
                break
            time.sleep(min(1.0, seconds - spent))
        self.finished = True
        result = self.result()
        if self.cause is None:
            self._rest()
        return result

    def result(self) -> dict[str, Any]:
        """Return the run's id, its link, and how many entries are missing and why."""
        progress = self.uploader.journal.progress()
        missing = self.uploader.journal.pending()
        return {"run_id": progress.run_id, "link": progress.link, "missing": missing, "cause": self.cause}

    def _stop(self, cause: str) -> None:
        """Make no more attempts, and release the journal."""
        self.stopped, self.cause = True, cause
        self.uploader.journal.close()

    def _rest(self) -> None:
        """Make no attempt until there is a new entry, and release the journal."""
        self.due = float("inf")
        self.uploader.journal.close()


class _Server:
    """The loop that answers calls, and uploads between them."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # Output of libraries is not an answer.
        self._sending = threading.Lock()
        self._calls: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._stores = OpenStores()
        self._runs: dict[str, _OpenRun] = {}
        self._drawings: deque[tuple[int, Iterator[None]]] = deque()
        """Numbers of the calls for plots, each with what draws the next picture."""
        logging.getLogger("expkit").addHandler(_Warnings(self))
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, **values: Any) -> None:
        """Send a line to the run, if its process still exists."""
        with self._sending:
            with suppress(OSError):
                self._answers.write(json.dumps(values) + "\n")
                self._answers.flush()

    def run(self) -> None:
        """Answer calls until the run has ended or was killed; upload what is due between them, and draw."""
        while True:
            open_runs = [run for run in self._runs.values() if not run.stopped]
            pause = max(min((run.due for run in open_runs), default=float("inf")) - time.monotonic(), 0.01)
            try:
                call = self._calls.get(timeout=0 if self._drawings else None if pause == float("inf") else pause)
            except queue.Empty:
                for run in open_runs:
                    if time.monotonic() >= run.due:
                        self._attempt(run)
                if self._drawings:
                    self._draw()
                continue
            if call is None:
                break
            if call["act"] == "plots":
                self._drawings.append((call["number"], self._plots(call["folder"])))
            else:
                self._answer(call)
        while self._drawings:
            self._draw()
        self._end()

    def _draw(self) -> None:
        """Draw the next picture; answer the call after its last one."""
        number, pictures = self._drawings[0]
        try:
            next(pictures)
            return
        except StopIteration:
            self.send(number=number, result=None)
        except Exception as error:  # The run is informed of any error.
            self._report(number, error)
        self._drawings.popleft()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._calls.put(json.loads(line))
        self._calls.put(None)

    def _answer(self, call: dict[str, Any]) -> None:
        number, act = call.pop("number"), call.pop("act")
        acts: dict[str, Callable[..., Any]] = {"begin": self._begin, "finish": self._finish}
        acts |= {"prepare_plots": self._prepare_plots}
        try:
            self.send(number=number, result=acts[act](**call))
        except Exception as error:  # The run is informed of any error, and continues.
            self._report(number, error)

    def _report(self, number: int, error: Exception) -> None:
        if isinstance(error, TrackingError):
            self.send(number=number, problems=[(problem.path, problem.message) for problem in error.problems])
        else:
            self.send(number=number, problems=[("tracking", f"{type(error).__name__}: {error}")])

    def _begin(self, folder: str, address: dict[str, Any], process: str, system_metrics: bool) -> dict[str, Any]:
        journal = Journal(Path(folder))
        run = _OpenRun(Uploader(journal, StoreAddress(**address), self._stores, recreate_deleted=True), process)
        self._runs[folder] = run
        run.attempt()
        if system_metrics and not run.stopped:
            run.system_metrics = SystemMetrics(journal)
        return run.result()

    def _finish(self, folder: str, seconds: float) -> dict[str, Any]:
        return self._runs[folder].finish(seconds)

    def _prepare_plots(self) -> None:
        """Import the plots' libraries while the run continues."""
        with uncollected():
            importlib.import_module("expkit.plots.run")

    def _plots(self, folder: str) -> Iterator[None]:
        """Draw a run's plots into its folder one by one and record them, even after the run has ended."""
        from expkit.plots.run import draw

        if not (yield from draw(Path(folder))):
            return
        run = self._runs[folder]
        run.uploader.journal.append("artifacts", paths=["plots"])
        if not run.stopped:
            self._attempt(run)

    def _attempt(self, run: _OpenRun) -> None:
        """Upload while the run continues; warn at the first of several failures."""
        before = run.cause
        with suppress(TrackingError):
            run.attempt()
        if run.cause is not None and before is None:
            command = f"`{sync_command(run.uploader.journal.folder, run.uploader.address.uri)}`"
            rest = f"upload them with {command}" if run.stopped else "they are uploaded as soon as it does"
            self.send(warning=f"MLflow does not accept records ({run.cause}): the run continues and keeps them; {rest}")

    def _end(self) -> None:
        """Upload the rest; a run that recorded no end was killed."""
        until = time.monotonic() + _LAST_SECONDS
        for run in self._runs.values():
            journal = run.uploader.journal
            if not run.finished and not journal.has_ended():
                start = journal.last_start()
                if start is not None and start.values["process"] == run.process:
                    journal.append("finish", status="KILLED", error=None, milliseconds=int(time.time() * 1000))
        waiting = [run for run in self._runs.values() if not run.stopped]
        while waiting and time.monotonic() < until:
            for run in waiting:
                self._attempt(run)
            waiting = [run for run in waiting if run.cause is not None and not run.finished and not run.stopped]
            if waiting:
                time.sleep(1.0)


def serve() -> None:
    """Answer the calls on standard input until it ends, and end the process."""
    os.nice(5)  # A step that needs all cores gets them.
    server = _Server()
    with uncollected():
        prepare()  # while the first call is still on its way
    server.run()
    os._exit(0)  # Everything is written; an orderly end of MLflow would only take time.
