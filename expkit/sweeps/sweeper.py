"""Sweepers: the runs of a sweep by a registered kind, selected with ``hydra/sweeper=NAME``."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from expkit.errors import ConfigError, Problem
from expkit.registry import Kind, Positive, register
from expkit.sweeps.board import Board, Known, PointSource
from expkit.sweeps.given_overrides import GivenOverrides
from expkit.sweeps.jobs import SweepJob, hash_of
from expkit.sweeps.objective import Direction, Objective

if TYPE_CHECKING:
    from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["Grid", "PruneCheck", "Sweeper"]

PruneCheck = Callable[[int, Mapping[str, float]], None]
"""Receives the metrics of every step, and raises ``Pruned`` to end the run early."""


class Sweeper(Kind, PointSource):
    """Choice of the runs of a sweep."""

    family = "sweeper"

    objective: str | list[str] | None = None
    """Metric to optimize, such as ``valid/accuracy/ema``, or several of them.

    By default ``train.best_metric``, else the loss of the validation split, or of the test split.
    """
    direction: Direction | list[Direction] | None = None
    """``minimize`` or ``maximize`` for each; by default ``minimize`` for losses and errors, else ``maximize``."""
    params: dict[str, Any] | None = None
    """Overrides by key, as Hydra's sweepers take them: ``optimizer.learning_rate: choice(0.1, 0.01)``. The command line
    replaces them by key."""
    n_jobs: Positive | None = None
    """Runs at the same time; by default as many as the launcher executes, without a launcher one."""
    repeats: Positive = 1
    """Runs of every point, with the seeds ``run.seed``, ``run.seed + 1``, ...; its mean is its result."""
    repeat_over: str | list[str] = []
    """Keys that vary without being compared, besides ``run.seed`` and ``data.split.seed``, such as ``data.fold``."""
    on_tie: Literal["simplest", "first"] | None = None
    """Choice among configurations tied with the best: the one of the fewest trained parameters, or the first of the
    sweep; by default the best mean."""

    @property
    def replicate_keys(self) -> list[str]:
        """The keys of ``repeat_over``."""
        return [self.repeat_over] if isinstance(self.repeat_over, str) else list(self.repeat_over)

    @abstractmethod
    def checks(self, given: GivenOverrides) -> list[list[str]]:
        """Return the overrides of the points that are checked before the first run starts.

        Args:
            given: the overrides of the command line, without those of replicates.
        """

    @abstractmethod
    def key(self, given: GivenOverrides, jobs: Sequence[SweepJob]) -> str:
        """Return the key of the sweep, equal for commands that continue the same sweep.

        Args:
            given: the overrides of the command line, without those of replicates.
            jobs: the jobs of ``checks``, without repeats.
        """

    @abstractmethod
    def total(self, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> int:
        """Return the number of runs.

        Args:
            given: the overrides of the command line, without those of replicates.
            points: the jobs of each point of ``checks``.
        """

    def prepare(self, objectives: Sequence[Objective], jobs: Sequence[SweepJob]) -> None:
        """Check all other requirements of the sweep before anything is written.

        Raises:
            ConfigError: a requirement is not met.
        """

    def begin(self, board: Board) -> None:
        """Prepare the folder before the first run of a command."""

    @abstractmethod
    def is_complete(self, folder: SweepFolder, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> bool:
        """Return True if a sweep whose runs are all done has requested all of them."""

    def prune_check(self, folder: SweepFolder, run: str) -> PruneCheck | None:
        """Return the check that may end a run early, in the process that executes the run.

        Args:
            folder: the sweep.
            run: name of the run's folder.
        """
        return None


@register
class Grid(Sweeper):
    """Every combination of the given values: ``a=1,2 b=range(3)``, ``choice(...)``, ``glob(...)``."""

    kind: Literal["grid"] = "grid"

    def checks(self, given: GivenOverrides) -> list[list[str]]:
        """Return the overrides of every job."""
        if problems := [
            Problem(
                key,
                "an interval has infinitely many values; write range(START,STOP,STEP) or choice(A,B), or let "
                "hydra/sweeper=optuna choose them",
            )
            for index, key in given.varied.items()
            if given.items[index].is_interval_sweep()
        ]:
            raise ConfigError(*problems)
        combinations = itertools.product(*map(given.alternatives, given.varied))
        return [given.words(dict(zip(given.varied, values, strict=True))) for values in combinations]

    def key(self, given: GivenOverrides, jobs: Sequence[SweepJob]) -> str:
        """Return a hash of the jobs' digests, independent of repeats and of the order of overrides and values."""
        return hash_of("grid", sorted({job.digest for job in jobs}))

    def total(self, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> int:
        """Return the number of different jobs."""
        return len(_digests(points))

    def is_complete(self, folder: SweepFolder, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> bool:
        """Return True if the folder has every job, which one of fewer repeats has not."""
        return _digests(points) <= {run["digest"] for run in folder.settings().get("runs", {}).values()}

    def open_points(self, board: Board) -> Iterator[Sequence[Child]]:
        """Yield the runs of all points, in their order."""
        for child in self._children(board):
            yield [child]

    def known(self, board: Board) -> Known:
        """Return all runs."""
        return Known(children=self._children(board))

    def _children(self, board: Board) -> list[Child]:
        if "children" not in board.memory:
            board.memory["children"] = board.folder.children([job for point in board.points for job in point])
        children: list[Child] = board.memory["children"]
        return children


def _digests(points: Sequence[Sequence[SweepJob]]) -> set[str]:
    return {job.digest for point in points for job in point}
