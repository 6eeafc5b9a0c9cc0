"""Private API of Optuna, used by no other module.

Optuna's own ``Trial`` draws from the sampler as soon as it is constructed, so a trial of another process is written
through the storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

__all__ = ["report", "set_attribute"]


def set_attribute(study: Study, trial: FrozenTrial, key: str, value: str) -> None:
    """Store a user attribute of a trial."""
    study._storage.set_trial_user_attr(trial._trial_id, key, value)


def report(study: Study, trial: FrozenTrial, step: int, value: float) -> FrozenTrial:
    """Store the objective at a step of a running trial; return the trial as it is stored now."""
    study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
    return study._storage.get_trial(trial._trial_id)
