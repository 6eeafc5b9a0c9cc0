"""A sweep on disk: its settings, its runs, the state of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expkit.errors import RunError
from expkit.fs import Locked, atomic_write_text, file_lock, read_json
from expkit.redact import masked_values
from expkit.run_folder import RunFolder, locked

if TYPE_CHECKING:
    from expkit.sweeps.jobs import SweepJob

__all__ = ["CLOSED", "DONE", "Child", "RunState", "RunStatus", "SweepFolder", "find_sweep", "sweep_at", "sweep_folders"]

RunStatus = Literal["WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED", "PRUNED"]

DONE = ("FINISHED", "PRUNED")
"""Statuses of runs that are not run again."""
CLOSED = (*DONE, "FAILED")
"""Statuses of runs that no worker takes; a later command may try the failed ones again."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Progress of a run."""

    status: RunStatus
    step: int = 0
    """The last recorded step."""
    values: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric."""
    error: str | None = None
    """Why it failed, was pruned, or has finished without the files of ``export.to``."""
    last: int | None = None
    """Step at which it ends; ``None`` as long as its data is not loaded."""

    @property
    def is_not_exported(self) -> bool:
        """True if it has finished, but without the files of ``export.to``."""
        return self.status == "FINISHED" and self.error is not None

    @classmethod
    def of(cls, settings: Mapping[str, Any], points: Iterable[Mapping[str, float]]) -> RunState:
        """Return the state of a run.

        Args:
            settings: content of its ``run.json``.
            points: its recorded metrics.
        """
        values: dict[str, float] = {}
        for point in points:
            values |= point
        step = int(values.pop("step", 0))
        return cls(
            status=settings.get("status", "WAITING"),
            step=step,
            values=values,
            error=settings.get("error"),
            last=settings.get("steps"),
        )

    @classmethod
    def read(cls, folder: RunFolder) -> RunState:
        """Return the state of the run in a folder."""
        return cls.of(folder.state(), folder.metrics())


@dataclass(frozen=True)
class Child:
    """A run of a sweep: its job and its folder."""

    job: SweepJob
    number: int
    """Counted from 0, in the order in which the sweep first requested its runs."""
    folder: RunFolder

    @property
    def name(self) -> str:
        """Name of its folder, which identifies it within the sweep."""
        return self.folder.path.name

    @property
    def label(self) -> str:
        """The values that differ from those of the other runs."""
        return self.job.label

    def state(self) -> RunState:
        """Return the state that its folder records."""
        return RunState.read(self.folder)

    @property
    def status(self) -> RunStatus:
        """Its status, without its metrics, which grow with the run."""
        status: RunStatus = self.folder.state().get("status", "WAITING")
        return status

    @property
    def locked(self) -> bool:
        """True while a process is executing it."""
        if not self.folder.path.is_dir():
            return False
        try:
            with locked(self.folder.path):
                return False
        except RunError:
            return True

    def set_waiting(self) -> None:
        """Reset the status before it is run again; a run without a folder is waiting already."""
        if self.folder.state():
            self.folder.update(status="WAITING", error=None)


class SweepFolder:
    """Folder of a sweep: ``sweep.json``, and a folder for every run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def file(self) -> Path:
        """Settings of the sweep: key, name, objective, MLflow run, and the label and digest of every run."""
        return self.path / "sweep.json"

    @property
    def stop_file(self) -> Path:
        """File whose existence keeps workers from taking further runs."""
        return self.path / "stop"

    @property
    def stops_now(self) -> bool:
        """True if the runs being executed are to be interrupted."""
        try:
            return self.stop_file.read_text() == "now\n"
        except OSError:
            return False

    def settings(self) -> dict[str, Any]:
        """Return the content of ``sweep.json``; empty if the file is missing, or none of a sweep."""
        found = read_json(self.file)
        runs = found.get("runs", {})
        return found if isinstance(runs, dict) and all(_is_run(name, run) for name, run in runs.items()) else {}

    def update(self, **values: Any) -> None:
        """Change values in ``sweep.json`` atomically, also against other processes that change others."""
        with self._writing():
            self._update(values)

    def child(self, job: SweepJob) -> Child:
        """Return the run of a job: the existing run of the same digest, else a new one."""
        (child,) = self.children([job])
        return child

    def children(self, jobs: Iterable[SweepJob]) -> list[Child]:
        """Return the run of every job; jobs of the same digest share one run."""
        children: dict[str, Child] = {}
        with self._writing():
            runs: dict[str, Any] = self.settings().get("runs", {})
            by_digest = {run["digest"]: name for name, run in runs.items()}
            before = len(runs)
            for job in jobs:
                digest = job.digest
                if digest not in by_digest:
                    by_digest[digest] = f"{len(runs)}_{job.config.run.name}"
                    runs[by_digest[digest]] = {"label": job.label, "digest": digest}
                name = by_digest[digest]
                children[name] = Child(job, int(name.partition("_")[0]), RunFolder(self.path / name))
            if len(runs) > before:
                self._update({"runs": runs})
        return list(children.values())

    def _update(self, values: Mapping[str, Any]) -> None:
        atomic_write_text(self.file, json.dumps({**self.settings(), **masked_values(values)}, indent=2) + "\n")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with file_lock(self.path / "sweep.json.lock", wait=True):
            yield

    def states(self) -> dict[str, RunState]:
        """Return the state of every run, by the name of its folder."""
        return {name: RunState.read(RunFolder(self.path / name)) for name in self.settings().get("runs", {})}

    def is_copy_of(self, other: str) -> bool:
        """Return True if another folder holds the sweep, too; False if it is this one, or was moved here."""
        original = SweepFolder(Path(other)).file
        return original.is_file() and not original.samefile(self.file)

    @property
    def is_led(self) -> bool:
        """True while the command that began or resumed the sweep is running."""
        try:
            with self.lock():
                return False
        except RunError:
            return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the sweep inside the block; the system releases the lock of a process that dies.

        Raises:
            RunError: another process holds the lock.
        """
        with ExitStack() as held:
            try:
                held.enter_context(file_lock(self.path / "sweep.lock"))
            except Locked:
                raise RunError.at(
                    str(self.path), "this sweep is already running; wait for it, or give another hydra.sweep.dir=FOLDER"
                ) from None
            yield


def _is_run(name: str, run: object) -> bool:
    """Return True for the name of a folder in the sweep's, and the entry of a run."""
    return name == Path(name).name and isinstance(run, dict) and run.keys() >= {"label", "digest"}


def sweep_folders(runs: Path) -> list[SweepFolder]:
    """Return the sweeps in the folder that holds all runs, newest first."""
    return [SweepFolder(file.parent) for file in sorted(runs.glob("multirun/*/*/sweep.json"), reverse=True)]


def sweep_at(address: str) -> SweepFolder:
    """Return the sweep in a folder.

    Raises:
        RunError: there is none.
    """
    folder = SweepFolder(Path(address).resolve())
    if not folder.settings().keys() >= {"key", "name"}:
        raise RunError.at(address, "no sweep: a folder with sweep.json, which expkit train -m writes")
    return folder


def find_sweep(runs: Path, key: str) -> SweepFolder | None:
    """Return the newest sweep of a key in the folder that holds all runs."""
    return next((sweep for sweep in sweep_folders(runs) if sweep.settings().get("key") == key), None)
