"""Execution of a sweep: missing runs are launched, and runs whose process died are found."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.types import TaskFunction

from expkit.errors import ConfigError, RunError
from expkit.sweeps.jobs import SweepJob
from expkit.sweeps.launcher import Launcher
from expkit.sweeps.objective import Objective
from expkit.sweeps.progress import Progress
from expkit.sweeps.sweep_folder import DONE, Child, RunState, SweepFolder

__all__ = ["SweepRunner"]

_POLL_SECONDS = 0.2


class SweepRunner:
    """Executes the runs that a sweeper requests."""

    def __init__(
        self,
        folder: SweepFolder,
        launcher: Launcher,
        task: TaskFunction,
        progress: Progress,
        replicates: Callable[[Sequence[Sequence[str]]], list[list[SweepJob]]],
        on_death: Callable[[Child, str], None],
    ) -> None:
        """Prepare the execution.

        Args:
            folder: the sweep.
            launcher: starts runs in their processes.
            task: called by the launcher with the configuration of every job.
            progress: displays the runs.
            replicates: makes the jobs of each point, given the overrides of each.
            on_death: called with a run whose process ended before it recorded a status, and the reason.
        """
        self.folder = folder
        self._launcher = launcher
        self._task = task
        self._progress = progress
        self._replicates = replicates
        self._on_death = on_death

    @property
    def objectives(self) -> Sequence[Objective]:
        """Objectives of the sweep."""
        return self._progress.objectives

    def replicates(self, points: Sequence[Sequence[str]]) -> list[list[SweepJob]]:
        """Return the jobs of each point, its replicates, given the overrides of each.

        Raises:
            ConfigError: with the mistakes of all jobs.
        """
        return self._replicates(points)

    def skip(self, count: int) -> None:
        """Take runs that are not needed any more off the number of runs that the sweep will have."""
        self._progress.total -= count

    @property
    def one_at_a_time(self) -> bool:
        """True if runs are executed one after another, in this process."""
        return self._launcher.in_this_process

    def children(self, jobs: Sequence[SweepJob]) -> list[Child]:
        """Return the run of every job; jobs of the same digest share one run."""
        return self.folder.children(jobs)

    def run(self, children: Sequence[Child]) -> list[RunState]:
        """Execute those of these runs that are not done; return the final state of each.

        Raises:
            RunError: the launcher cannot start any.
        """
        self._wait_for([child for child in children if child.state().status not in DONE])
        missing = [child for child in children if child.state().status not in DONE]
        for child in missing:
            child.set_waiting()
        self._progress.add([child for child in children if child not in missing], done=True)
        self._progress.add(missing, done=False)
        # One at a time in this process: a launcher keeps the configurations of a whole batch in memory.
        batch = 1 if self._launcher.in_this_process else max(1, len(missing))
        for start in range(0, len(missing), batch):
            self._launch(missing[start : start + batch])
        self._progress.refresh()
        return [child.state() for child in children]

    def count(self, jobs: Sequence[SweepJob]) -> None:
        """Count the runs of jobs that have ended, with any status."""
        if jobs:
            self._progress.add(self.children(jobs), done=True)

    def count_rejected(self, overrides: Sequence[str], error: ConfigError | None) -> None:
        """Count a job of an invalid configuration as failed; report the error if it is new."""
        self._progress.rejected += 1
        if error is not None:
            job = " ".join(overrides)
            print(*(f"error: {job}: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)

    def note(self, text: str) -> None:
        """Print a line between those of the runs."""
        self._progress.note(text)

    def _wait_for(self, children: Sequence[Child]) -> None:
        """Wait for processes that outlived a killed sweep to finish their runs."""
        locked = [child for child in children if child.locked]
        if locked:
            labels = ", ".join(child.label for child in locked)
            self._progress.note(f"waiting for processes of an earlier command of this sweep, which execute {labels}")
        while any(child.locked for child in locked):
            time.sleep(_POLL_SECONDS)

    def _launch(self, children: Sequence[Child]) -> None:
        """Launch runs; after a process died, launch those that were running again, one at a time.

        So a run that dies on its own is found and marked as killed; the others end as usual.
        """
        reason = self._attempt(children)
        waiting = [child for child in children if child.state().status == "WAITING"]
        suspects = [child for child in children if child.state().status == "RUNNING"]
        if waiting and (not self._launcher.waits_for_all or len(waiting) == len(children)):
            raise RunError.at(
                "hydra/launcher",
                f"ended before {len(waiting)} of {len(children)} runs started ({reason}); see {self._log}; when the "
                "running ones have ended, the same command runs the missing ones",
            )
        if len(children) == 1 and suspects:
            self._on_death(children[0], f"its process ended ({reason})")
            return
        for child in suspects:
            child.set_waiting()
            self._launch([child])
        if waiting:
            self._launch(waiting)

    def _attempt(self, children: Sequence[Child]) -> str:
        """Give runs to the launcher; return its error if it failed."""
        try:
            self._launcher.launch(children, self.folder, self._task)
        except Exception as error:
            with self._log.open("a") as file:
                traceback.print_exc(file=file)
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        except BaseException:
            for child in children:
                if child.state().status == "RUNNING" and self._launcher.waits_for_all:
                    self._on_death(child, "the sweep was stopped")
            raise
        return "without an error"

    @property
    def _log(self) -> Path:
        return self.folder.path / "launcher.log"
