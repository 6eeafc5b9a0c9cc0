"""One job: its folder, its tracker, its status, and what the terminal says of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from expkit.config.schema import Config
from expkit.errors import ExpkitError, Pruned
from expkit.experiment import run_experiment
from expkit.run_folder import RunFolder, locked
from expkit.runs.interruption import Terminated, termination_raises
from expkit.runs.terminal import Bar, summary

if TYPE_CHECKING:
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.tracker import MlflowTracker, Status

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
    """MLflow run of the sweep, or its folder as long as MLflow has not answered."""
    recorder: Recorder | None
    """The process that has MLflow; ``None`` where nothing is tracked."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What MLflow is told of the sweep it belongs to."""
    judge: Callable[[int, Mapping[str, float]], None] | None = None
    """Takes every step's metrics, and raises ``Pruned`` to end the run early."""
    quiet: bool = False
    """Whether the terminal is left to the sweep, which tells what the folder says."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    exit_code: int
    """0 finished or pruned, 2 a mistake of the user, 1 a failure of expkit."""
    error: str | None = None
    """Why it failed."""


def run_job(job: Job) -> Outcome:
    """Run an experiment; whatever happens, the run's status says it, here and in MLflow.

    Errors become messages; an interruption passes through after the status is written.
    """
    console = Console(quiet=job.quiet)
    status: Status | Literal["PRUNED"] = "FAILED"
    message: str | None = None
    folder: RunFolder | None = None
    tracker: MlflowTracker | None = None
    held = ExitStack()
    try:
        with termination_raises():
            held.enter_context(locked(job.folder))
            folder = RunFolder.create(job.folder, job.config, job.overrides)
            folder.update(status="RUNNING")
            tracker = _tracker(job, folder)
            with Bar(console, job.label or job.config.run.name, job.config.train.steps) as bar:
                result = run_experiment(job.config, folder, tracker, _Judged(bar, job.judge))
        status = "FINISHED"
        summary(console, result)
        return Outcome(0)
    except ExpkitError as error:
        message = str(error)
        _say(job, *(f"error: {problem}" for problem in error.problems))
        return Outcome(2, message)
    except Pruned as pruned:
        status, message = "PRUNED", str(pruned)
        return Outcome(0)
    except (KeyboardInterrupt, Terminated) as stopped:
        status = "KILLED"
        at = folder.path if folder is not None else job.folder
        _say(job, f"stopped; go on with the same command and run.resume={at}")
        raise SystemExit(130 if isinstance(stopped, KeyboardInterrupt) else 143) from None
    except Exception as error:
        message = f"{type(error).__name__}: {error}; the traceback is in {job.folder / 'run.log'}"
        _log.exception("the run failed")
        _say(job, f"error: {message}")
        return Outcome(1, message)
    finally:
        if tracker is not None:
            _finish(tracker, status, message)
        if folder is not None:
            folder.update(status=status, error=message)  # last: a run killed before this goes on, and finishes again
            if status != "KILLED" and job.config.tracking.plots:
                _draw(folder, tracker)
        held.close()


class _Judged:
    """Shows progress, and lets the judge see every step that is shown."""

    def __init__(self, bar: Bar, judge: Callable[[int, Mapping[str, float]], None] | None) -> None:
        self._bar = bar
        self._judge = judge

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show a step and its numbers."""
        self._bar.advance(step, shown)
        if self._judge is not None:
            self._judge(step, shown)


def _say(job: Job, *lines: str) -> None:
    if not job.quiet:
        print(*lines, sep="\n", file=sys.stderr)


def _finish(tracker: MlflowTracker, status: Status | Literal["PRUNED"], message: str | None) -> None:
    """Write the status; MLflow has none for what was ended early on purpose, so that is killed, with a tag."""
    if status == "PRUNED":
        tracker.tags({"pruned": message or ""})
        tracker.finish("KILLED")
    else:
        tracker.finish(status, message)


def _draw(folder: RunFolder, tracker: MlflowTracker | None) -> None:
    """Have the run's pictures drawn, by the recorder where there is one; what goes wrong is no failure of the run."""
    if tracker is not None:
        tracker.plots()
        return
    from expkit.plots.run import draw_run

    try:
        draw_run(folder.path)
    except Exception:
        _log.exception("the run's pictures could not be drawn")


def _tracker(job: Job, folder: RunFolder) -> MlflowTracker | None:
    if job.recorder is None or not job.config.tracking.enabled:
        return None
    from expkit.tracking.tracker import MlflowTracker

    tracker = MlflowTracker(job.recorder, job.config, folder, name=job.label, parent=job.parent)
    if job.tags:
        tracker.tags(job.tags)
    return tracker
