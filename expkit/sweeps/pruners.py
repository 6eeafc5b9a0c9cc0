"""Pruners: the early end of unpromising runs, selected with ``hydra/sweeper/pruner=NAME``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from expkit.registry import Kind, NonNegative, Positive, register
from expkit.sweeps.dominance import Costs, Verdict, dominated_by, front_of

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["Asha", "Hyperband", "Median", "NoPruner", "Pruner"]

_Factor = Annotated[int, Field(gt=1)]


class Pruner(Kind, ABC):
    """Rule by which runs are ended early."""

    family = "pruner"

    def first_step(self, evaluated: int) -> int:
        """Return the step before which no run is pruned, given that of the first evaluation."""
        return 0

    def dominated(self, first_step: int) -> Verdict | None:
        """Return the rule for several objectives, by dominance; ``None`` if there is none."""
        return None

    @abstractmethod
    def create(self, first_step: int, last_step: int | None) -> BasePruner:
        """Return Optuna's pruner.

        Args:
            first_step: that of ``first_step``.
            last_step: steps of a complete run; ``None`` where epochs say how many.
        """


@register
class NoPruner(Pruner):
    """None: all runs are complete."""

    kind: Literal["none"] = "none"

    def create(self, first_step: int, last_step: int | None) -> BasePruner:
        """Return Optuna's pruner."""
        from optuna.pruners import NopPruner

        return NopPruner()


@register
class Median(Pruner):
    """Runs that are worse at an evaluation than the median of the others."""

    kind: Literal["median"] = "median"
    n_startup_trials: NonNegative = 5
    """Runs that end before any is pruned."""
    n_warmup_steps: NonNegative = 0
    """Step before which no run is pruned."""

    def first_step(self, evaluated: int) -> int:
        """Return ``n_warmup_steps``."""
        return self.n_warmup_steps

    def dominated(self, first_step: int) -> Verdict:
        """Return the rule that prunes runs which more than half of the others dominate."""

        def verdict(step: int, ended: int, mine: Costs, others: Sequence[Costs]) -> str | None:
            if step < first_step or ended < self.n_startup_trials or not others:
                return None
            count = dominated_by(mine, others)
            return f"median: dominated by {count} of {len(others)} others" if 2 * count > len(others) else None

        return verdict

    def create(self, first_step: int, last_step: int | None) -> BasePruner:
        """Return Optuna's pruner."""
        from optuna.pruners import MedianPruner

        return MedianPruner(n_startup_trials=self.n_startup_trials, n_warmup_steps=first_step)


class _Halving(Pruner, ABC):
    """Rule that gives more steps to the best runs at each of some steps, its rungs."""

    min_resource: Positive | None = None
    """Step of the first rung; ``null`` for the first evaluation."""
    reduction_factor: _Factor = 3
    """Number of runs at a rung of which one continues, and ratio of the steps of a rung to those of the one before."""

    def first_step(self, evaluated: int) -> int:
        """Return ``min_resource``, else the step of the first evaluation."""
        return self.min_resource or evaluated


@register
class Asha(_Halving):
    """Asynchronous successive halving (Li et al. 2020): the best of those that have reached a rung so far continue."""

    kind: Literal["asha"] = "asha"

    def dominated(self, first_step: int) -> Verdict:
        """Return the rule that continues the best fronts of those that have reached a rung."""
        rungs = [first_step]

        def verdict(step: int, ended: int, mine: Costs, others: Sequence[Costs]) -> str | None:
            if step < rungs[-1]:
                return None
            while step >= rungs[-1]:
                rungs.append(rungs[-1] * self.reduction_factor)
            better, kept = front_of(mine, others), max(1, (len(others) + 1) // self.reduction_factor)
            return f"asha: {better} of {len(others)} others are in better fronts" if better >= kept else None

        return verdict

    def create(self, first_step: int, last_step: int | None) -> BasePruner:
        """Return Optuna's pruner."""
        from optuna.pruners import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(min_resource=first_step, reduction_factor=self.reduction_factor)


@register
class Hyperband(_Halving):
    """Successive halvings that differ in their first rung (Li et al. 2018), asynchronous too."""

    kind: Literal["hyperband"] = "hyperband"

    def create(self, first_step: int, last_step: int | None) -> BasePruner:
        """Return Optuna's pruner."""
        from optuna.pruners import HyperbandPruner

        most = last_step or "auto"
        return HyperbandPruner(min_resource=first_step, max_resource=most, reduction_factor=self.reduction_factor)
