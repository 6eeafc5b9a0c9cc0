"""Sweepers: which runs a sweep makes, one registered kind each, chosen by ``hydra/sweeper=NAME``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from pydantic import Field

from expkit.config.load import said
from expkit.errors import ConfigError, Problem
from expkit.registry import Kind, register
from expkit.sweeps.folder import Child, State
from expkit.sweeps.objective import Mode, Objective
from expkit.sweeps.plan import Job, key_of

__all__ = ["Grid", "Running", "Sweeper"]


class Running(Protocol):
    """A sweep that is under way: what a sweeper has to ask for runs."""

    @property
    def objective(self) -> Objective:
        """What it is judged by."""

    def jobs(self, words: Sequence[Sequence[str]]) -> list[Job]:
        """Return the jobs of lists of overrides, checked; all mistakes are reported at once."""

    def children(self, jobs: Sequence[Job]) -> list[Child]:
        """Return the run of every job; jobs that compute the same are one run."""

    def run(self, children: Sequence[Child]) -> list[State]:
        """Run what is missing of these runs, as many at once as the launcher takes; return how all of them ended."""


class Sweeper(Kind, ABC):
    """Which runs a sweep makes."""

    family = "sweeper"

    objective: str | None = None
    """Metric that a sweep is judged by, such as ``valid/accuracy/ema``.

    By default ``train.best_metric``, else the loss of the validation part, or of the test part.
    """
    mode: Mode | None = None
    """Whether the best is the largest or the smallest; ``min`` by default for losses and errors."""

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
    def total(self, jobs: Sequence[Job]) -> int:
        """Return how many runs there will be."""

    @abstractmethod
    def sweep(self, running: Running, overrides: Sequence[Override], jobs: Sequence[Job]) -> None:
        """Make all runs."""


@register
class Grid(Sweeper):
    """Every combination of the values given: ``a=1,2 b=range(3)``, ``choice(...)``, ``glob(...)``."""

    kind: Literal["grid"] = "grid"
    batch_size: Annotated[int, Field(gt=0)] | None = None
    """Runs handed to the launcher at once; ``null`` for all of them."""

    def checks(self, overrides: Sequence[Override]) -> list[list[str]]:
        """Return the overrides of every job."""
        try:
            batches = BasicSweeper.split_arguments(list(overrides), max_batch_size=None)
        except HydraException as error:
            raise ConfigError(Problem("command line", said(error))) from None
        return [list(words) for batch in batches for words in batch]

    def key(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> str:
        """Return a hash over what is computed, so that the order of words and values does not matter."""
        return key_of("grid", sorted({job.digest for job in jobs}))

    def total(self, jobs: Sequence[Job]) -> int:
        """Return the number of different jobs."""
        return len({job.digest for job in jobs})

    def sweep(self, running: Running, overrides: Sequence[Override], jobs: Sequence[Job]) -> None:
        """Hand over all jobs, in their order."""
        children = running.children(jobs)
        size = self.batch_size or len(children)
        for start in range(0, len(children), size):
            running.run(children[start : start + size])
