"""``train -m``: one sweep, from its command line to its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from expkit.config.hydra_messages import composition_message
from expkit.config.load import compose_plain
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, comma_list
from expkit.run_folder import short_names, unwritable
from expkit.runs.interruption import termination_raises
from expkit.runs.recording import recorder_of_process, say_environment
from expkit.runs.sweep_results import SweepResults
from expkit.sweeps.given_overrides import GivenOverrides, parse_overrides
from expkit.sweeps.jobs import SweepJob, check_jobs, check_same_place, hash_of
from expkit.sweeps.launcher import Launcher
from expkit.sweeps.objective import Objective, objectives_of
from expkit.sweeps.progress import LineDisplay, LiveDisplay, Progress, tally
from expkit.sweeps.replicates import Replication, replication_of
from expkit.sweeps.runner import SweepRunner
from expkit.sweeps.sweep_folder import DONE, SweepFolder, find_sweep
from expkit.sweeps.sweeper import Grid, Sweeper
from expkit.sweeps.sweeper_selection import sweeper_of

if TYPE_CHECKING:
    from expkit.tracking.client import Status
    from expkit.tracking.recorder import Recorder


__all__ = ["run"]

MAX_EXIT_CODE = 100
"""Largest number of failed runs that the exit code says: shells give those above 125 other meanings."""


@dataclass(frozen=True, kw_only=True)
class _SweepPlan:
    """A checked sweep, before anything is written."""

    replication: Replication
    launcher: Launcher
    sweeper: Sweeper
    points: list[list[SweepJob]]
    """The jobs of every point that is known before the first run."""
    keys: list[str]
    """Keys that vary."""
    objectives: tuple[Objective, ...]
    key: str

    @property
    def given(self) -> GivenOverrides:
        """The overrides of the command line, without those of replicates."""
        return self.replication.points

    @property
    def jobs(self) -> list[SweepJob]:
        """The jobs of all points."""
        return [job for point in self.points for job in point]

    @property
    def config(self) -> Config:
        """Configuration of the first job, whose folders and tracking hold for the whole sweep."""
        return self.jobs[0].config

    @property
    def total(self) -> int:
        """Number of runs."""
        return self.sweeper.total(self.given, self.points)

    @property
    def tracked(self) -> bool:
        """True if any run is recorded in MLflow."""
        return any(job.config.tracking.enabled for job in self.jobs)

    @property
    def name(self) -> str:
        """Name of the sweep in MLflow."""
        over = f" over {', '.join(short_names(self.keys).values())}" if self.keys else ""
        return f"{self.config.run.name} sweep{over}"


def run(overrides: list[str], config_dirs: Sequence[str]) -> int:
    """Execute the missing runs of a sweep; return how many runs failed or died, at most ``MAX_EXIT_CODE``.

    Raises:
        ConfigError: with every mistake found, before any run starts.
        RunError: the sweep is already running, cannot be written, or its launcher cannot start any run.
    """
    plan = _plan(overrides, config_dirs)
    console = Console()
    folder = _folder(plan, given=any(override.startswith("hydra.sweep.dir=") for override in overrides))
    with folder.lock():
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
            config_dirs=[str(Path(name).resolve()) for name in plan.given.config_dirs],
        )
        say_environment(plan.config)
        with termination_raises(), recorder_of_process(tracked=plan.tracked) as recorder:
            return _execute(plan, folder, recorder, console)


def _execute(plan: _SweepPlan, folder: SweepFolder, recorder: Recorder | None, console: Console) -> int:
    from expkit.runs.child import run_child

    results = SweepResults(folder, recorder)
    if plan.config.tracking.enabled:
        results.start_parent(plan.config, plan.name, plan.key)
    display = LiveDisplay if console.is_terminal else LineDisplay
    progress = Progress(plan.total, plan.objectives, lambda: display(console), plan.sweeper.on_tie)
    replicates = partial(_replicates, replication=plan.replication, objectives=plan.objectives)
    runner = SweepRunner(folder, plan.launcher, run_child, progress, replicates, results.record_death)
    status: Status = "KILLED"
    try:
        with plan.launcher.callbacks():
            plan.sweeper.sweep(runner, plan.given, plan.points)
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
    console.print(tally(progress.counts, progress.ended), highlight=False)
    if results.parent is not None:
        console.print(f"MLflow run {results.parent.link}", soft_wrap=True, highlight=False)
    return min(failed, MAX_EXIT_CODE)


def _plan(overrides: list[str], config_dirs: Sequence[str]) -> _SweepPlan:
    given = parse_overrides(overrides, config_dirs)
    check = partial(check_jobs, given=given)
    try:
        launcher = Launcher(overrides, config_dirs)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        # Checking the jobs, then composing Hydra's settings alone, finds the same mistakes with better messages.
        without_intervals = tuple(item for item in given.items if not item.is_interval_sweep())
        check(Grid().checks(replace(given, items=without_intervals)))
        compose_plain(given.hydra, config_dirs)
        raise ConfigError(Problem("command line", composition_message(error))) from None
    sweeper = sweeper_of(launcher.settings)
    replication = replication_of(given, sweeper.repeats, sweeper.replicate_keys)
    points = replication.jobs(sweeper.checks(replication.points), partial(check_jobs, given=replication.points))
    if not points:
        empty = [key for index, key in given.varied.items() if not given.alternatives(index)]
        raise ConfigError(*(Problem(key, "has no values, so the sweep is empty; give it some") for key in empty))
    replication = replication.following(points)
    jobs = [replace(job, replicated=replication.keys) for point in points for job in point]
    points = [jobs[start : start + replication.count] for start in range(0, len(jobs), replication.count)]
    if any(job.config.run.resume is not None for job in jobs):
        raise ConfigError(Problem("run.resume", "a sweep is resumed by the same command without run.resume"))
    check_same_place(jobs)
    objectives = objectives_of(jobs[0].config, _known_metrics(jobs, sweeper), sweeper.objective, sweeper.mode)
    _check_objectives(jobs, objectives)
    _check_tie(sweeper, jobs, objectives)
    sweeper.prepare(objectives, jobs)
    tracking = jobs[0].config.tracking
    unrepeated = [job for point in points for job in point[:: replication.repeats]]
    sweeper_key = sweeper.key(replication.points, unrepeated)
    return _SweepPlan(
        replication=replication,
        launcher=launcher,
        sweeper=sweeper,
        points=points,
        keys=list(given.varied.values()),
        objectives=objectives,
        key=hash_of(sweeper_key, tracking.enabled, tracking.uri, tracking.experiment),
    )


def _replicates(
    points: Sequence[Sequence[str]], *, replication: Replication, objectives: Sequence[Objective]
) -> list[list[SweepJob]]:
    """Return the jobs of points that a sweeper chooses while the sweep runs.

    Raises:
        ConfigError: with the mistakes of all jobs.
    """
    jobs = replication.jobs(points, partial(check_jobs, given=replication.points))
    _check_objectives([job for point in jobs for job in point], objectives)
    return jobs


def _check_tie(sweeper: Sweeper, jobs: Sequence[SweepJob], objectives: Sequence[Objective]) -> None:
    """Check that a tie that is to be broken can be found.

    Raises:
        ConfigError: there are several objectives, or no configuration is run twice.
    """
    if sweeper.on_tie is None:
        return
    if len(objectives) > 1:
        raise ConfigError(Problem("hydra.sweeper.on_tie", f"takes one objective, got {len(objectives)}; omit it"))
    if len({job.configuration for job in jobs}) == len({job.digest for job in jobs}):
        way = "give hydra.sweeper.repeats=5, or vary run.seed"
        raise ConfigError(
            Problem("hydra.sweeper.on_tie", f"needs several runs of a configuration, which show what is tied; {way}")
        )


def _known_metrics(jobs: Sequence[SweepJob], sweeper: Sweeper) -> list[str]:
    """Return the metrics that any run records, if the sweep names one of them, else those that all record."""
    wanted = any if sweeper.objective is not None else all
    names = dict.fromkeys(name for job in jobs for name in job.metrics)
    return [name for name in names if wanted(name in job.metrics for job in jobs)]


def _check_objectives(jobs: Sequence[SweepJob], objectives: Sequence[Objective]) -> None:
    """Check that every run records the objectives.

    Raises:
        ConfigError: with the runs that do not.
    """
    problems = []
    for metric in (objective.metric for objective in objectives):
        without = list(dict.fromkeys(job.point for job in jobs if metric not in job.metrics))
        if without:
            shared = sorted(set.intersection(*(set(job.metrics) for job in jobs)))
            which = f"is not recorded by {len(without)} of {len({job.point for job in jobs})} points"
            way = f"give one that all record: {comma_list(shared, 40)}"
            problems.append(Problem("hydra.sweeper.objective", f"'{metric}' {which} ({comma_list(without, 5)}); {way}"))
    if problems:
        raise ConfigError(*problems)


def _folder(plan: _SweepPlan, *, given: bool) -> SweepFolder:
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


def _is_done(folder: SweepFolder, plan: _SweepPlan) -> bool:
    settings = folder.settings()
    if (settings.get("key"), settings.get("status")) != (plan.key, "FINISHED"):
        return False
    done = all(state.status in DONE for state in folder.states().values())
    return done and plan.sweeper.is_complete(folder, plan.given, plan.points)
