"""The sweeper that searches with Optuna."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from expkit.errors import ConfigError, Problem, comma_list
from expkit.provenance import is_installed
from expkit.registry import NonNegative, Positive, register
from expkit.run_folder import RunFolder
from expkit.sweeps.given_overrides import GivenOverrides
from expkit.sweeps.jobs import SweepJob, hash_of
from expkit.sweeps.objective import Objective
from expkit.sweeps.optuna_study import (
    Pruner,
    Pruning,
    Sampler,
    Sampling,
    Study,
    Trial,
    open_storage,
    prune_check,
)
from expkit.sweeps.space import Numeric, Space, space_of
from expkit.sweeps.sweeper import PruneCheck, Sweeper

if TYPE_CHECKING:
    from expkit.sweeps.runner import SweepRunner
    from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["Optuna"]


@register
class Optuna(Sweeper):
    """Points that a sampler of Optuna suggests: ``a=interval(0.1,1) b=range(1,9) c=choice(x,y)``."""

    kind: Literal["optuna"] = "optuna"
    sampler: Sampler = "tpe"
    """Sampler that suggests points; ``cmaes`` needs two intervals or ranges, ``grid`` takes no intervals, ``nsgaii`` is
    for several objectives."""
    n_trials: Positive = 20
    """Total number of points; a larger number given later continues the search."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no more points are suggested; running ones are completed."""
    batch_size: Positive = 1
    """Points suggested at once, and given to the launcher together."""
    seed: int = 0
    """Seed of the sampler: equal seeds and batch sizes suggest equal points."""
    startup_trials: NonNegative | None = None
    """Random points before ``tpe`` (10 by default) or ``cmaes`` (1) starts."""
    population_size: Annotated[int, Field(gt=1)] | None = None
    """Points of a generation of ``nsgaii`` (50 by default) or ``cmaes``."""
    pruner: Pruner = "none"
    """Pruner that ends unpromising runs early."""
    prune_after_trials: NonNegative | None = None
    """Runs that end before ``median`` prunes any; 5 by default."""
    prune_after_steps: Positive | None = None
    """Step before which no run is pruned; for ``hyperband`` the first evaluation by default."""
    storage: str | None = None
    """URL of the study's storage; by default ``study.db`` in the sweep's folder."""

    def checks(self, given: GivenOverrides) -> list[list[str]]:
        """Return the overrides of the bounds of every dimension."""
        problems = list(self._not_installed())
        try:
            space = space_of(given)
        except ConfigError as error:
            raise ConfigError(*problems, *error.problems) from None
        problems += [*self._misused_fields(), *self._unsuitable_dimensions(space)]
        if problems:
            raise ConfigError(*problems)
        return [space.overrides(point) for point in space.bounds()]

    def key(self, given: GivenOverrides, jobs: Sequence[SweepJob]) -> str:
        """Return a hash of the space, the jobs at its bounds, and the fields that influence suggestions."""
        free = {"n_trials", "timeout", "batch_size", "storage", "on_tie"}
        free |= {"repeats"} if self.repeats == 1 else set()
        free |= {"repeat_over"} if not self.repeat_over else set()
        dimensions = {key: dimension.identity() for key, dimension in space_of(given).dimensions.items()}
        return hash_of(self.model_dump(mode="json", exclude=free), dimensions, sorted({job.digest for job in jobs}))

    def total(self, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> int:
        """Return the number of points, times the runs of each."""
        return self._total_points(given) * max(map(len, points), default=1)

    def is_complete(self, folder: SweepFolder, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> bool:
        """Return True if all points have a result, which a timeout or the death of a process prevents."""
        return int(folder.settings().get("study", {}).get("told", 0)) >= self._total_points(given)

    def prepare(self, objectives: Sequence[Objective], jobs: Sequence[SweepJob]) -> None:
        """Open the storage, unless it is a file in the sweep's folder.

        Raises:
            ConfigError: it cannot be opened, or the pruner does not support the objectives.
        """
        if problems := list(self._unsupported_objectives(objectives, jobs)):
            raise ConfigError(*problems)
        if self.storage is not None:
            open_storage(self.storage)

    def prune_check(self, folder: SweepFolder, run: str) -> PruneCheck | None:
        """Return the check that prunes a run."""
        if self.pruner == "none":
            return None
        settings = folder.settings()
        study = settings["study"]
        pruning = Pruning(**study["pruning"])
        metric = settings["objective"]

        def recorded(other: str, step: int) -> float | None:
            points = RunFolder(folder.path / other).metrics()
            return next((point[metric] for point in points if point["step"] == step and metric in point), None)

        return prune_check(open_storage(self._url(folder)), study["name"], pruning, metric, run, recorded)

    def sweep(self, runner: SweepRunner, given: GivenOverrides, points: Sequence[Sequence[SweepJob]]) -> None:
        """Run the trials that have no result yet, then suggest more."""
        started = time.monotonic()
        space = space_of(given)
        study = self._study(runner, space, [job for point in points for job in point])
        trials = study.trials()
        ended = [trial for trial in trials if trial.state != "RUNNING"]
        open_trials = [trial for trial in trials if trial.state == "RUNNING"]
        self._count(runner, space, ended)
        left = self._total_points(given) - len(trials)
        while True:
            batch, open_trials = open_trials[: self.batch_size], open_trials[self.batch_size :]
            while len(batch) < self.batch_size and left > 0 and not self._timed_out(started):
                suggested = study.ask()
                if suggested is None:
                    break
                batch.append(suggested)
                left -= 1
            if not batch:
                break
            self._run(runner, study, space, batch)
            runner.folder.update(study={**runner.folder.settings()["study"], "told": study.ended})
        if left > 0 and self._timed_out(started):
            runner.note(f"timeout of {self.timeout:g} s reached with {left} points left; the same command continues")

    def _total_points(self, given: GivenOverrides) -> int:
        """Return the number of points; a grid may have fewer than ``n_trials``."""
        if self.sampler != "grid":
            return self.n_trials
        return min(self.n_trials, space_of(given).grid_size())

    def _count(self, runner: SweepRunner, space: Space, ended: Sequence[Trial]) -> None:
        """Count the runs of the trials that have a result."""
        for jobs in runner.replicates([space.overrides(trial.values) for trial in ended if trial.runs]):
            started = [child.job for child in runner.children(jobs) if child.folder.state()]
            runner.count(started)
            runner.skip(len(jobs) - len(started))
        for trial in ended:
            if not trial.runs:
                runner.count_rejected(space.overrides(trial.values), None)

    def _run(self, runner: SweepRunner, study: Study, space: Space, batch: Sequence[Trial]) -> None:
        """Run the trials of a batch and store their results; a trial of a run whose process died stays open."""
        points: dict[int, list[Child]] = {}
        for trial in batch:
            overrides = space.overrides(trial.values)
            try:
                (jobs,) = runner.replicates([overrides])
            except ConfigError as error:  # the bounds of every dimension are valid, but not this combination
                study.tell(trial, "FAIL")
                runner.count_rejected(overrides, error)
                continue
            points[trial.number] = runner.children(jobs)
            study.set_runs(trial, [child.name for child in points[trial.number]])
        for children in filter(_is_decided, points.values()):  # by an earlier command
            runner.count([child.job for child in children if child.folder.state()])
        # A point is pruned as a whole: its runs follow one another where they cannot be executed side by side.
        rounds = max(map(len, points.values()), default=0) if runner.one_at_a_time and self.pruner != "none" else 1
        for index in range(rounds):
            going = [children for children in points.values() if not _is_decided(children)]
            each = [child for children in going for child in (children[index : index + 1] if rounds > 1 else children)]
            if each:
                runner.run(list({child.name: child for child in each}.values()))
        for trial in batch:
            if trial.number in points:
                self._tell(runner, study, trial, points[trial.number])

    def _tell(self, runner: SweepRunner, study: Study, trial: Trial, children: Sequence[Child]) -> None:
        """Store the mean of a trial's runs, or that one of them failed or was pruned."""
        states = [child.state() for child in children]
        statuses = [state.status for state in states]
        runner.skip(statuses.count("WAITING") if _is_decided(children) else 0)
        if "FAILED" in statuses:
            study.tell(trial, "FAIL")
        elif "PRUNED" in statuses:
            study.tell(trial, "PRUNED")
        elif all(status == "FINISHED" for status in statuses):
            columns = [[state.values.get(item.metric, math.nan) for state in states] for item in runner.objectives]
            study.tell(trial, "COMPLETE", [sum(values) / len(values) for values in columns])

    def _study(self, runner: SweepRunner, space: Space, jobs: Sequence[SweepJob]) -> Study:
        """Return the study of the sweep; ``sweep.json`` records its name and pruning for the processes of the runs."""
        settings = runner.folder.settings()
        name = settings["key"][:12]
        if self.storage is not None:  # it may hold studies of other sweeps, and of this sweep in other folders
            existing = str(settings.get("study", {}).get("name", ""))
            name = existing if existing.startswith(name) else f"{name}-{uuid.uuid4().hex[:8]}"
        pruning = self._pruning(runner.objectives[0], jobs)
        runner.folder.update(study={"name": name, "pruning": asdict(pruning)})
        sampling = Sampling(
            sampler=self.sampler,
            seed=self.seed,
            startup_trials=self.startup_trials,
            population_size=self.population_size,
        )
        study = Study(open_storage(self._url(runner.folder)), name, runner.objectives, space, sampling, pruning)
        runner.folder.update(study={"name": name, "pruning": asdict(pruning), "told": study.ended})
        return study

    def _pruning(self, objective: Objective, jobs: Sequence[SweepJob]) -> Pruning:
        train = jobs[0].config.train
        every = train.log_every_steps if objective.metric.startswith("train/") else train.evaluate_every_steps
        steps = [job.config.train.steps for job in jobs]
        last = None if None in steps else max(count for count in steps if count is not None)
        return Pruning(
            pruner=self.pruner,
            startup_trials=5 if self.prune_after_trials is None else self.prune_after_trials,
            first_step=self.prune_after_steps or (min(every, last or every) if self.pruner == "hyperband" else 0),
            last_step=last,
        )

    def _url(self, folder: SweepFolder) -> str:
        return self.storage or f"sqlite:///{folder.path / 'study.db'}"

    def _timed_out(self, started: float) -> bool:
        return self.timeout is not None and time.monotonic() - started >= self.timeout

    def _not_installed(self) -> Iterator[Problem]:
        packages = ["optuna", *(["cmaes"] if self.sampler == "cmaes" else [])]
        if missing := [package for package in packages if not is_installed(package)]:
            yield Problem(
                "hydra/sweeper",
                f"'optuna' needs {' and '.join(missing)}, not installed: pip install 'expkit[optuna]'; "
                "without it hydra/sweeper=grid runs every combination",
            )

    def _misused_fields(self) -> Iterator[Problem]:
        """Yield the fields that the sampler or the pruner does not take."""
        for field, takers, kind in (
            ("startup_trials", ("tpe", "cmaes"), self.sampler),
            ("population_size", ("cmaes", "nsgaii"), self.sampler),
            ("prune_after_trials", ("median",), self.pruner),
            ("prune_after_steps", ("median", "hyperband"), self.pruner),
        ):
            if getattr(self, field) is not None and kind not in takers:
                yield Problem(f"hydra.sweeper.{field}", f"is not for '{kind}'; allowed: null, or {comma_list(takers)}")

    def _unsuitable_dimensions(self, space: Space) -> Iterator[Problem]:
        """Yield the dimensions that the sampler cannot search."""
        numeric = {key: item for key, item in space.dimensions.items() if isinstance(item, Numeric)}
        if self.sampler == "cmaes" and len(numeric) < 2:
            yield Problem(
                "hydra.sweeper.sampler",
                f"'cmaes' needs at least two intervals or ranges, got {comma_list(numeric)}; use tpe, random or nsgaii",
            )
        for key, dimension in numeric.items():
            if self.sampler == "grid" and dimension.step is None:
                yield Problem(
                    key,
                    "an interval has infinitely many values, so 'grid' cannot search it; write range(START,STOP,STEP) "
                    "or choice(A,B), or use another hydra.sweeper.sampler: tpe, cmaes, random, nsgaii",
                )

    def _unsupported_objectives(self, objectives: Sequence[Objective], jobs: Sequence[SweepJob]) -> Iterator[Problem]:
        """Yield the reasons why the sampler or the pruner cannot use these objectives."""
        several = f"takes one objective, got {len(objectives)}"
        if len(objectives) > 1 and self.sampler == "cmaes":
            yield Problem("hydra.sweeper.sampler", f"'cmaes' {several}; use nsgaii, tpe, random or grid")
        if self.pruner == "none":
            return
        if len(objectives) > 1:
            yield Problem("hydra.sweeper.pruner", f"'{self.pruner}' {several}; write hydra.sweeper.pruner=none")
        elif objectives[0].metric.startswith("test/"):
            yield Problem(
                "hydra.sweeper.pruner",
                f"'{self.pruner}' needs an objective during training, but {objectives[0].metric} is known only when a "
                "run has ended; give data.split.valid and an objective valid/..., or write hydra.sweeper.pruner=none",
            )
        last = self._pruning(objectives[0], jobs).last_step
        if last is not None and (self.prune_after_steps or 0) >= last:
            yield Problem("hydra.sweeper.prune_after_steps", f"prunes nothing: runs end at step {last}")


def _is_decided(children: Sequence[Child]) -> bool:
    """Return True if a point needs no further run: one of its runs was pruned, or failed."""
    return any(child.state().status in ("PRUNED", "FAILED") for child in children)
