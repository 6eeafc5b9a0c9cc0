"""One job: an experiment with its folder, tracker and status."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from expkit.errors import ExpkitError, Pruned
from expkit.experiment import Experiment, run
from expkit.preflight import CheckedConfig
from expkit.redact import is_output_failure, mask_logs, masked
from expkit.result import Result
from expkit.run_folder import RunFolder, locked
from expkit.runs.interruption import Terminated, termination_raises
from expkit.runs.terminal import Bar, summary
from expkit.trackers import NoTracker
from expkit.training.pool import GraphPool

if TYPE_CHECKING:
    from expkit.tracking.client import Status
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.tracker import MlflowTracker

__all__ = ["Job", "Outcome", "run_job"]

_log = logging.getLogger("expkit")


@dataclass(frozen=True, kw_only=True)
class Job:
    """An experiment to run."""

    checked: CheckedConfig
    folder: Path
    overrides: tuple[str, ...]
    recorder: Recorder | None
    """The process that has MLflow; ``None`` where nothing is tracked."""
    label: str | None = None
    """The job's values of the varied keys, in a sweep."""
    parent: str | None = None
    """MLflow run of the sweep, or its folder as long as MLflow has not answered."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags for MLflow that name the sweep."""
    prune_check: Callable[[int, Mapping[str, float]], None] | None = None
    """Takes every step's metrics, and raises ``Pruned`` to end the run early."""
    objective: str | None = None
    """Metric by which its sweep compares runs, recorded under ``objective`` as well."""
    runs: int = 1
    """Number of runs of its sweep."""
    pool: GraphPool | None = None
    """Graphs with sessions that they share in this process."""
    quiet: bool = False
    """True if nothing is printed: a sweep or a Python program shows the outcome itself."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a job."""

    exit_code: int
    """0 finished or pruned, 2 a mistake of the user or finished without its exports, 1 a failure of expkit."""
    result: Result | None = None
    """``None`` if the run did not finish."""
    experiment: Experiment | None = None
    """``None`` if the run did not finish."""
    message: str | None = None
    """Why it failed, was pruned, or has no exports."""
    error: Exception | None = None
    """The error that ended the run or its export."""


def run_job(job: Job) -> Outcome:
    """Run an experiment; however it ends, the run's status records it, here and in MLflow.

    Errors become messages.

    Raises:
        KeyboardInterrupt: after the status is written.
        Terminated: after the status is written.
    """
    console = Console(quiet=job.quiet)
    config = job.checked.config
    status: Status | Literal["PRUNED"] = "FAILED"
    message: str | None = None
    folder: RunFolder | None = None
    tracker: MlflowTracker | NoTracker = NoTracker()
    held = ExitStack()
    mask_logs()
    try:
        with termination_raises():
            held.enter_context(locked(job.folder))
            folder = RunFolder.create(job.folder, config, job.overrides)
            folder.update(status="RUNNING")
            tracker = _tracker(job, folder)
            experiment = replace(Experiment.of(job.checked, folder), runs=job.runs, pool=job.pool)
            with Bar(console, job.label or config.run.name) as bar:
                result = run(experiment, tracker, _Progress(job, bar))
            _record_objective(job, folder, tracker)
        status = "FINISHED"
        summary(console, result)
        if (error := result.not_exported) is not None:
            message = str(error)
            _print(job, *(f"error: {problem}" for problem in error.problems))
            return Outcome(exit_code=2, result=result, experiment=experiment, message=message, error=error)
        return Outcome(exit_code=0, result=result, experiment=experiment)
    except ExpkitError as error:
        message = str(error)
        _print(job, *(f"error: {problem}" for problem in error.problems))
        return Outcome(exit_code=2, message=message, error=error)
    except Pruned as pruned:
        status, message = "PRUNED", str(pruned)
        return Outcome(exit_code=0, message=message)
    except (KeyboardInterrupt, Terminated):
        status = "KILLED"
        if folder is not None:
            _print(job, _interrupted(Experiment.of(job.checked, folder)))
        raise
    except Exception as error:
        if is_output_failure(error):  # The program tells it, and ends by it.
            message = f"output: {error}"
            return Outcome(exit_code=2, message=message, error=error)
        message = masked(f"{type(error).__name__}: {error}; the traceback is in {job.folder / 'run.log'}")
        _log.exception("the run failed")
        _print(job, f"error: {message}")
        return Outcome(exit_code=1, message=message, error=error)
    finally:
        _finish(tracker, status, message)
        if folder is not None:
            folder.update(status=status, error=message)  # last: a run killed before this is resumed, and finishes again
            if status != "KILLED" and config.tracking.plots:
                _draw(job, folder, tracker)
        held.close()


def _record_objective(job: Job, folder: RunFolder, tracker: MlflowTracker | NoTracker) -> None:
    """Record the last value of the sweep's objective under one name, a column that all runs of all sweeps have."""
    if job.objective is None:
        return
    points = [point for point in folder.metrics() if job.objective in point]
    if points:
        tracker.metrics(int(points[-1]["step"]), {"objective": points[-1][job.objective]})


class _Progress:
    """Progress in the terminal that also runs the prune check."""

    def __init__(self, job: Job, bar: Bar) -> None:
        self._job = job
        self._bar = bar

    def start(self, step: int, last: int) -> None:
        """Show the run folder, and whether its run is resumed."""
        resume = self._job.checked.config.run.resume
        new = "new: no run of this configuration is unfinished" if resume == "auto" else ""
        self._bar.start(self._job.folder, (step, last), f"resumed from step {step:,}" if step else new)

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show a step with its metrics."""
        self._bar.advance(step, shown)
        if self._job.prune_check is not None:
            self._job.prune_check(step, shown)

    def note(self, text: str) -> None:
        """Show a sentence about what was done, unless the job is quiet."""
        _print(self._job, text)

    def warn(self, text: str) -> None:
        """Show a warning, unless the job is quiet."""
        _print(self._job, f"warning: {text}")


def _print(job: Job, *lines: str) -> None:
    if not job.quiet:
        print(*lines, sep="\n", file=sys.stderr)


def _interrupted(experiment: Experiment) -> str:
    steps = [checkpoint.step for checkpoint in experiment.store.all()]
    saved = f"saved step {steps[-1]:,}" if steps else "before the first checkpoint"
    return f"interrupted: {saved}; resume with the same command and run.resume={experiment.folder.path}"


def _finish(tracker: MlflowTracker | NoTracker, status: Status | Literal["PRUNED"], message: str | None) -> None:
    """Write the status; MLflow has none for a run that was pruned, so that is KILLED, with a tag."""
    if status == "PRUNED":
        tracker.tags({"pruned": message or ""})
        tracker.finish("KILLED")
    else:
        tracker.finish(status, message)


def _draw(job: Job, folder: RunFolder, tracker: MlflowTracker | NoTracker) -> None:
    """Draw the run's plots, in the recorder if there is one; an error there does not fail the run."""
    if _is_tracked(job):
        tracker.plots()
        return
    from expkit.plots.run import draw_run

    try:
        draw_run(folder.path)
    except Exception:
        _log.exception("the run's plots could not be drawn")


def _is_tracked(job: Job) -> bool:
    return job.recorder is not None and job.checked.config.tracking.enabled


def _tracker(job: Job, folder: RunFolder) -> MlflowTracker | NoTracker:
    if job.recorder is None or not _is_tracked(job):
        return NoTracker()
    from expkit.tracking.tracker import MlflowTracker

    tracker = MlflowTracker(
        job.recorder,
        job.checked.config,
        folder,
        name=job.label,
        parent=job.parent,
        in_background=job.pool is not None,
    )
    if job.tags:
        tracker.tags(job.tags)
    return tracker
