"""Samplers: the points of a search by an algorithm of Optuna, selected with ``hydra/sweeper/sampler=NAME``."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from expkit.registry import Kind, NonNegative, Positive, register
from expkit.sweeps.space import Space, Value

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["CmaEs", "GridSampler", "Nsga2", "Planned", "Qmc", "RandomSampler", "Sampler", "Tpe"]

_Probability = Annotated[float, Field(ge=0, le=1)]
_Population = Annotated[int, Field(gt=1)]


class Sampler(Kind, ABC):
    """Algorithm that suggests points."""

    family = "sampler"

    seed: NonNegative = 0
    """Seed of the points."""

    def at(self, index: int) -> BaseSampler:
        """Return Optuna's sampler of a trial.

        Its random numbers depend on the seed and the trial's index only, so a resumed search suggests the same points
        as an uninterrupted one.
        """
        return self.create(int.from_bytes(hashlib.sha256(f"{self.seed}/{index}".encode()).digest()[:4], "big"))

    @abstractmethod
    def create(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler with a seed of its own."""


@register
class Tpe(Sampler):
    """Tree-structured Parzen estimator (Bergstra et al. 2011)."""

    kind: Literal["tpe"] = "tpe"
    n_startup_trials: NonNegative = 10
    """Random points before the estimator starts."""
    n_ei_candidates: Positive = 24
    """Candidates of which the one with the largest expected improvement is suggested."""
    multivariate: bool | None = None
    """Estimate all keys together, not each on its own; ``null`` for Optuna's default."""

    def create(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler; it expects running trials to be poor, so that workers do not repeat each other."""
        from optuna.samplers import TPESampler

        return TPESampler(
            seed=seed,
            n_startup_trials=self.n_startup_trials,
            n_ei_candidates=self.n_ei_candidates,
            multivariate=self.multivariate,
        )


@register
class CmaEs(Sampler):
    """Covariance matrix adaptation (Hansen 2016), for two or more intervals or ranges."""

    kind: Literal["cmaes"] = "cmaes"
    n_startup_trials: NonNegative = 1
    """Random points before the algorithm starts."""
    popsize: _Population | None = None
    """Points of a generation; ``null`` for as many as the number of keys asks for."""
    sigma0: Annotated[float, Field(gt=0)] | None = None
    """Initial standard deviation; ``null`` for a sixth of the smallest range."""

    def create(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(
            seed=seed,
            n_startup_trials=self.n_startup_trials,
            popsize=self.popsize,
            sigma0=self.sigma0,
            warn_independent_sampling=False,
        )


@register
class RandomSampler(Sampler):
    """Independent random points."""

    kind: Literal["random"] = "random"

    def create(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""
        from optuna import samplers

        return samplers.RandomSampler(seed=seed)


class Planned(Sampler, ABC):
    """Algorithm whose points depend on no result."""

    @abstractmethod
    def next_point(self, space: Space, points: Sequence[Mapping[str, Value]]) -> dict[str, Value] | None:
        """Return the point after those suggested so far, or ``None`` if there is no other."""

    def create(self, seed: int) -> BaseSampler:
        """Return any sampler: Optuna gets the point."""
        from optuna import samplers

        return samplers.RandomSampler(seed=seed)


@register
class GridSampler(Planned):
    """Every combination in order; it takes no intervals, and its seed changes nothing."""

    kind: Literal["grid"] = "grid"

    def next_point(self, space: Space, points: Sequence[Mapping[str, Value]]) -> dict[str, Value] | None:
        """Return the first point that is new."""
        return next((point for point in space.grid() if point not in points), None)


@register
class Qmc(Planned):
    """Quasi-random points, which cover the space more evenly than random ones: Sobol's sequence, scrambled."""

    kind: Literal["qmc"] = "qmc"

    def next_point(self, space: Space, points: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
        """Return the point of the sequence whose index is the number of those before."""
        import numpy as np
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(space.dimensions), seed=np.random.default_rng(self.seed))
        if points:
            sequence.fast_forward(len(points))
        fractions = sequence.random(1)[0].tolist()
        return {key: item.at(part) for (key, item), part in zip(space.dimensions.items(), fractions, strict=True)}


@register
class Nsga2(Sampler):
    """Genetic algorithm NSGA-II (Deb et al. 2002), for several objectives."""

    kind: Literal["nsgaii"] = "nsgaii"
    population_size: _Population = 50
    """Points of a generation."""
    mutation_prob: _Probability | None = None
    """Probability that a key is drawn anew; ``null`` for one key in a point on average."""
    crossover_prob: _Probability = 0.9
    """Probability that a point has two parents."""
    swapping_prob: _Probability = 0.5
    """Probability that a key is the second parent's."""

    def create(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(
            seed=seed,
            population_size=self.population_size,
            mutation_prob=self.mutation_prob,
            crossover_prob=self.crossover_prob,
            swapping_prob=self.swapping_prob,
        )
