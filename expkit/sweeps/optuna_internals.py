"""Private API of Optuna, used by no other module.

Optuna's own ``Trial`` draws from the sampler as soon as it is constructed, so a trial of another process is written
through the storage.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["as_of_step", "report", "rungs_at", "rungs_passed", "set_attribute"]


def set_attribute(study: Study, trial: FrozenTrial, key: str, value: object) -> None:
    """Store a user attribute of a trial."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def report(study: Study, trial: FrozenTrial, step: int, value: float) -> FrozenTrial:
    """Store the objective at a step of a running trial; return the trial as it is stored now."""
    study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
    return study._storage.get_trial(trial._trial_id)


def as_of_step(trial: FrozenTrial, step: int, rungs: Collection[str]) -> FrozenTrial:
    """Return a trial as it was at a step, for a pruner: later steps are those of a repeat that has ended.

    Args:
        trial: the trial.
        step: the step.
        rungs: system attributes of the rungs of successive halving that this repeat has passed.
    """
    past = copy.copy(trial)
    past.intermediate_values = {at: value for at, value in trial.intermediate_values.items() if at <= step}
    attributes = trial._system_attrs.items()
    past._system_attrs = {key: value for key, value in attributes if not key.startswith(_RUNG) or key in rungs}
    return past


def rungs_at(study: Study, trial: FrozenTrial, value: float, passed: Collection[str]) -> list[str]:
    """Return the system attributes of the rungs that a trial has passed with a value, after those passed before."""
    stored = study._storage.get_trial(trial._trial_id).system_attrs
    found: list[str] = []
    while stored.get(key := f"{_RUNG}{len(passed) + len(found)}") == value:
        found.append(key)
    return found


def rungs_passed(trial: FrozenTrial) -> set[str]:
    """Return the system attributes of the rungs that a trial has passed, in whatever process."""
    return {key for key in trial.system_attrs if key.startswith(_RUNG)}


_RUNG = "completed_rung_"
"""Beginning of the system attributes in which successive halving keeps the value of a trial at a rung."""
