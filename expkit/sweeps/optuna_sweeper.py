"""The sweeper that searches with Optuna."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from expkit.errors import ConfigError, ExpkitError, Problem, RunError, comma_list, error_message
from expkit.provenance import is_installed
from expkit.redact import masked
from expkit.registry import KindsOf, Positive, register
from expkit.run_folder import RunFolder
from expkit.sweeps.board import Board, Known
from expkit.sweeps.claims import is_held
from expkit.sweeps.dominance import dominance_check
from expkit.sweeps.given_overrides import GivenOverrides
from expkit.sweeps.jobs import SweepJob, hash_of
from expkit.sweeps.objective import Objective
from expkit.sweeps.optuna_storage import open_storage
from expkit.sweeps.optuna_study import Study, Trial, prune_check, runs_of_trials
from expkit.sweeps.pruners import NoPruner, Pruner
from expkit.sweeps.samplers import Sampler, Tpe
from expkit.sweeps.space import Numeric, Space, space_of
from expkit.sweeps.sweeper import PruneCheck, Sweeper

if TYPE_CHECKING:
    from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["Optuna"]


@register
class Optuna(Sweeper):
    """Points that a sampler of Optuna suggests: ``a=interval(0.1,1) b=range(1,9) c=choice(x,y)``."""

    kind: Literal["optuna"] = "optuna"
    sampler: Annotated[Sampler, KindsOf("sampler")] = Tpe()
    """Algorithm that suggests points: ``hydra/sweeper/sampler=NAME``."""
    pruner: Annotated[Pruner, KindsOf("pruner")] = NoPruner()
    """Rule that ends unpromising runs early: ``hydra/sweeper/pruner=NAME``."""
    n_trials: Positive = 20
    """Total number of points; a larger number given later continues the search."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which no more points are suggested; running ones are completed."""
    storage: str | None = None
    """URL of the study's storage: ``sqlite:///FILE``, ``postgresql://...``, ``journal:///FILE``; by default
    ``study.db`` in the sweep's folder."""
    study_name: str | None = None
    """Name of the study in the storage; by default one of its own."""

    def checks(self, given: GivenOverrides) -> list[list[str]]:
        """Return the overrides of the bounds of every dimension."""
        problems = list(self._not_installed())
        try:
            space = space_of(given)
        except ConfigError as error:
            raise ConfigError(*problems, *error.problems) from None
        problems += self._unsuitable_dimensions(space)
        if problems:
            raise ConfigError(*problems)
        return [space.overrides(point) for point in space.bounds()]

    def key(self, given: GivenOverrides, jobs: Sequence[SweepJob]) -> str:
        """Return a hash of the space, the jobs at its bounds, and the fields that influence suggestions."""
        free = {"n_trials", "timeout", "n_jobs", "storage", "study_name", "params", "on_tie"}
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
        if self.pruner.kind == "none":
            return None
        study = (settings := folder.settings())["study"]
        storage, name = open_storage(self._url(folder)), study["name"]
        if len(settings["objectives"]) > 1:
            verdict = self.pruner.dominated(study["first_step"])
            assert verdict is not None  # checked before the sweep began
            objectives = [Objective(*each) for each in settings["objectives"]]
            return dominance_check(folder.path, run, lambda: runs_of_trials(storage, name), objectives, verdict)
        pruner = self.pruner.create(study["first_step"], study["last_step"])
        metric = settings["objective"]

        def recorded(other: str, step: int) -> float | None:
            points = RunFolder(folder.path / other).metrics()
            return next((point[metric] for point in points if point["step"] == step and metric in point), None)

        return prune_check(storage, name, pruner, metric, run, recorded)

    retries_failures: ClassVar[bool] = False

    def begin(self, board: Board) -> None:
        """Open the study, and count the time from now on."""
        deadline = None if self.timeout is None else time.time() + self.timeout
        board.folder.update(deadline=deadline)
        self.settle(board)

    def open_points(self, board: Board) -> Iterator[Sequence[Child]]:
        """Yield the points that have no result yet, then suggest more."""
        study = self._study(board)
        self.settle(board)
        for trial in study.trials():
            if trial.state == "RUNNING" and (children := self._children_of(board, study, trial)):
                yield children
        while len(study.trials()) < self._total_points(board.given) and not self._timed_out(board):
            if (suggested := study.ask()) is None:
                return
            if children := self._children_of(board, study, suggested):
                yield children
            self._tell(board, study, suggested, children)

    def known(self, board: Board) -> Known:
        """Return the runs of all trials."""
        study = self._study(board)
        children: dict[str, Child] = {}
        rejected, skipped = [], 0
        for trial in study.trials():
            if not trial.runs:
                if trial.state == "FAIL":
                    rejected.append(study.error(trial))
                continue
            runs = self._children_of(board, study, trial)
            # A point needs no further run once one of its runs was pruned, or failed.
            unneeded = trial.state != "RUNNING" and any(child.status in ("PRUNED", "FAILED") for child in runs)
            for child in runs:
                if unneeded and not child.folder.state():
                    skipped += 1
                else:
                    children[child.name] = child
        return Known(children=list(children.values()), skipped=skipped, rejected=rejected)

    def explained(self, error: Exception) -> ExpkitError | None:
        """Return that the storage cannot be reached any more, whatever library says so."""
        if type(error).__module__.partition(".")[0] not in ("optuna", "psycopg", "pymysql", "sqlalchemy", "sqlite3"):
            return None
        where = masked(self.storage or "study.db in the sweep's folder")
        return RunError.at(
            "hydra.sweeper.storage",
            f"{where} cannot be reached ({masked(error_message(error))}); the same command continues when it can",
        )

    def remark(self, board: Board) -> str | None:
        """Return that the time is over, if points are left."""
        left = self._total_points(board.given) - len(self._study(board).trials())
        if left <= 0 or not self._timed_out(board):
            return None
        return f"timeout of {self.timeout:g} s reached with {left} points left; the same command continues"

    def settle(self, board: Board) -> None:
        """Store the results of the trials whose runs have ended."""
        study = self._study(board)
        study.drop_unfinished()
        for trial in study.trials():
            if trial.state == "RUNNING" and trial.runs:
                self._tell(board, study, trial, self._children_of(board, study, trial))
        steps = board.folder.settings()["study"]
        if steps.get("told") != (told := study.ended):
            board.folder.update(study={**steps, "told": told})

    def _children_of(self, board: Board, study: Study, trial: Trial) -> list[Child]:
        """Return the runs of a trial; none where it is not a valid configuration, which is stored."""
        kept: dict[int, list[Child]] = board.memory.setdefault("trials", {})
        if trial.number not in kept:
            found = board.job_of(space_of(board.given).overrides(trial.values))
            if isinstance(found, ConfigError):  # the bounds of every dimension are valid, but not this combination
                job = " ".join(space_of(board.given).overrides(trial.values))
                study.reject(trial, "\n".join(f"{job}: {problem}" for problem in found.problems))
                return []
            kept[trial.number] = found
        if not trial.runs:
            study.set_runs(trial, [child.name for child in kept[trial.number]])
        return kept[trial.number]

    def _total_points(self, given: GivenOverrides) -> int:
        """Return the number of points; a grid may have fewer than ``n_trials``."""
        if self.sampler.kind != "grid":
            return self.n_trials
        return min(self.n_trials, space_of(given).grid_size())

    def _tell(self, board: Board, study: Study, trial: Trial, children: Sequence[Child]) -> None:
        """Store the mean of a trial's runs, or that one of them failed or was pruned, once none is executed."""
        if not children or any(is_held(child.folder.path) for child in children):
            return
        states = [child.state() for child in children]
        statuses = [state.status for state in states]
        if "FAILED" in statuses:
            study.tell(trial, "FAIL")
        elif "PRUNED" in statuses:
            study.tell(trial, "PRUNED")
        elif all(status == "FINISHED" for status in statuses):
            columns = [[state.values.get(item.metric, math.nan) for state in states] for item in board.objectives]
            study.tell(trial, "COMPLETE", [sum(values) / len(values) for values in columns])

    def _study(self, board: Board) -> Study:
        """Return the study of the sweep; ``sweep.json`` records its name and rungs for the processes of the runs."""
        if "study" in board.memory:
            opened: Study = board.memory["study"]
            return opened
        settings = board.folder.settings()
        name = self.study_name or settings["key"][:12]
        if self.storage is not None and self.study_name is None:  # it may hold studies of other folders
            existing = str(settings.get("study", {}).get("name", ""))
            name = existing if existing.startswith(name) else f"{name}-{uuid.uuid4().hex[:8]}"
        first, last = self._rungs(board.objectives[0], [job for point in board.points for job in point])
        steps = {"name": name, "first_step": first, "last_step": last}
        if any(settings.get("study", {}).get(key) != value for key, value in steps.items()):
            board.folder.update(study={**settings.get("study", {}), **steps})
        study = Study(
            open_storage(self._url(board.folder)), name, board.objectives, space_of(board.given), self.sampler
        )
        study.belongs_to(board.folder, shared=self.storage is not None)
        study.drop_unfinished()
        board.memory["study"] = study
        return study

    def _rungs(self, objective: Objective, jobs: Sequence[SweepJob]) -> tuple[int, int | None]:
        """Return the step before which no run is pruned, and the steps of a complete run, if known."""
        train = jobs[0].config.train
        every = train.log_every_steps if objective.metric.startswith("train/") else train.evaluate_every_steps
        steps = [job.config.train.steps for job in jobs]
        last = None if None in steps else max(count for count in steps if count is not None)
        return self.pruner.first_step(every if last is None else min(every, last)), last

    def _url(self, folder: SweepFolder) -> str:
        return self.storage or f"sqlite:///{folder.path / 'study.db'}"

    def _timed_out(self, board: Board) -> bool:
        deadline = board.folder.settings().get("deadline")
        return deadline is not None and time.time() >= deadline

    def _not_installed(self) -> Iterator[Problem]:
        packages = ["optuna", *(["cmaes"] if self.sampler.kind == "cmaes" else [])]
        if missing := [package for package in packages if not is_installed(package)]:
            yield Problem(
                "hydra/sweeper",
                f"'optuna' needs {' and '.join(missing)}, not installed: pip install 'expkit[optuna]'; "
                "without it hydra/sweeper=grid runs every combination",
            )

    def _unsuitable_dimensions(self, space: Space) -> Iterator[Problem]:
        """Yield the dimensions that the sampler cannot search."""
        numeric = {key: item for key, item in space.dimensions.items() if isinstance(item, Numeric)}
        if self.sampler.kind == "cmaes" and len(numeric) < 2:
            yield Problem(
                "hydra/sweeper/sampler",
                f"'cmaes' needs at least two intervals or ranges, got {comma_list(numeric)}; use tpe or random",
            )
        for key, dimension in numeric.items():
            if self.sampler.kind == "grid" and dimension.step is None:
                yield Problem(
                    key,
                    "an interval has infinitely many values, so 'grid' cannot search it; write range(START,STOP,STEP) "
                    "or choice(A,B), or use another hydra/sweeper/sampler: tpe, cmaes, random, qmc, nsgaii",
                )

    def _unsupported_objectives(self, objectives: Sequence[Objective], jobs: Sequence[SweepJob]) -> Iterator[Problem]:
        """Yield the reasons why the sampler or the pruner cannot use these objectives."""
        several = f"takes one objective, got {len(objectives)}"
        if len(objectives) > 1 and self.sampler.kind == "cmaes":
            yield Problem("hydra/sweeper/sampler", f"'cmaes' {several}; use nsgaii, tpe, random, qmc or grid")
        if self.pruner.kind == "none":
            return
        if len(objectives) > 1 and self.pruner.dominated(0) is None:
            yield Problem("hydra/sweeper/pruner", f"'{self.pruner.kind}' {several}; use median, asha or none")
        for item in objectives:
            if item.metric.startswith("test/"):
                why = f"needs an objective during training, but {item.metric} is known only when a run has ended"
                fix = "give data.split.valid and an objective valid/..., or write hydra/sweeper/pruner=none"
                yield Problem("hydra/sweeper/pruner", f"'{self.pruner.kind}' {why}; {fix}")
        first, last = self._rungs(objectives[0], jobs)
        if last is not None and first >= last:
            why = f"prunes nothing before step {first}: runs end at step {last}"
            yield Problem("hydra/sweeper/pruner", f"'{self.pruner.kind}' {why}")
