"""The sweeper that searches: it asks Optuna for points, runs them, and tells it what came of them."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Literal

from hydra.core.override_parser.types import Override
from pydantic import Field

from expkit.errors import ConfigError, Problem, comma_list
from expkit.provenance import is_installed
from expkit.registry import NonNegative, Positive, register
from expkit.sweeps.jobs import Job, key_of
from expkit.sweeps.objective import Objective
from expkit.sweeps.optuna_study import (
    Pruner,
    Pruning,
    Sampler,
    Sampling,
    Study,
    Trial,
    judge_of,
    open_storage,
)
from expkit.sweeps.space import Numbers, Space, space_of
from expkit.sweeps.sweep_folder import SweepFolder
from expkit.sweeps.sweeper import Judge, Running, Sweeper

__all__ = ["Optuna"]


@register
class Optuna(Sweeper):
    """Points that a sampler of Optuna chooses: ``a=interval(0.1,1) b=range(1,9) c=choice(x,y)``."""

    kind: Literal["optuna"] = "optuna"
    sampler: Sampler = "tpe"
    """What chooses points; ``cmaes`` needs two intervals or ranges, ``grid`` has no intervals, ``nsgaii`` is for
    several objectives."""
    n_trials: Positive = 20
    """Points in all; given again with more of them, a search goes on."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no other point is asked for; those under way are run to their end."""
    batch_size: Positive = 1
    """Points asked for at once, and handed to the launcher together."""
    seed: int = 0
    """Of the sampler: equal seeds, and batches, suggest equal points."""
    startup_trials: NonNegative | None = None
    """Points at random before ``tpe`` (10 by default) or ``cmaes`` (1) begins."""
    population_size: Annotated[int, Field(gt=1)] | None = None
    """Points of a generation of ``nsgaii`` (50 by default) or ``cmaes``."""
    pruner: Pruner = "none"
    """What ends runs early that fall behind."""
    prune_after_trials: NonNegative | None = None
    """Runs that end before ``median`` prunes any; 5 by default."""
    prune_after_steps: Positive | None = None
    """Step before which no run is pruned; for ``hyperband`` the first time it is judged, by default."""
    storage: str | None = None
    """URL of the storage that Optuna keeps the study in; by default ``study.db`` in the sweep's folder."""

    def checks(self, overrides: Sequence[Override]) -> list[list[str]]:
        """Return the overrides of the ends of every dimension."""
        problems = list(self._lacking())
        try:
            space = space_of(overrides)
        except ConfigError as error:
            raise ConfigError(*problems, *error.problems) from None
        problems += [*self._misused(), *self._unfit(space)]
        if problems:
            raise ConfigError(*problems)
        return [space.words(point) for point in space.ends()]

    def key(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> str:
        """Return a hash over the space, what is computed at its ends, and how points are chosen and judged."""
        free = {"n_trials", "timeout", "batch_size", "storage"}
        dimensions = {key: repr(dimension) for key, dimension in space_of(overrides).dimensions.items()}
        return key_of(self.model_dump(mode="json", exclude=free), dimensions, sorted({job.digest for job in jobs}))

    def total(self, overrides: Sequence[Override], jobs: Sequence[Job]) -> int:
        """Return the number of points; a grid may have fewer."""
        if self.sampler != "grid":
            return self.n_trials
        return min(self.n_trials, space_of(overrides).grid_size())

    def is_complete(self, folder: SweepFolder, total: int) -> bool:
        """Whether all points were told; a timeout, or a process that died, leaves some."""
        return int(folder.settings().get("study", {}).get("told", 0)) >= total

    def ready(self, objectives: Sequence[Objective], jobs: Sequence[Job]) -> None:
        """Open the storage, where it is not a file of the sweep's folder.

        Raises:
            ConfigError: it cannot be opened, or the pruner and the objectives do not go together.
        """
        if problems := list(self._unjudged(objectives, jobs)):
            raise ConfigError(*problems)
        if self.storage is not None:
            open_storage(self.storage)

    def judge(self, folder: SweepFolder, run: str) -> Judge | None:
        """Return the pruner of a run."""
        if self.pruner == "none":
            return None
        settings = folder.settings()
        study = settings["study"]
        pruning = Pruning(**study["pruning"])
        return judge_of(open_storage(self._url(folder)), study["name"], pruning, settings["objective"], run)

    def sweep(self, running: Running, overrides: Sequence[Override], jobs: Sequence[Job]) -> None:
        """Go on with what was asked for and not told, then ask for more."""
        began = time.monotonic()
        space = space_of(overrides)
        study = self._study(running, space, jobs)
        asked = study.trials()
        told = [trial for trial in asked if trial.state != "RUNNING"]
        waiting = [trial for trial in asked if trial.state == "RUNNING"]
        running.count(running.jobs([space.words(trial.values) for trial in told if trial.run is not None]))
        for trial in told:
            if trial.run is None:
                running.refused(space.words(trial.values), None)
        left = self.total(overrides, jobs) - len(asked)
        while True:
            batch, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
            while len(batch) < self.batch_size and left > 0 and not self._late(began):
                following = study.ask()
                if following is None:
                    break
                batch.append(following)
                left -= 1
            if not batch:
                break
            _run(running, study, space, batch)
            running.folder.update(study={**running.folder.settings()["study"], "told": study.told})
        if left > 0 and self._late(began):
            running.note(f"{self.timeout:g} s are over with {left} points not asked for; the same command goes on")

    def _study(self, running: Running, space: Space, jobs: Sequence[Job]) -> Study:
        """Return the study of the sweep; what the processes of its runs have to know of it is left in its file."""
        settings = running.folder.settings()
        name = settings["key"][:12]
        if self.storage is not None:  # which may hold studies of other sweeps, and of this one in other folders
            before = str(settings.get("study", {}).get("name", ""))
            name = before if before.startswith(name) else f"{name}-{uuid.uuid4().hex[:8]}"
        pruning = self._pruning(running.objectives[0], jobs)
        running.folder.update(study={"name": name, "pruning": asdict(pruning)})
        modes = [objective.mode for objective in running.objectives]
        sampling = Sampling(self.sampler, self.seed, self.startup_trials, self.population_size)
        study = Study(open_storage(self._url(running.folder)), name, modes, space, sampling, pruning)
        running.folder.update(study={"name": name, "pruning": asdict(pruning), "told": study.told})
        return study

    def _pruning(self, objective: Objective, jobs: Sequence[Job]) -> Pruning:
        clock = jobs[0].config.train
        every = clock.log_every_steps if objective.metric.startswith("train/") else clock.evaluate_every_steps
        last = max(job.config.train.steps for job in jobs)
        first = self.prune_after_steps or (min(every, last) if self.pruner == "hyperband" else 0)
        startup = 5 if self.prune_after_trials is None else self.prune_after_trials
        return Pruning(self.pruner, startup, first, last)

    def _url(self, folder: SweepFolder) -> str:
        return self.storage or f"sqlite:///{folder.path / 'study.db'}"

    def _late(self, began: float) -> bool:
        return self.timeout is not None and time.monotonic() - began >= self.timeout

    def _lacking(self) -> Iterator[Problem]:
        """Yield the packages that are not there."""
        wanted = ["optuna", *(["cmaes"] if self.sampler == "cmaes" else [])]
        if missing := [package for package in wanted if not is_installed(package)]:
            yield Problem(
                "hydra/sweeper",
                f"'optuna' needs {' and '.join(missing)}, not installed: pip install 'expkit[optuna]'; "
                "without it hydra/sweeper=grid runs every combination",
            )

    def _misused(self) -> Iterator[Problem]:
        """Yield the fields that what was chosen does not take."""
        for field, takers, chosen in (
            ("startup_trials", ("tpe", "cmaes"), self.sampler),
            ("population_size", ("cmaes", "nsgaii"), self.sampler),
            ("prune_after_trials", ("median",), self.pruner),
            ("prune_after_steps", ("median", "hyperband"), self.pruner),
        ):
            if getattr(self, field) is not None and chosen not in takers:
                yield Problem(
                    f"hydra.sweeper.{field}", f"is not for '{chosen}'; allowed: null, or {comma_list(takers)}"
                )

    def _unfit(self, space: Space) -> Iterator[Problem]:
        """Yield what of a space the sampler cannot search."""
        numbers = [key for key, dimension in space.dimensions.items() if isinstance(dimension, Numbers)]
        if self.sampler == "cmaes" and len(numbers) < 2:
            yield Problem(
                "hydra.sweeper.sampler",
                f"'cmaes' needs at least two intervals or ranges, and there is {comma_list(numbers)}; "
                "take tpe, random or nsgaii",
            )
        for key in numbers:
            dimension = space.dimensions[key]
            if self.sampler == "grid" and isinstance(dimension, Numbers) and dimension.step is None:
                yield Problem(
                    key,
                    "an interval has no end of values, which 'grid' would need; write range(START,STOP,STEP) or "
                    "choice(A,B), or take another hydra.sweeper.sampler: tpe, cmaes, random, nsgaii",
                )

    def _unjudged(self, objectives: Sequence[Objective], jobs: Sequence[Job]) -> Iterator[Problem]:
        """Yield why runs cannot be judged by these objectives."""
        several = f"judges by one metric, and there are {len(objectives)} objectives"
        if len(objectives) > 1 and self.sampler == "cmaes":
            yield Problem("hydra.sweeper.sampler", f"'cmaes' {several}; take nsgaii, tpe, random or grid")
        if self.pruner == "none":
            return
        if len(objectives) > 1:
            yield Problem("hydra.sweeper.pruner", f"'{self.pruner}' {several}; write hydra.sweeper.pruner=none")
        elif objectives[0].metric.startswith("test/"):
            yield Problem(
                "hydra.sweeper.pruner",
                f"'{self.pruner}' has nothing to judge by: {objectives[0].metric} is known only when a run has ended; "
                "give data.split.valid and an objective valid/..., or write hydra.sweeper.pruner=none",
            )
        last = self._pruning(objectives[0], jobs).last_step
        if (self.prune_after_steps or 0) >= last:
            yield Problem("hydra.sweeper.prune_after_steps", f"prunes nothing: runs end at step {last}")


def _run(running: Running, study: Study, space: Space, batch: Sequence[Trial]) -> None:
    """Run the points of a batch, and tell the study how they ended; one whose process died is left to be taken up."""
    jobs: dict[int, Job] = {}
    for trial in batch:
        words = space.words(trial.values)
        try:
            (jobs[trial.number],) = running.jobs([words])
        except ConfigError as error:  # the ends of every dimension are right, but not these together
            study.tell(trial, "FAIL")
            running.refused(words, error)
    children = {number: running.children([job])[0] for number, job in jobs.items()}
    asked = {trial.number: trial for trial in batch}
    for number, child in children.items():
        study.begun(asked[number], child.folder.path.name)
    failed = {child.folder.path.name: child for child in children.values() if child.state().status == "FAILED"}
    running.count([jobs[number] for number, child in children.items() if child.folder.path.name in failed])
    fresh = {child.folder.path.name: child for child in children.values() if child.folder.path.name not in failed}
    states = dict(zip(fresh, running.run(list(fresh.values())), strict=True)) if fresh else {}
    for number, child in children.items():
        state = states.get(child.folder.path.name) or child.state()
        values = [state.values.get(objective.metric, math.nan) for objective in running.objectives]
        if state.status == "FINISHED":
            study.tell(asked[number], "COMPLETE", values)
        elif state.status == "PRUNED":
            study.tell(asked[number], "PRUNED")
        elif state.status == "FAILED":
            study.tell(asked[number], "FAIL")
