"""The plan of a sweep: its command line composed and checked, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from expkit.config.hydra_messages import composition_message
from expkit.config.load import compose_plain
from expkit.config.schema import Config
from expkit.config.search import primary_conf
from expkit.errors import ConfigError, Problem, comma_list
from expkit.provenance import code_digest, versions
from expkit.run_folder import short_names
from expkit.sweeps.board import Board
from expkit.sweeps.given_overrides import EMPTY, GivenOverrides, parse_overrides
from expkit.sweeps.jobs import SweepJob, check_jobs, check_same_place, hash_of
from expkit.sweeps.launcher import Launcher
from expkit.sweeps.objective import Objective, objectives_of
from expkit.sweeps.params import with_params
from expkit.sweeps.replicates import Replication, replication_of
from expkit.sweeps.sweep_folder import SweepFolder
from expkit.sweeps.sweeper import Grid, Sweeper
from expkit.sweeps.sweeper_selection import sweeper_of, unknown_field

__all__ = ["SweepPlan", "code_of", "plan_sweep"]


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """A checked sweep, before anything is written."""

    overrides: list[str]
    """Those of the command line."""
    replication: Replication
    launcher: Launcher
    sweeper: Sweeper
    points: list[list[SweepJob]]
    """The jobs of every point that is known before the first run."""
    varied: dict[str, str]
    """Values of the keys that vary, as given."""
    objectives: tuple[Objective, ...]
    key: str

    def board(self, folder: SweepFolder) -> Board:
        """Return the sweep in its folder."""
        return Board(
            folder=folder,
            sweeper=self.sweeper,
            given=self.given,
            points=self.points,
            replicates=partial(_replicates, replication=self.replication, objectives=self.objectives),
            objectives=self.objectives,
        )

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
    def params(self) -> dict[str, object]:
        """Settings of the sweep for MLflow: the keys that vary with their values, and the sweeper's fields."""
        sweeper = {f"hydra.sweeper.{key}": value for key, value in self.sweeper.model_dump(mode="json").items()}
        objective = ", ".join(f"{item.metric} ({item.mode})" for item in self.objectives)
        return {**self.varied, **sweeper, "hydra.sweeper.objective": objective}

    @property
    def keys(self) -> list[str]:
        """Keys that vary."""
        return list(self.varied)

    @property
    def tracked(self) -> bool:
        """True if any run is recorded in MLflow."""
        return any(job.config.tracking.enabled for job in self.jobs)

    @property
    def name(self) -> str:
        """Name of the sweep in MLflow."""
        over = f" over {', '.join(short_names(self.keys).values())}" if self.keys else ""
        return f"{self.config.run.name} sweep{over}"


def code_of(plan: SweepPlan) -> dict[str, str]:
    """Return the versions of expkit and TensorFlow, and a hash of the code that the runs of a sweep execute."""
    folders = [*map(Path, plan.given.config_dirs), Path.cwd(), primary_conf()]
    plugins = [folder / name for name in plan.config.plugins for folder in folders if (folder / name).is_file()]
    found = versions()
    return {"expkit": found["expkit"], "tensorflow": found.get("tensorflow", "none"), "digest": code_digest(plugins)}


def plan_sweep(overrides: Sequence[str], config_dirs: Sequence[str]) -> SweepPlan:
    """Return a checked sweep.

    Raises:
        ConfigError: with every mistake found.
    """
    given = parse_overrides(overrides, config_dirs)
    check = partial(check_jobs, given=given)
    try:
        launcher = Launcher(overrides, config_dirs)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        if (problem := unknown_field(str(error))) is not None:
            raise ConfigError(problem) from None
        # Checking the jobs, then composing Hydra's settings alone, finds the same mistakes with better messages.
        without_intervals = tuple(item for item in given.items if not item.is_interval_sweep())
        check(Grid().checks(replace(given, items=without_intervals)))
        compose_plain(given.hydra, config_dirs)
        raise ConfigError.at("command line", composition_message(error)) from None
    sweeper = sweeper_of(launcher.settings)
    given = parse_overrides(with_params(sweeper.params, overrides), config_dirs)
    if "sweep" in given.varied.values():
        raise ConfigError.at("sweep", "a command runs the sweep of one file; give one name: +sweep=NAME")
    replication = replication_of(given, sweeper.repeats, sweeper.replicate_keys)
    points = replication.jobs(sweeper.checks(replication.points), partial(check_jobs, given=replication.points))
    if not points:
        empty = [key for index, key in given.varied.items() if not given.alternatives(index)]
        raise ConfigError(*(Problem(key, EMPTY) for key in empty))
    replication = replication.following(points)
    jobs = [replace(job, replicated=replication.keys) for point in points for job in point]
    points = [jobs[start : start + replication.count] for start in range(0, len(jobs), replication.count)]
    if any(job.config.run.resume is not None for job in jobs):
        raise ConfigError.at("run.resume", "a sweep is resumed by the same command without run.resume")
    check_same_place(jobs)
    objectives = objectives_of(jobs[0].config, _known_metrics(jobs, sweeper), sweeper.objective, sweeper.direction)
    _check_objectives(jobs, objectives)
    _check_tie(sweeper, jobs, objectives)
    sweeper.prepare(objectives, jobs)
    tracking = jobs[0].config.tracking
    unrepeated = [job for point in points for job in point[:: replication.repeats]]
    sweeper_key = sweeper.key(replication.points, unrepeated)
    return SweepPlan(
        overrides=list(overrides),
        replication=replication,
        launcher=launcher,
        sweeper=sweeper,
        points=points,
        varied={key: str(given.items[index].input_line).partition("=")[2] for index, key in given.varied.items()},
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
        raise ConfigError.at("hydra.sweeper.on_tie", f"takes one objective, got {len(objectives)}; omit it")
    if len({job.configuration for job in jobs}) == len({job.digest for job in jobs}):
        way = "give hydra.sweeper.repeats=5, or vary run.seed"
        raise ConfigError.at(
            "hydra.sweeper.on_tie", f"needs several runs of a configuration, which show what is tied; {way}"
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
