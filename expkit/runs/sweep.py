"""``train -m``: one sweep, from its command line to its summary."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console

from expkit import tf1 as tf
from expkit.machine import cores
from expkit.run_folder import unwritable
from expkit.runs.interruption import termination_raises
from expkit.runs.recording import recorder_of_process, say_environment
from expkit.runs.sweep_plan import SweepPlan, code_of, plan_sweep
from expkit.runs.sweep_results import SweepResults
from expkit.sweeps.claims import is_held
from expkit.sweeps.progress import LineDisplay, LiveDisplay, Progress, tally
from expkit.sweeps.runner import SweepRunner
from expkit.sweeps.sweep_folder import CLOSED, DONE, SweepFolder, find_sweep
from expkit.sweeps.sweeper import Grid

if TYPE_CHECKING:
    from expkit.tracking.client import Status
    from expkit.tracking.recorder import Recorder


__all__ = ["finish", "run", "run_planned"]

MAX_EXIT_CODE = 100
"""Largest number of failed runs that the exit code says: shells give those above 125 other meanings."""


def run(overrides: list[str], config_dirs: Sequence[str]) -> int:
    """Execute the missing runs of a sweep; return how many failed, died or were not exported.

    The number is at most ``MAX_EXIT_CODE``.

    Raises:
        ConfigError: with every mistake found, before any run starts.
        RunError: the sweep is already running, cannot be written, or its launcher cannot start any run.
    """
    plan = plan_sweep(overrides, config_dirs)
    given = any(override.startswith("hydra.sweep.dir=") for override in overrides)
    return run_planned(plan, _folder(plan, given=given))


def run_planned(plan: SweepPlan, folder: SweepFolder, *, retry: bool = True) -> int:
    """Execute the missing runs of a sweep in its folder; return how many failed, died or were not exported.

    Args:
        plan: the checked sweep.
        folder: its folder.
        retry: whether failed runs are tried again.

    Raises:
        RunError: the sweep is already running, or its launcher cannot start any run.
    """
    console = Console()
    with folder.lock():
        folder.stop_file.unlink(missing_ok=True)
        if _is_done(folder, plan):
            done = f"all {len(folder.settings()['runs'])} runs are finished in {folder.path}"
            again = "to run them again give another folder with hydra.sweep.dir=FOLDER"
            console.print(f"nothing to run: {done}; {again}", soft_wrap=True, highlight=False)
            return 0
        if isinstance(plan.sweeper, Grid) and (same := len(plan.jobs) - plan.total):
            console.print(f"{same} of {len(plan.jobs)} runs compute the same as others, and are run once")
        folder.update(
            key=plan.key,
            name=plan.name,
            status="RUNNING",
            varied=plan.keys,
            total=plan.total,
            repeat_over=plan.replication.keys,
            on_tie=plan.sweeper.on_tie,
            objective=plan.objectives[0].metric,
            mode=plan.objectives[0].mode,
            objectives=[[item.metric, item.mode] for item in plan.objectives],
            config_dirs=[str(Path(name).resolve()) for name in plan.given.config_dirs],
            overrides=plan.overrides,
            working_folder=str(Path.cwd()),
            code=code_of(plan),
        )
        say_environment(plan.config)
        with termination_raises(), recorder_of_process(tracked=plan.tracked) as recorder:
            return _execute(plan, folder, recorder, console, retry)


def _execute(plan: SweepPlan, folder: SweepFolder, recorder: Recorder | None, console: Console, retry: bool) -> int:
    from expkit.runs.worker import worker_task

    results = SweepResults(folder, recorder)
    display = LiveDisplay if console.is_terminal else LineDisplay
    progress = Progress(plan.total, plan.objectives, lambda: display(console), plan.sweeper.on_tie)
    progress.on_end = lambda child: results.record_point(progress, child, plan.replication.count)
    runner = SweepRunner(
        board=plan.board(folder),
        launcher=plan.launcher,
        task=_run_child,
        worker=partial(worker_task, str(folder.path), tuple(plan.overrides)),
        overrides=plan.overrides,
        progress=progress,
        on_death=results.record_death,
    )
    slots = min(plan.sweeper.n_jobs or plan.launcher.slots, plan.total)
    with runner.prepared(slots):
        if plan.config.tracking.enabled:
            results.start_parent(plan.config, plan.name, plan.key, plan.params)
        if plan.launcher.in_this_process and slots == 1:
            _import_for_runs()  # while MLflow's process opens the store
        results.wait_for_parent()
    if plan.launcher.in_this_process and slots > cores():
        progress.note(f"note: n_jobs={slots} on {cores()} cores: more processes than cores slow each other down")
    status: Status = "KILLED"
    try:
        plan.sweeper.begin(runner.board)
        results.upload_missing(runner.board.known().children)
        with plan.launcher.callbacks():
            runner.run(slots, retry=retry)
        summary = results.keep_best(progress, plan.given.config_dirs)
        failed = progress.counts.get("FAILED", 0) + progress.counts.get("KILLED", 0)
        status = "FAILED" if failed else "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        progress.close()
        page = results.finish(status, report=plan.tracked or any(job.config.tracking.plots for job in plan.jobs))
    if page is not None:
        console.print(f"report {page}", soft_wrap=True, highlight=False)
    for line in summary:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    lacking = sum(state.is_not_exported for _, state in progress.states.values())
    console.print(
        tally(progress.counts, progress.ended) + (f", {lacking} not exported" if lacking else ""), highlight=False
    )
    if results.parent is not None:
        console.print(f"MLflow run {results.parent.link}", soft_wrap=True, highlight=False)
    return min(failed + lacking, MAX_EXIT_CODE)


def _import_for_runs() -> None:
    tf.tensorflow_version()
    importlib.import_module("expkit.runs.child")


def _run_child(config: DictConfig) -> None:
    from expkit.runs.child import run_child

    run_child(config)


def _folder(plan: SweepPlan, *, given: bool) -> SweepFolder:
    """Return the folder given on the command line, else the folder of the same sweep, else a new one.

    Raises:
        RunError: it cannot be written.
    """
    runs = Path(plan.config.run.folder).resolve()
    existing = None if given else find_sweep(runs, plan.key)
    folder = existing or SweepFolder(plan.launcher.folder)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if plan.config.tracking.enabled:
            runs.mkdir(parents=True, exist_ok=True)  # MLflow's store is there, wherever the sweep is
        folder.update()
    except OSError as error:
        raise unwritable(folder.path, error) from None
    return folder


def _is_done(folder: SweepFolder, plan: SweepPlan) -> bool:
    settings = folder.settings()
    if (settings.get("key"), settings.get("status")) != (plan.key, "FINISHED"):
        return False
    done = all(state.status in DONE for state in folder.states().values())
    return done and plan.sweeper.is_complete(folder, plan.given, plan.points)


def finish(plan: SweepPlan, folder: SweepFolder) -> None:
    """Finish a sweep whose runs have all ended, unless a process does that already."""
    children = plan.board(folder).known().children
    ended = all(child.status in CLOSED for child in children)
    if not ended or any(is_held(child.folder.path) for child in children):
        return
    if not plan.sweeper.is_complete(folder, plan.given, plan.points):
        return
    if folder.settings().get("status") == "FINISHED" or folder.is_led:
        return
    run_planned(plan, folder, retry=False)
