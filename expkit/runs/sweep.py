"""``train -m``: one sweep, from its words to its last line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from expkit.config.load import compose_plain, composition_message
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem
from expkit.run_folder import short_names, unwritable
from expkit.runs.interruption import termination_raises
from expkit.runs.recording import recorder_of_process
from expkit.runs.sweep_results import leave_best
from expkit.sweeps.chosen import sweeper_of
from expkit.sweeps.jobs import Job, checked, key_of, parsed, varied
from expkit.sweeps.launcher import Launching
from expkit.sweeps.objective import Objective, objectives_of
from expkit.sweeps.progress import Lines, LiveTable, Watch, tally
from expkit.sweeps.runner import Sweep
from expkit.sweeps.sweep_folder import DONE, Child, SweepFolder, find_sweep
from expkit.sweeps.sweeper import Grid, Sweeper

if TYPE_CHECKING:
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.tracker import Status, SweepRun

__all__ = ["run"]

MOST_FAILED = 100
"""Most failed runs that an exit code tells: those above 125 mean other things to a shell."""


@dataclass(frozen=True)
class _Asked:
    """A sweep that was asked for, checked: nothing is written so far."""

    overrides: list[Override]
    keys: list[str]
    folders: Sequence[str]
    launching: Launching
    sweeper: Sweeper
    jobs: list[Job]
    objectives: tuple[Objective, ...]
    key: str

    @property
    def config(self) -> Config:
        """The first run's configuration, which says where things are."""
        return self.jobs[0].config

    @property
    def total(self) -> int:
        """How many runs there will be."""
        return self.sweeper.total(self.overrides, self.jobs)

    @property
    def name(self) -> str:
        """What the sweep is called in MLflow."""
        over = f" over {', '.join(short_names(self.keys).values())}" if self.keys else ""
        return f"{self.config.run.name} sweep{over}"


def run(words: list[str], folders: Sequence[str]) -> int:
    """Run what is missing of a sweep; return how many of its runs failed or died, at most ``MOST_FAILED``.

    Raises:
        ConfigError: with every mistake found, before any run starts.
        RunError: the sweep is running already, cannot be written, or its launcher cannot run any.
    """
    asked = _asked(words, folders)
    console = Console()
    folder = _folder(asked, given=any(word.startswith("hydra.sweep.dir=") for word in words))
    with folder.lock():
        if _is_done(folder, asked):
            shown = f"all {len(folder.settings()['runs'])} runs are finished in {folder.path}"
            again = "to run them again give another folder with hydra.sweep.dir=FOLDER"
            console.print(f"nothing to run: {shown}; {again}", soft_wrap=True, highlight=False)
            return 0
        if isinstance(asked.sweeper, Grid) and (same := len(asked.jobs) - asked.total):
            console.print(f"{same} of {len(asked.jobs)} runs compute the same as others, and are not run twice")
        folder.update(
            key=asked.key,
            name=asked.name,
            status="RUNNING",
            varied=asked.keys,
            objective=asked.objectives[0].metric,
            mode=asked.objectives[0].mode,
            config_dirs=[str(Path(name).resolve()) for name in folders],
        )
        tracked = any(job.config.tracking.enabled for job in asked.jobs)
        with termination_raises(), recorder_of_process(wanted=tracked) as recorder:
            return _run(asked, folder, recorder, console)


def _run(asked: _Asked, folder: SweepFolder, recorder: Recorder | None, console: Console) -> int:
    from expkit.runs.child import run_child

    parent = _parent(asked, folder, recorder)
    watch = Watch(asked.total, asked.objectives, lambda: (LiveTable if console.is_terminal else Lines)(console))
    sweep = Sweep(
        folder,
        asked.launching,
        run_child,
        watch,
        lambda words: checked(words, asked.keys, asked.folders),
        partial(_died, recorder, parent),
    )
    status: Status = "KILLED"
    try:
        with asked.launching.calling_back():
            asked.sweeper.sweep(sweep, asked.overrides, asked.jobs)
        told = leave_best(folder, watch, asked.folders, recorder, parent)
        bad = watch.counts.get("FAILED", 0) + watch.counts.get("KILLED", 0)
        status = "FAILED" if bad else "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        watch.close()
        page = _end(asked, folder, parent, status)
    if page is not None:
        console.print(f"report {page}", soft_wrap=True, highlight=False)
    for line in told:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(tally(watch.counts, watch.settled), highlight=False)
    if parent is not None:
        console.print(f"MLflow run {parent.link}", soft_wrap=True, highlight=False)
    return min(bad, MOST_FAILED)


def _end(asked: _Asked, folder: SweepFolder, parent: SweepRun | None, status: Status) -> Path | None:
    """Write the report and the status, here and in MLflow; return the report's page."""
    page = None
    if status != "KILLED" and any(job.config.tracking.enabled or job.config.tracking.plots for job in asked.jobs):
        page = _report(folder, parent)
    if parent is not None:
        parent.finish(status)
        folder.update(mlflow_run_id=parent.run_id)
    folder.update(status=status)  # last: a sweep that is killed before this goes on, and finishes again
    if status == "KILLED":
        print("stopped; the same command runs what is missing", file=sys.stderr)
    return page


def _report(folder: SweepFolder, parent: SweepRun | None) -> Path | None:
    """Write the report of all runs so far, return its page; what goes wrong there is no failure of the sweep."""
    from expkit.report.write import write_report

    try:
        files = write_report(folder.path)
    except Exception as error:
        print(f"warning: no report: {error}", file=sys.stderr)
        return None
    if parent is not None:
        parent.artifacts([files[0].parent])
    return files[0]


def _asked(words: list[str], folders: Sequence[str]) -> _Asked:
    overrides = [item for item in parsed(words) if not item.is_hydra_override()]
    keys = varied(overrides)
    check = partial(checked, keys=keys, folders=folders)
    try:
        launching = Launching(words, folders)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        # What a run's configuration lacks is told better by checking it, and what Hydra's own lacks by composing that.
        check(Grid().checks([item for item in overrides if not item.is_interval_sweep()]))
        compose_plain([word for word in words if word.startswith("hydra")], folders)
        raise ConfigError(Problem("command line", composition_message(error))) from None
    sweeper = sweeper_of(launching.settings)
    jobs = check(sweeper.checks(overrides))
    if not jobs:
        raise ConfigError(*(Problem(key, "varies over no value, so the sweep is empty; give it some") for key in keys))
    if any(job.config.run.resume is not None for job in jobs):
        raise ConfigError(Problem("run.resume", "a sweep goes on when its command is given again, without run.resume"))
    objectives = objectives_of(jobs[0].config, sweeper.objective, sweeper.mode)
    sweeper.ready(objectives, jobs)
    tracking = jobs[0].config.tracking
    key = key_of(sweeper.key(overrides, jobs), tracking.enabled, tracking.uri, tracking.experiment)
    return _Asked(overrides, keys, folders, launching, sweeper, jobs, objectives, key)


def _folder(asked: _Asked, *, given: bool) -> SweepFolder:
    """Return the folder that was given, else that of the same sweep, else a new one.

    Raises:
        RunError: it cannot be written.
    """
    runs = Path(asked.config.run.folder).resolve()
    same = None if given else find_sweep(runs, asked.key)
    folder = same or SweepFolder(asked.launching.folder)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if asked.config.tracking.enabled:
            runs.mkdir(parents=True, exist_ok=True)  # where the store is, wherever the sweep is
        folder.update()
    except OSError as error:
        raise unwritable(folder.path, error) from None
    return folder


def _is_done(folder: SweepFolder, asked: _Asked) -> bool:
    settings = folder.settings()
    if (settings.get("key"), settings.get("status")) != (asked.key, "FINISHED"):
        return False
    ended = all(state.status in DONE for state in folder.states().values())
    return ended and asked.sweeper.is_complete(folder, asked.total)


def _parent(asked: _Asked, folder: SweepFolder, recorder: Recorder | None) -> SweepRun | None:
    if recorder is None or not asked.config.tracking.enabled:
        return None
    from expkit.tracking.tracker import SweepRun

    tags = {"expkit.sweep.key": asked.key}
    parent = SweepRun(recorder, asked.config, folder.path, asked.name, tags=tags)
    parent.begin()
    folder.update(mlflow_run_id=parent.run_id, parent=parent.reference)
    return parent


def _died(recorder: Recorder | None, parent: SweepRun | None, child: Child, why: str) -> None:
    """Write what a process that died could not: that its run was killed."""
    child.folder.update(status="KILLED", error=why)
    if recorder is None or not child.job.config.tracking.enabled:
        return
    from expkit.tracking.tracker import MlflowTracker

    above = parent.reference if parent is not None else None
    MlflowTracker(recorder, child.job.config, child.folder, name=child.label, parent=above).finish("KILLED", why)
