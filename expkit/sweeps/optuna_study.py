"""Optuna: a study in its storage, asked for points, told what came of them."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from expkit.errors import ConfigError, Problem, Pruned, error_message
from expkit.redact import masked
from expkit.sweeps import optuna_internals
from expkit.sweeps.objective import Mode
from expkit.sweeps.space import Choice, Dimension, Space, Value

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Pruner", "Pruning", "Sampler", "Sampling", "Study", "Trial", "judge_of", "open_storage"]

Sampler = Literal["tpe", "cmaes", "random", "grid", "nsgaii"]
Pruner = Literal["none", "median", "hyperband"]

_log = logging.getLogger(__name__)
_SQLITE_SECONDS = 60.0  # how long a process waits for another that is writing


@dataclass(frozen=True)
class Sampling:
    """How points are chosen."""

    sampler: Sampler
    seed: int
    startup_trials: int | None
    population_size: int | None

    def at(self, place: int) -> BaseSampler:
        """Return the sampler of a place in the search.

        Every place has its own random numbers, drawn from the seed and the place: so a search that was stopped goes on
        with the same points as one that was not.
        """
        from optuna import samplers

        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{place}".encode()).digest()[:4], "big")
        startup = self.startup_trials
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=10 if startup is None else startup)
        if self.sampler == "cmaes":
            return samplers.CmaEsSampler(
                seed=seed,
                n_startup_trials=1 if startup is None else startup,
                popsize=self.population_size,
                warn_independent_sampling=False,
            )
        if self.sampler == "nsgaii":
            return samplers.NSGAIISampler(seed=seed, population_size=self.population_size or 50)
        return samplers.RandomSampler(seed=seed)


@dataclass(frozen=True)
class Pruning:
    """Which runs are ended early; plain data, so that the processes of the runs can be told."""

    pruner: Pruner
    startup_trials: int
    """Runs that end before the median is asked."""
    first_step: int
    """Step before which nothing is pruned."""
    last_step: int
    """Steps of a whole run."""

    def made(self) -> BasePruner:
        """Return Optuna's pruner."""
        from optuna import pruners

        if self.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=self.startup_trials, n_warmup_steps=self.first_step)
        if self.pruner == "hyperband":
            return pruners.HyperbandPruner(min_resource=self.first_step, max_resource=self.last_step)
        return pruners.NopPruner()


@dataclass(frozen=True)
class Trial:
    """A point that was asked for."""

    number: int
    values: Mapping[str, Value]
    state: Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
    run: str | None = None
    """Name of the folder of its run; ``None`` as long as it has none."""


class Study:
    """A study: what was asked so far, and what comes next."""

    def __init__(
        self, storage: BaseStorage, name: str, modes: Sequence[Mode], space: Space, sampling: Sampling, pruning: Pruning
    ) -> None:
        """Make a study, or go on with the one of that name.

        Points that were not wholly asked for, because the process was killed just then, are given up and do not count.
        """
        import optuna

        self._space = space
        self._sampling = sampling
        self._study: OptunaStudy = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize" if mode == "max" else "minimize" for mode in modes],
            pruner=pruning.made(),
            sampler=sampling.at(0),
            load_if_exists=True,
        )
        self._distributions = {key: _distribution(dimension) for key, dimension in space.dimensions.items()}
        for trial in self._all():
            if trial.state == optuna.trial.TrialState.RUNNING and not self._whole(trial):
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Return all points so far, in the order in which they were asked for."""
        return [_trial(trial, self._space) for trial in self._all() if self._whole(trial)]

    @property
    def told(self) -> int:
        """How many points have been told what came of them."""
        return sum(trial.state != "RUNNING" for trial in self.trials())

    def ask(self) -> Trial | None:
        """Return the next point, or ``None`` where a grid has no other."""
        from optuna.trial import TrialState

        asked = self.trials()
        self._study.sampler = self._sampling.at(len(asked))
        if self._sampling.sampler == "grid" and not self._study.get_trials(
            deepcopy=False, states=(TrialState.WAITING,)
        ):
            done = [trial.values for trial in asked]
            following = next((point for point in self._space.grid() if point not in done), None)
            if following is None:
                return None
            self._study.enqueue_trial(following)
        number = self._study.ask(self._distributions).number
        return _trial(self._study.trials[number], self._space)

    def begun(self, trial: Trial, run: str) -> None:
        """Keep the name of the folder of a point's run."""
        optuna_internals.set_attribute(self._study, self._study.trials[trial.number], "run", run)

    def tell(self, trial: Trial, state: Literal["COMPLETE", "PRUNED", "FAIL"], values: Sequence[float] = ()) -> None:
        """Keep what came of a point; one whose values are no numbers has failed."""
        from optuna.trial import TrialState

        if state == "COMPLETE" and not all(map(math.isfinite, values)):
            state = "FAIL"
        self._study.tell(trial.number, list(values) if state == "COMPLETE" else None, TrialState[state])

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _whole(self, trial: FrozenTrial) -> bool:
        return set(trial.params) == set(self._distributions)


def judge_of(
    storage: BaseStorage, name: str, pruning: Pruning, metric: str, run: str
) -> Callable[[int, Mapping[str, float]], None] | None:
    """Return what judges a run while it trains, or ``None`` where the study does not wait for it.

    Args:
        storage: of the study.
        name: of the study.
        pruning: which runs are ended early.
        metric: what a run is judged by.
        run: name of the folder of the run.
    """
    import optuna

    pruner = pruning.made()
    study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    trial = next((trial for trial in running if trial.user_attrs.get("run") == run), None)
    if trial is None:
        return None

    def judge(step: int, metrics: Mapping[str, float]) -> None:
        """Keep the metric of a step.

        Raises:
            Pruned: the run is to end here.
        """
        if metric not in metrics:
            return
        try:
            ends = pruner.prune(study, optuna_internals.report(study, trial, step, metrics[metric]))
        except optuna.exceptions.OptunaError as error:
            _log.warning("step %d is not judged: %s", step, error_message(error))
            return
        if ends:
            raise Pruned(f"{pruning.pruner}: {metric} {metrics[metric]:.4g} at step {step}")

    return judge


@cache
def open_storage(url: str) -> BaseStorage:
    """Return the storage of a URL; its tables are made where they are not there.

    Raises:
        ConfigError: it cannot be opened.
    """
    import optuna
    from optuna import storages

    optuna.logging.disable_default_handler()  # what it has to say goes where everything is logged
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if url.startswith("sqlite"):
            engine = {"connect_args": {"timeout": _SQLITE_SECONDS}}
            return storages.get_storage(storages.RDBStorage(url, engine_kwargs=engine))
        return storages.get_storage(url)
    except Exception as error:  # SQLAlchemy's, the driver's and Optuna's own errors all end here
        raise ConfigError(
            Problem(
                "hydra.sweeper.storage",
                f"{masked(url)} cannot be opened ({masked(error_message(error))}); "
                "mend it, or leave it out: the study is then kept in the sweep's folder",
            )
        ) from None


def _trial(trial: FrozenTrial, space: Space) -> Trial:
    values = {key: dimension.exact(trial.params[key]) for key, dimension in space.dimensions.items()}
    return Trial(trial.number, values, trial.state.name, trial.user_attrs.get("run"))  # type: ignore[arg-type]


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(dimension.values)
    if dimension.whole:
        return distributions.IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log, step=int(dimension.step or 1)
        )
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
