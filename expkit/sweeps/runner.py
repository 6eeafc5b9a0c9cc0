"""A sweep under way: what is missing is launched, what is done is left, what died is told apart from what failed."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.types import TaskFunction

from expkit.errors import ConfigError, RunError
from expkit.sweeps.jobs import Job
from expkit.sweeps.launcher import Launching
from expkit.sweeps.objective import Objective
from expkit.sweeps.progress import Watch
from expkit.sweeps.sweep_folder import DONE, Child, State, SweepFolder

__all__ = ["Sweep"]

_POLL_SECONDS = 0.2


class Sweep:
    """What a sweeper asks for runs; see ``kinds.Running``."""

    def __init__(
        self,
        folder: SweepFolder,
        launching: Launching,
        task: TaskFunction,
        watch: Watch,
        check: Callable[[Sequence[Sequence[str]]], list[Job]],
        died: Callable[[Child, str], None],
    ) -> None:
        """Begin.

        Args:
            folder: of the sweep.
            launching: hands runs to processes.
            task: what a launcher calls with every job's configuration.
            watch: shows the runs.
            check: makes jobs of lists of overrides.
            died: is told of a run whose process ended before it could say so, and why.
        """
        self.folder = folder
        self._launching = launching
        self._task = task
        self._watch = watch
        self._check = check
        self._died = died

    @property
    def objectives(self) -> Sequence[Objective]:
        """What the sweep is judged by."""
        return self._watch.objectives

    def jobs(self, words: Sequence[Sequence[str]]) -> list[Job]:
        """Return the jobs of lists of overrides, checked; all mistakes are reported at once."""
        return self._check(words)

    def children(self, jobs: Sequence[Job]) -> list[Child]:
        """Return the run of every job; jobs that compute the same are one run."""
        return self.folder.children(list(jobs))

    def run(self, children: Sequence[Child]) -> list[State]:
        """Run what is missing of these runs; return how all of them ended.

        Raises:
            RunError: the launcher cannot run any.
        """
        self._wait_for([child for child in children if child.state().status not in DONE])
        missing = [child for child in children if child.state().status not in DONE]
        for child in missing:
            child.set_waiting()
        self._watch.add([child for child in children if child not in missing], done=True)
        self._watch.add(missing, done=False)
        # In this process one at a time: a launcher holds on to the configurations of all it was given.
        together = 1 if self._launching.in_this_process else max(1, len(missing))
        for start in range(0, len(missing), together):
            self._launch(missing[start : start + together])
        self._watch.look()
        return [child.state() for child in children]

    def count(self, jobs: Sequence[Job]) -> None:
        """Count the runs of jobs among those that have ended, however they have."""
        if jobs:
            self._watch.add(self.children(jobs), done=True)

    def refused(self, words: Sequence[str], error: ConfigError | None) -> None:
        """Count a job that cannot be made among those that failed; say why, when it is found just now."""
        self._watch.refused += 1
        if error is not None:
            print(*(f"error: {' '.join(words)}: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)

    def note(self, text: str) -> None:
        """Say something between the runs."""
        self._watch.note(text)

    def _wait_for(self, children: Sequence[Child]) -> None:
        """Wait for processes that outlived a sweep that was killed, and end what they have begun."""
        held = [child for child in children if child.held]
        if held:
            others = ", ".join(child.label for child in held)
            self._watch.note(f"waiting for processes of this sweep from before, which are at work on {others}")
        while any(child.held for child in held):
            time.sleep(_POLL_SECONDS)

    def _launch(self, children: Sequence[Child]) -> None:
        """Launch runs; those that were under way when a process died are launched again, one at a time.

        So the one that dies whatever is beside it is found, and is killed; the others end as they would have.
        """
        why = self._attempt(children)
        waiting = [child for child in children if child.state().status == "WAITING"]
        suspects = [child for child in children if child.state().status == "RUNNING"]
        if waiting and (not self._launching.waits_for_all or len(waiting) == len(children)):
            raise RunError.at(
                "hydra/launcher",
                f"ended before {len(waiting)} of {len(children)} runs began ({why}); see {self._log}; when those that "
                "are under way have ended, the same command runs what is missing",
            )
        if len(children) == 1 and suspects:
            self._died(children[0], f"its process ended ({why})")
            return
        for child in suspects:
            child.set_waiting()
            self._launch([child])
        if waiting:
            self._launch(waiting)

    def _attempt(self, children: Sequence[Child]) -> str:
        """Hand runs to the launcher; return what it said when it failed."""
        try:
            self._launching.launch(children, self.folder, self._task)
        except Exception as error:
            with self._log.open("a") as file:
                traceback.print_exc(file=file)
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        except BaseException:
            for child in children:
                if child.state().status == "RUNNING" and self._launching.waits_for_all:
                    self._died(child, "the sweep was stopped")
            raise
        return "without a word"

    @property
    def _log(self) -> Path:
        return self.folder.path / "launcher.log"
