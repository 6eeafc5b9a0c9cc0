"""The folder of a sweep: its key, its runs, the state of each, found again by the key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from expkit.errors import RunError
from expkit.fs import Locked, atomic_write_text, file_lock
from expkit.run_folder import RunFolder, locked
from expkit.sweeps.jobs import Job

__all__ = ["DONE", "Child", "State", "Status", "SweepFolder", "find_sweep"]

Status = Literal["WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED", "PRUNED"]

DONE = ("FINISHED", "PRUNED")
"""What is not run again."""


@dataclass(frozen=True)
class State:
    """How far a run of a sweep is."""

    status: Status
    step: int = 0
    """The last step that was recorded."""
    values: dict[str, float] = field(default_factory=dict)
    """The last value of every metric."""
    error: str | None = None
    """Why it failed, or was pruned."""


@dataclass(frozen=True)
class Child:
    """A run of a sweep, in its folder."""

    job: Job
    number: int
    """From 0, in the order in which the sweep first asked for it."""
    folder: RunFolder

    @property
    def label(self) -> str:
        """What tells it from its siblings."""
        return self.job.label

    def state(self) -> State:
        """Return what the folder says."""
        return state_of(self.folder)

    @property
    def held(self) -> bool:
        """Whether a process is at work on it."""
        if not self.folder.path.is_dir():
            return False
        try:
            with locked(self.folder.path):
                return False
        except RunError:
            return True

    def set_waiting(self) -> None:
        """Forget how it ended before, because it is to be run again; a folder that is not there waits anyway."""
        if self.folder.state():
            self.folder.update(status="WAITING", error=None)


class SweepFolder:
    """A sweep on disk: ``sweep.json`` and a folder for every run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def file(self) -> Path:
        """What is known of the sweep: key, name, MLflow run, and of every run its label and digest."""
        return self.path / "sweep.json"

    def settings(self) -> dict[str, Any]:
        """Return what ``sweep.json`` holds; nothing where there is none."""
        try:
            return dict(json.loads(self.file.read_text()))
        except (OSError, ValueError):
            return {}

    def update(self, **values: Any) -> None:
        """Change what ``sweep.json`` holds; it is written whole or not at all."""
        atomic_write_text(self.file, json.dumps({**self.settings(), **values}, indent=2) + "\n")

    def child(self, job: Job) -> Child:
        """Return the run of a job: the one that computes the same where there is one, else a new one."""
        (child,) = self.children([job])
        return child

    def children(self, jobs: list[Job]) -> list[Child]:
        """Return the run of every job; jobs that compute the same are one run."""
        runs: dict[str, Any] = self.settings().get("runs", {})
        by_digest = {run["digest"]: name for name, run in runs.items()}
        found: dict[str, Child] = {}
        for job in jobs:
            digest = job.digest
            if digest not in by_digest:
                by_digest[digest] = f"{len(runs)}_{job.config.run.name}"
                runs[by_digest[digest]] = {"label": job.label, "digest": digest}
            name = by_digest[digest]
            found[name] = Child(job, int(name.partition("_")[0]), RunFolder(self.path / name))
        self.update(runs=runs)
        return list(found.values())

    def states(self) -> dict[str, State]:
        """Return how far every run is, by the name of its folder."""
        return {name: state_of(RunFolder(self.path / name)) for name in self.settings().get("runs", {})}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the sweep, so that it is not run twice at once; a process that dies lets go.

        Raises:
            RunError: another process holds it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(file_lock(self.path / "sweep.lock"))
            except Locked:
                raise RunError.at(
                    str(self.path), "this sweep is running already; wait for it, or give another hydra.sweep.dir=FOLDER"
                ) from None
            yield


def state_of(folder: RunFolder) -> State:
    """Return how far a run is."""
    known = folder.state()
    values: dict[str, float] = {}
    for line in folder.metrics():
        values |= line
    step = int(values.pop("step", 0))
    return State(known.get("status", "WAITING"), step, values, known.get("error"))


def find_sweep(runs: Path, key: str) -> SweepFolder | None:
    """Return the newest sweep of a key beneath the folder of all runs."""
    found = [SweepFolder(file.parent) for file in sorted(runs.glob("multirun/*/*/sweep.json"), reverse=True)]
    return next((sweep for sweep in found if sweep.settings().get("key") == key), None)
