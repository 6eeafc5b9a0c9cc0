"""The board of a sweep: from it any process takes the next run, and to it gives the run back.

All that is decided together (which run is free, which point an optimizer suggests, the results that it is told) is
decided under one lock of the folder, so that workers agree without a process that leads them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from expkit.errors import ConfigError, ExpkitError
from expkit.fs import file_lock
from expkit.sweeps.claims import MAX_DEATHS, Claim, forget, is_held
from expkit.sweeps.given_overrides import GivenOverrides
from expkit.sweeps.jobs import SweepJob
from expkit.sweeps.objective import Objective
from expkit.sweeps.sweep_folder import CLOSED, DONE, Child, SweepFolder

__all__ = ["Board", "Known", "PointSource"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """The runs of a sweep so far."""

    children: Sequence[Child]
    skipped: int = 0
    """Runs that are not needed any more, because their point is decided."""
    rejected: Sequence[str] = ()
    """The reasons why points are not valid configurations."""


class PointSource(ABC):
    """The part of a sweeper that chooses runs; all of it is called, and iterated, under the board's lock."""

    retries_failures: ClassVar[bool] = True
    """True if a later command tries failed runs again."""

    @abstractmethod
    def open_points(self, board: Board) -> Iterator[Sequence[Child]]:
        """Yield the runs of each point that has any left, in order; further points are chosen as they are asked for."""

    @abstractmethod
    def known(self, board: Board) -> Known:
        """Return the runs requested so far."""

    def settle(self, board: Board) -> None:
        """Record the results of points whose runs have ended."""
        return

    def remark(self, board: Board) -> str | None:
        """Return why a command ends with points left, if it does."""
        return None

    def explained(self, error: Exception) -> ExpkitError | None:
        """Return the message of an error of a library, if it is one of the sweeper's."""
        return None


@dataclass(kw_only=True)
class Board:
    """A checked sweep in its folder, as every process of it sees it."""

    folder: SweepFolder
    sweeper: PointSource
    given: GivenOverrides
    """The overrides of the command line, without those of replicates."""
    points: Sequence[Sequence[SweepJob]]
    """The jobs of every point that is known before the first run."""
    replicates: Callable[[Sequence[Sequence[str]]], list[list[SweepJob]]]
    """Makes the jobs of each point, given the overrides of each, or raises ``ConfigError``."""
    objectives: Sequence[Objective]
    stopped: Callable[[], bool] = lambda: False
    """Whether this process is to take no further run."""
    only: str | None = None
    """Name of the one run that this process may take."""
    memory: dict[str, Any] = field(default_factory=dict)
    """Objects of the sweeper in this process, such as its opened study."""
    _claims: dict[str, Claim] = field(default_factory=dict)

    def take(self) -> Child | None:
        """Claim the next run for this process; ``None`` if there is none for it now."""
        with self._locked():
            if self.folder.stop_file.is_file() or self.stopped():
                return None
            for children in self.sweeper.open_points(self):
                for child in children:
                    if self.only in (None, child.name) and self._claim(child):
                        return child
        return None

    def give_back(self, child: Child) -> None:
        """Release a run that this process has executed, and tell the sweeper its result."""
        with self._locked():
            self._claims.pop(child.name).release()
            self.sweeper.settle(self)

    def retry(self) -> None:
        """Let runs be tried again that failed or whose processes died, as a new command does."""
        with self._locked():
            for child in self.sweeper.known(self).children:
                status = child.status
                if status not in DONE and not is_held(child.folder.path):
                    forget(child.folder.path)
                if status == "FAILED" and self.sweeper.retries_failures:
                    child.set_waiting()

    def give_up(self, child: Child, reason: str) -> None:
        """Let no worker take a run whose process died, until a later command tries it again."""
        with self._locked():
            if (claim := Claim.take(child.folder.path)) is not None:
                child.folder.update(status="KILLED", error=reason)
                claim.release(MAX_DEATHS)

    def known(self) -> Known:
        """Return the runs so far."""
        with self._locked():
            return self.sweeper.known(self)

    def job_of(self, overrides: Sequence[str]) -> list[Child] | ConfigError:
        """Return the runs of a point, or why it is not a valid configuration."""
        try:
            (jobs,) = self.replicates([overrides])
        except ConfigError as error:
            return error
        return self.folder.children(jobs)

    def _claim(self, child: Child) -> bool:
        if child.name in self._claims or child.status in CLOSED:
            return False
        claim = Claim.take(child.folder.path)
        if claim is None:
            return False
        if claim.deaths >= MAX_DEATHS:
            if child.status != "KILLED":
                child.folder.update(status="KILLED", error=f"its process died {claim.deaths} times")
            claim.release(claim.deaths)
            return False
        if child.status in CLOSED:  # by a process that ended since
            claim.release()
            return False
        self._claims[child.name] = claim
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with file_lock(self.folder.path / "board.lock", wait=True):
            try:
                yield
            except Exception as error:
                if (told := self.sweeper.explained(error)) is None:
                    raise
                raise told from None
