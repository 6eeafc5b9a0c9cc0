"""Execution of a sweep: workers take its runs, in this process or in others, until none is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hydra.types import TaskFunction

from expkit.errors import RunError
from expkit.sweeps.board import Board
from expkit.sweeps.claims import holder_of, is_held
from expkit.sweeps.launcher import Launcher
from expkit.sweeps.progress import Progress
from expkit.sweeps.sweep_folder import CLOSED, DONE, Child

__all__ = ["OVERRIDES", "SweepRunner", "work_here"]

OVERRIDES = "EXPKIT_SWEEP_OVERRIDES"
"""Environment variable by which a worker gets the overrides of its sweep, secrets included."""

_POLL_SECONDS = 0.1
_FOLLOW_SECONDS = 0.5
_MOST_DEATHS = 1000
_ORDERLY = (0, 1, 2, 130, 143)
"""Exit codes of a worker that was not killed, and not ended by a library: 1 after a traceback, 2 after an error."""


def work_here(board: Board, launcher: Launcher, task: TaskFunction, taken: Callable[[Child], None]) -> int:
    """Take runs and execute them in this process until none is left for it; return their number.

    Args:
        board: the sweep.
        launcher: a launcher that runs in this process.
        task: called with the configuration of every run.
        taken: called with every run before it starts.

    Raises:
        RunError: a run cannot be started.
    """
    count = 0
    while (child := board.take()) is not None:
        taken(child)
        reason = "without an error"
        try:
            launcher.launch(child, board.folder, task)
        except Exception as error:
            reason = _logged(error, _log_of(board))
        finally:
            board.give_back(child)
        if child.status in ("WAITING", "RUNNING"):
            raise RunError.at(
                "hydra/launcher",
                f"ended before {child.label} started ({reason}); see {_log_of(board)}; the same "
                "command runs the missing ones",
            )
        count += 1
    return count


@dataclass(kw_only=True)
class SweepRunner:
    """Executes the runs of a sweep with as many workers as were asked for, and follows those of others."""

    board: Board
    launcher: Launcher
    task: TaskFunction
    """Called with the configuration of every run."""
    worker: Callable[[str | None], TaskFunction]
    """Returns the task of a worker in another process, given the one run that it may take or ``None``."""
    overrides: Sequence[str]
    progress: Progress
    on_death: Callable[[Child, str], None]
    """Called with a run whose process ended before it recorded a status, and the reason."""
    _followed: float = field(default=0.0)
    _waiting: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextmanager
    def prepared(self, slots: int) -> Iterator[None]:
        """Start the workers of this machine, if any; they import TensorFlow during the block, then wait for ``run``."""
        if self.launcher.in_this_process and slots > 1:
            self._waiting = [self._start() for _ in range(slots)]
        try:
            yield
        except BaseException:
            for process in self._waiting:
                process.kill()
                process.communicate()
            raise

    def run(self, slots: int, *, retry: bool = True) -> None:
        """Execute all runs; return when none is left, here or with another worker.

        Args:
            slots: number of workers.
            retry: whether failed runs are tried again.

        Raises:
            RunError: workers cannot start.
        """
        if retry:
            self.board.retry()
        known = self.board.known().children
        self.progress.add([child for child in known if child.status in DONE], done=True)
        self._follow(force=True)
        waited = False
        while True:
            self._work(slots)
            others = [child for child in self._open() if is_held(child.folder.path)]
            if not others:
                break
            if not waited:
                self.progress.note(
                    f"waiting for other workers, which execute {', '.join(item.label for item in others)}"
                )
                waited = True
            while any(is_held(child.folder.path) for child in others):
                time.sleep(_POLL_SECONDS)
        self._follow(force=True)
        for child in self._open():
            state = child.state()
            if state.status == "RUNNING" or (state.status == "KILLED" and "its process" in (state.error or "")):
                self.on_death(child, state.error or "its process ended")
        self.progress.refresh()
        if (remark := self.board.sweeper.remark(self.board)) is not None:
            self.progress.note(remark)

    def _work(self, slots: int) -> None:
        if self.launcher.in_this_process and slots == 1:
            work_here(self.board, self.launcher, self.task, self._take)
        elif self.launcher.in_this_process:
            self._local(slots)
        else:
            self._elsewhere(slots)
        self._follow(force=True)

    def _take(self, child: Child) -> None:
        self._follow()
        self.progress.add([child], done=False)

    def _open(self) -> list[Child]:
        return [child for child in self.board.known().children if child.status not in CLOSED]

    def _follow(self, *, force: bool = False) -> None:
        """Show the runs that other processes have taken, and the points that are not valid configurations."""
        if not force and time.monotonic() - self._followed < _FOLLOW_SECONDS:
            return
        self._followed = time.monotonic()
        known = self.board.known()
        fresh = [child for child in known.children if child.name not in self.progress.states and child.folder.state()]
        self.progress.add(fresh, done=False)
        self.progress.skipped = known.skipped
        for error in known.rejected[self.progress.rejected :]:
            self.progress.rejected += 1
            print(*(f"error: {line}" for line in error.splitlines()), sep="\n", file=sys.stderr)

    def _local(self, slots: int) -> None:
        """Execute runs in processes of this machine; one that dies is replaced."""
        processes, self._waiting = self._waiting or [self._start() for _ in range(slots)], []
        for process in processes:
            _begin(process)
        deaths = 0
        try:
            while processes:
                time.sleep(_POLL_SECONDS)
                self._follow()
                for process in [item for item in processes if item.poll() is not None]:
                    processes.remove(process)
                    died = process.returncode not in _ORDERLY or (process.returncode and self._left_run(process.pid))
                    if process.returncode > 0 and self.board.folder.stops_now:
                        raise SystemExit(process.returncode)  # as a run of this process would
                    if process.returncode > 0 and not died:
                        raise RunError.at("hydra.sweeper.n_jobs", f"a worker failed: {self._last_line()}")
                    if died and deaths < _MOST_DEATHS:
                        deaths += 1
                        processes.append(self._start())
                        _begin(processes[-1])
        except BaseException:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
            raise

    def _left_run(self, process: int) -> bool:
        """Return True if a process has ended without giving back its run, as one does that a library ends."""
        holders = (holder_of(child.folder.path) for child in self._open())
        return any(holder is not None and holder.process == process for holder in holders)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "expkit", "sweep", "work", str(self.board.folder.path), "--attached"]
        environment = {**os.environ, OVERRIDES: json.dumps(list(self.overrides))}
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)

    def _elsewhere(self, slots: int) -> None:
        """Execute runs in processes of the launcher; after one died, those that were running, one at a time.

        So a run that dies on its own is found and marked as killed; the others end as usual.
        """
        import threading

        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(_FOLLOW_SECONDS):
                self._follow()

        thread = threading.Thread(target=follow, name="follow", daemon=True)
        thread.start()
        try:
            while (reason := self._attempt(slots, None)) is not None:
                suspects = [child for child in self._open() if child.status == "RUNNING"]
                suspects = [child for child in suspects if not is_held(child.folder.path)]
                if not suspects:
                    raise RunError.at(
                        "hydra/launcher",
                        f"no worker could be executed ({reason}); see {self._log}; the same command continues",
                    )
                for child in suspects:
                    again = self._attempt(1, child.name)
                    if again is not None and child.status == "RUNNING":
                        self.board.give_up(child, f"its process ended ({again})")
        except BaseException:
            for child in self._open():
                if child.status == "RUNNING" and self.launcher.waits_for_all:
                    self.on_death(child, "the sweep was stopped")
            raise
        finally:
            stop.set()
            thread.join()

    def _attempt(self, slots: int, only: str | None) -> str | None:
        """Have the launcher execute workers; return its error if it failed.

        Raises:
            RunError: the launcher or a worker says why it cannot go on.
        """
        job = self.board.points[0][0]
        try:
            self.launcher.launch_workers(slots, job, self.board.folder, self.worker(only))
        except RunError:
            raise
        except Exception as error:
            return _logged(error, self._log)
        return None

    @property
    def _log(self) -> Path:
        return _log_of(self.board)

    def _last_line(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.startswith("error: ")]
        return lines[-1].removeprefix("error: ") if lines else f"see {self._log}"


def _begin(process: subprocess.Popen[bytes]) -> None:
    """Let a worker take runs: it waits for a line."""
    assert process.stdin is not None
    with suppress(OSError), process.stdin:  # One that has ended is found by its exit code.
        process.stdin.write(b"begin\n")


def _log_of(board: Board) -> Path:
    """Return the file with what launchers and workers print."""
    return board.folder.path / "launcher.log"


def _logged(error: Exception, log: Path) -> str:
    """Append the traceback of an error to a file; return the error in one line."""
    with log.open("a") as file:
        traceback.print_exception(error, file=file)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
