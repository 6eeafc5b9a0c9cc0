"""Sweepers: which runs a sweep makes, one registered kind each, chosen by ``hydra/sweeper=NAME``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from expkit.config.hydra_internals import combinations
from expkit.config.load import composition_message
from expkit.errors import ConfigError, Problem
from expkit.registry import Kind, Positive, register
from expkit.sweeps.jobs import Job, key_of
from expkit.sweeps.objective import Mode, Objective
from expkit.sweeps.sweep_folder import Child, State, SweepFolder

__all__ = ["Grid", "Judge", "Running", "Sweeper"]

Judge = Callable[[int, Mapping[str, float]], None]
"""Takes every step's metrics, and raises ``Pruned`` to end the run early."""


class Running(Protocol):
    """A sweep that is under way: what a sweeper has to ask for runs."""

    @property
    def folder(self) -> SweepFolder:
        """Where it is kept."""

    @property
    def objectives(self) -> Sequence[Objective]:
        """What it is judged by."""

    def jobs(self, words: Sequence[Sequence[str]]) -> list[Job]:
        """Return the jobs of lists of overrides, checked; all mistakes are reported at once."""

    def children(self, jobs: Sequence[Job]) -> list[Child]:
        """Return the run of every job; jobs that compute the same are one run."""

    def run(self, children: Sequence[Child]) -> list[State]:
        """Run what is missing of these runs, as many at once as the launcher takes; return how all of them ended."""

    def count(self, jobs: Sequence[Job]) -> None:
        """Count the runs of jobs among those that have ended, however they have."""

    def refused(self, words: Sequence[str], error: ConfigError | None) -> None:
        """Count a job that cannot be made among those that failed; say why, when it is found just now."""

    def note(self, text: str) -> None:
        """Say something between the runs."""


class Sweeper(Kind, ABC):
    """Which runs a sweep makes."""

    family = "sweeper"

    objective: str | list[str] | None = None
    """Metric that a sweep is judged by, such as ``valid/accuracy/ema``, or several of them.

    By default ``train.best_metric``, else the loss of the validation part, or of the test part.
    """
    mode: Mode | list[Mode] | None = None
    """Whether the best is the largest or the smallest, of each; ``min`` by default for losses and errors."""

    @abstractmethod
    def checks(self, overrides: Sequence[Override]) -> list[list[str]]:
        """Return the overrides of the jobs that are checked before the first one starts.

        Args:
            overrides: the command line's, without Hydra's own.
        """

    @abstractmethod
    def key(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> str:
        """Return the key of the sweep: equal for two commands that are to be the same sweep.

        Args:
            overrides: the command line's, without Hydra's own.
            jobs: those of ``checks``.
        """

    @abstractmethod
    def total(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> int:
        """Return how many runs there will be."""

    def ready(self, objectives: Sequence[Objective], jobs: Sequence[Job]) -> None:
        """Make sure of all else that the sweep needs, before anything is written.

        Raises:
            ConfigError: it is not there.
        """

    @abstractmethod
    def sweep(self, running: Running, overrides: Sequence[Override], jobs: Sequence[Job]) -> None:
        """Make all runs."""

    def is_complete(self, folder: SweepFolder, total: int) -> bool:
        """Whether a sweep whose runs have all ended well has made all of them."""
        return True

    def judge(self, folder: SweepFolder, run: str) -> Judge | None:
        """Return what judges a run while it trains, in the process that makes it.

        Args:
            folder: of the sweep.
            run: name of the folder of the run.
        """
        return None


@register
class Grid(Sweeper):
    """Every combination of the values given: ``a=1,2 b=range(3)``, ``choice(...)``, ``glob(...)``."""

    kind: Literal["grid"] = "grid"
    batch_size: Positive | None = None
    """Runs handed to the launcher at once; ``null`` for all of them."""

    def checks(self, overrides: Sequence[Override]) -> list[list[str]]:
        """Return the overrides of every job."""
        if problems := [
            Problem(
                str(item.get_key_element()).lstrip("+"),
                "an interval has no end of values; write range(START,STOP,STEP) or choice(A,B), or let "
                "hydra/sweeper=optuna choose them",
            )
            for item in overrides
            if item.is_interval_sweep()
        ]:
            raise ConfigError(*problems)
        try:
            return combinations(overrides)
        except HydraException as error:
            raise ConfigError(Problem("command line", composition_message(error))) from None

    def key(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> str:
        """Return a hash over what is computed, so that the order of words and values does not matter."""
        return key_of("grid", sorted({job.digest for job in jobs}))

    def total(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> int:
        """Return the number of different jobs."""
        return len({job.digest for job in jobs})

    def sweep(self, running: Running, overrides: Sequence[Override], jobs: Sequence[Job]) -> None:
        """Hand over all jobs, in their order."""
        children = running.children(jobs)
        size = self.batch_size or len(children)
        for start in range(0, len(children), size):
            running.run(children[start : start + size])
