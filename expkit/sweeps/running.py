"""A sweep under way: what is missing is launched, what is done is left, what died is told apart from what failed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from hydra.types import TaskFunction

from expkit.errors import ConfigError, RunError
from expkit.sweeps.folder import DONE, Child, State, SweepFolder
from expkit.sweeps.launching import Launching
from expkit.sweeps.objective import Objective
from expkit.sweeps.plan import Job
from expkit.sweeps.watch import Watch

__all__ = ["Sweep"]

_log = logging.getLogger(__name__)


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

        A run whose process dies is killed, and the others go on in new processes.

        Raises:
            RunError: the launcher cannot run any.
        """
        missing = [child for child in children if child.state().status not in DONE]
        for child in missing:
            child.set_waiting()
        self._watch.add([child for child in children if child not in missing], done=True)
        self._watch.add(missing, done=False)
        while missing:
            said = self._launch(missing)
            waiting = [child for child in missing if child.state().status == "WAITING"]
            if waiting and (not self._launching.waits_for_all or len(waiting) == len(missing)):
                raise RunError.at(
                    "hydra/launcher",
                    f"ended before {len(waiting)} of {len(missing)} runs began ({said}); "
                    "when those that are under way have ended, the same command runs what is missing",
                )
            missing = waiting
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

    def _launch(self, children: Sequence[Child]) -> str:
        """Launch runs; return what the launcher said when it failed."""
        said = "it returned"
        try:
            self._launching.launch(children, self.folder, self._task)
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            _log.exception("the launcher failed")
        finally:
            if self._launching.waits_for_all:
                for child in children:
                    if child.state().status == "RUNNING":
                        self._died(child, f"its process ended before it did ({said})")
        return said
