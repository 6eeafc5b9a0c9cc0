"""An Optuna study in its storage: trials suggested, their results, the pruning of runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from expkit.errors import ConfigError, Pruned, error_message
from expkit.sweeps import optuna_internals
from expkit.sweeps.objective import Direction, Mode, Objective
from expkit.sweeps.samplers import Planned, Sampler
from expkit.sweeps.space import Categorical, Dimension, Space, Value

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from expkit.sweeps.sweep_folder import SweepFolder

__all__ = ["Study", "Trial", "prune_check", "runs_of_trials"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A suggested point of the search space."""

    number: int
    values: Mapping[str, Value]
    state: Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
    runs: tuple[str, ...] = ()
    """Names of the folders of its runs; empty before they have one."""


class Study:
    """A study: its trials so far, and the suggestion of the next one."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        objectives: Sequence[Objective],
        space: Space,
        sampler: Sampler,
    ) -> None:
        """Create a study, or open the existing study of that name, which may be another's."""
        import optuna

        directions: dict[Mode, Direction] = {"min": "minimize", "max": "maximize"}
        self._space = space
        self._sampler = sampler
        self._study: OptunaStudy = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=[directions[objective.mode] for objective in objectives],
            sampler=sampler.at(0),
            load_if_exists=True,
        )
        self._distributions = {key: _distribution(dimension) for key, dimension in space.dimensions.items()}

    def drop_unfinished(self) -> None:
        """Mark the trials as failed that a killed process left half suggested; they do not count."""
        import optuna

        for trial in self._all():
            if trial.state == optuna.trial.TrialState.RUNNING and not self._is_complete(trial):
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def belongs_to(self, sweep: SweepFolder, *, shared: bool) -> None:
        """Reserve the study for a sweep, whose folder may have been moved since.

        Args:
            sweep: the sweep.
            shared: whether the storage may have studies of other folders.

        Raises:
            ConfigError: it is that of another sweep.
        """
        here, before = str(sweep.path), sweep.settings().get("study", {}).get("folder")
        owner = self._study.user_attrs.get("folder") or (None if not self._all() else "another program")
        if self._study.user_attrs.get("key", sweep.settings()["key"]) != sweep.settings()["key"]:
            raise ConfigError.at(
                "hydra.sweeper.study_name",
                f"'{self._study.study_name}' in this storage is the study of a search with another space, objective, "
                "sampler or configuration; undo that, or give another name",
            )
        if shared and owner not in (None, here) and (owner != before or sweep.is_copy_of(before)):
            raise ConfigError.at(
                "hydra.sweeper.study_name",
                f"'{self._study.study_name}' in this storage is the study of {owner}; give another name, or leave it "
                "out; a copy of a sweep needs a new hydra.sweep.dir=FOLDER, too",
            )
        self._study.set_user_attr("folder", here)
        self._study.set_user_attr("key", sweep.settings()["key"])
        if before != here:
            sweep.update(study={**sweep.settings().get("study", {}), "folder": here})

    def trials(self) -> list[Trial]:
        """Return all trials, in the order in which they were suggested."""
        return [_trial(trial, self._space) for trial in self._all() if self._is_complete(trial)]

    @property
    def ended(self) -> int:
        """Number of trials with a result."""
        return sum(trial.state != "RUNNING" for trial in self.trials())

    def ask(self) -> Trial | None:
        """Return the next trial, or ``None`` once a grid is exhausted."""
        from optuna.trial import TrialState

        trials = self.trials()
        self._study.sampler = self._sampler.at(len(trials))
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if isinstance(self._sampler, Planned) and not waiting:
            point = self._sampler.next_point(self._space, [trial.values for trial in trials])
            if point is None:
                return None
            self._study.enqueue_trial(point)
        number = self._study.ask(self._distributions).number
        return _trial(self._study.trials[number], self._space)

    def set_runs(self, trial: Trial, runs: Sequence[str]) -> None:
        """Store the names of the folders of a trial's runs."""
        optuna_internals.set_attribute(self._study, self._study.trials[trial.number], "run", list(runs))

    def reject(self, trial: Trial, error: str) -> None:
        """Store that a trial is not a valid configuration, and why."""
        optuna_internals.set_attribute(self._study, self._study.trials[trial.number], "error", error)
        self.tell(trial, "FAIL")

    def error(self, trial: Trial) -> str:
        """Return why a trial is not a valid configuration."""
        return str(self._study.trials[trial.number].user_attrs.get("error", ""))

    def tell(self, trial: Trial, state: Literal["COMPLETE", "PRUNED", "FAIL"], values: Sequence[float] = ()) -> None:
        """Store the result of a trial; objectives that are not finite make it a failure."""
        from optuna.trial import TrialState

        if state == "COMPLETE" and not all(map(math.isfinite, values)):
            state = "FAIL"
        self._study.tell(trial.number, list(values) if state == "COMPLETE" else None, TrialState[state])

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _is_complete(self, trial: FrozenTrial) -> bool:
        return set(trial.params) == set(self._distributions)


def prune_check(
    storage: BaseStorage,
    name: str,
    pruner: BasePruner,
    metric: str,
    run: str,
    recorded: Callable[[str, int], float | None],
) -> Callable[[int, Mapping[str, float]], None] | None:
    """Return the check that prunes a run while it trains, or ``None`` if its trial has a result already.

    A trial of several runs is judged at a step by the mean of those that have reached it, and pruned as a whole.

    Args:
        storage: the study's storage.
        name: the study's name.
        pruner: Optuna's pruner.
        metric: the objective.
        run: name of the run's folder.
        recorded: returns the objective that a run, given its folder's name, has recorded at a step.
    """
    import optuna

    study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    trial = next((trial for trial in running if run in _runs(trial)), None)
    if trial is None:
        return None
    others = [other for other in _runs(trial) if other != run]
    rungs = set() if others else optuna_internals.rungs_passed(trial)  # a resumed run has passed some
    rule = type(pruner).__name__.removesuffix("Pruner").lower().replace("successivehalving", "asha")

    def check(step: int, metrics: Mapping[str, float]) -> None:
        """Report the objective of a step.

        Raises:
            Pruned: the pruner ends the run at this step.
        """
        if metric not in metrics:
            return
        values = [metrics[metric], *(value for other in others if (value := recorded(other, step)) is not None)]
        mean = sum(values) / len(values)
        try:
            stored = optuna_internals.report(study, trial, step, mean)
            prunes = "pruned" in stored.user_attrs or pruner.prune(
                study, optuna_internals.as_of_step(stored, step, rungs)
            )
            if others and prunes:
                optuna_internals.set_attribute(study, trial, "pruned", run)
            elif not prunes:
                rungs.update(optuna_internals.rungs_at(study, trial, mean, rungs))
        except optuna.exceptions.OptunaError as error:
            _log.warning("pruning skipped at step %d: %s", step, error_message(error))
            return
        if prunes:
            of = f" (mean of {len(values)} runs)" if len(values) > 1 else ""
            raise Pruned(f"{rule}: {metric} {mean:.4g} at step {step}{of}")

    return check


def runs_of_trials(storage: BaseStorage, name: str) -> list[tuple[str, ...]]:
    """Return the names of the folders of the runs of each trial of a study."""
    import optuna

    study = optuna.load_study(study_name=name, storage=storage)
    return [runs for trial in study.get_trials(deepcopy=False) if (runs := _runs(trial))]


def _trial(trial: FrozenTrial, space: Space) -> Trial:
    return Trial(
        number=trial.number,
        values={key: dimension.normalized(trial.params[key]) for key, dimension in space.dimensions.items()},
        state=trial.state.name,  # type: ignore[arg-type]  # Optuna's own names
        runs=_runs(trial),
    )


def _runs(trial: FrozenTrial) -> tuple[str, ...]:
    return tuple(trial.user_attrs.get("run", ()))


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    if isinstance(dimension, Categorical):
        return distributions.CategoricalDistribution(dimension.values)
    if dimension.integral:
        return distributions.IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log, step=int(dimension.step or 1)
        )
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
