"""Claims: which process executes a run of a sweep, across processes and machines.

A claim is the file ``.claim`` in the run's folder: locked, which the system undoes when the process ends however it
ends, and touched every few seconds, for machines that see each other's files without their locks.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from expkit.fs import Locked, file_lock, read_json

__all__ = ["MAX_DEATHS", "Claim", "Holder", "forget", "holder_of", "is_held"]

MAX_DEATHS = 3
"""Processes in a row that may die while they execute a run, before it is given up."""

_TOUCH_SECONDS = 10.0
_STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim, or held it when it died."""

    host: str
    process: int
    alive: bool


class Claim:
    """A run claimed by this process, until it is released."""

    def __init__(self, path: Path, held: ExitStack, deaths: int) -> None:
        self.deaths = deaths
        """Processes in a row that have died with this run."""
        self._path = path
        self._held = held
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._touch, name="claim", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, run: Path) -> Claim | None:
        """Claim a run; return ``None`` while another process has it.

        Args:
            run: the run's folder, which is created where it is missing.
        """
        run.mkdir(parents=True, exist_ok=True)
        path = run / ".claim"
        before = holder_of(run)
        if before is not None and before.alive and before.host != socket.gethostname():
            return None  # even where its lock is not seen here
        held = ExitStack()
        try:
            file = held.enter_context(file_lock(path))
        except Locked:
            return None
        content = read_json(path)
        before_it = content.get("deaths", 0)
        deaths = (before_it if isinstance(before_it, int) else 0) + ("process" in content)
        _write(file, {"host": socket.gethostname(), "process": os.getpid(), "deaths": deaths})
        return cls(path, held, deaths)

    def release(self, deaths: int = 0) -> None:
        """Give the run back.

        Args:
            deaths: number to keep of the processes that died with it; 0 after a process that did not.
        """
        self._stop.set()
        self._thread.join()
        with self._held, self._path.open("a+") as file:
            _write(file, {"deaths": deaths} if deaths else {})

    def _touch(self) -> None:
        while not self._stop.wait(_TOUCH_SECONDS):
            with suppress(OSError):
                os.utime(self._path)


def holder_of(run: Path) -> Holder | None:
    """Return who has claimed a run, or died with it; ``None`` if nobody did, or it was released."""
    path = run / ".claim"
    content = read_json(path)
    host, process = content.get("host"), content.get("process")
    if not isinstance(host, str) or not isinstance(process, int):
        return None
    try:
        alive = time.time() - path.stat().st_mtime < _STALE_SECONDS
    except OSError:
        return None
    return Holder(host, process, alive and (host != socket.gethostname() or _exists(process)))


def is_held(run: Path) -> bool:
    """Return True while a process executes a run."""
    holder = holder_of(run)
    return holder is not None and holder.alive


def forget(run: Path) -> None:
    """Forget the processes that died with a run, so that it may be tried again; a claim that is held stays."""
    if (run / ".claim").is_file() and (claim := Claim.take(run)) is not None:
        claim.release()


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write(file: TextIO, content: dict[str, object]) -> None:
    file.truncate(0)
    file.write(json.dumps(content))
    file.flush()
