"""One job: its folder, its tracker, its status, and what the terminal says of it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from expkit.cli.show import Bar, summary
from expkit.config.schema import Config
from expkit.errors import ExpkitError
from expkit.experiment import run_experiment
from expkit.rundir import RunFolder

if TYPE_CHECKING:
    from expkit.tracking.mlflow import MlflowTracker, Status
    from expkit.tracking.recorder import Recorder

__all__ = ["Job", "Outcome", "run_job"]

_log = logging.getLogger("expkit")


@dataclass(frozen=True)
class Job:
    """An experiment to run."""

    config: Config
    folder: Path
    overrides: tuple[str, ...]
    label: str | None
    """What tells the job from its siblings in a sweep."""
    parent: str | None
    """MLflow run of the sweep."""
    recorder: Recorder | None
    """The process that has MLflow; ``None`` where nothing is tracked."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    exit_code: int
    """0 finished, 2 a mistake of the user, 1 a failure of expkit."""


class Terminated(BaseException):
    """Raised in the main thread when the process is asked to end."""


def run_job(job: Job) -> Outcome:
    """Run an experiment; whatever happens, the run's status says it, here and in MLflow.

    Errors become messages; an interruption passes through after the status is written.
    """
    console = Console()
    status: Status = "FAILED"
    message: str | None = None
    folder: RunFolder | None = None
    tracker: MlflowTracker | None = None
    try:
        with _termination_raises():
            folder = RunFolder.create(job.folder, job.config, job.overrides)
            folder.update(status="RUNNING")
            tracker = _tracker(job, folder)
            with Bar(console, job.label or job.config.run.name, job.config.train.steps) as bar:
                result = run_experiment(job.config, folder, tracker, bar)
        status = "FINISHED"
        summary(console, result)
        return Outcome(0)
    except ExpkitError as error:
        message = str(error)
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return Outcome(2)
    except (KeyboardInterrupt, Terminated) as stopped:
        status = "KILLED"
        at = folder.path if folder is not None else job.folder
        print(f"stopped; go on with the same command and run.resume={at}", file=sys.stderr)
        raise SystemExit(130 if isinstance(stopped, KeyboardInterrupt) else 143) from None
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        _log.exception("the run failed")
        print(f"error: {message}\nthe traceback is in {job.folder / 'run.log'}", file=sys.stderr)
        return Outcome(1)
    finally:
        if folder is not None:
            folder.update(status=status, error=message)
            if status != "KILLED" and job.config.tracking.plots:
                _draw(folder, tracker)
        if tracker is not None:
            tracker.finish(status, message)


def _draw(folder: RunFolder, tracker: MlflowTracker | None) -> None:
    """Draw the run's pictures; what goes wrong there is no failure of the run."""
    from expkit.plots.run import draw_run

    try:
        drawn = draw_run(folder.path)
    except Exception:
        _log.exception("the run's pictures could not be drawn")
        return
    if drawn and tracker is not None:
        tracker.artifacts([folder.plots])


def _tracker(job: Job, folder: RunFolder) -> MlflowTracker | None:
    if job.recorder is None or not job.config.tracking.enabled:
        return None
    from expkit.tracking.mlflow import MlflowTracker

    return MlflowTracker(job.recorder, job.config, folder, name=job.label, parent=job.parent)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the run's status is written."""

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
