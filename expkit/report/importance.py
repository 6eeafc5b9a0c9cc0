"""Which parameters of a sweep matter: permutation importance of a random forest (Breiman 2001)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from expkit.plots.axis_scale import scale_of
from expkit.report.runs import Sweep

__all__ = ["FEWEST", "Importance", "importance_of"]

FEWEST = 5
"""Runs below which nothing is said."""
TREES = 100
REPEATS = 10


@dataclass(frozen=True)
class Importance:
    """How much worse a forest predicts the objective when a parameter's values are mixed up."""

    shares: Mapping[str, float]
    """By key, largest first; they sum to 1 where any is above 0."""
    spread: Mapping[str, float]
    """Standard deviation over repetitions, in the same unit."""
    explained: float
    """Share of the objective's variance that the forest explains for runs that it has not seen (out of bag)."""
    runs: int


def importance_of(sweep: Sweep) -> Importance | None:
    """Return the parameters' importance; ``None`` for fewer than ``FEWEST`` finished runs, or where nothing differs."""
    rows = sweep.finished
    keys = [key for key in sweep.varied if len({str(row.values.get(key)) for row in rows}) > 1]
    scores = np.array([sweep.score(row) for row in rows])
    if len(rows) < FEWEST or not keys or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scales = {key: scale_of(row.values.get(key) for row in rows) for key in keys}
    inputs = np.array([[scales[key].place(row.values.get(key)) for key in keys] for row in rows])
    forest = RandomForestRegressor(n_estimators=TREES, oob_score=True, random_state=0).fit(inputs, scores)
    found = permutation_importance(forest, inputs, scores, n_repeats=REPEATS, random_state=0)
    means = np.maximum(found.importances_mean, 0)
    total = means.sum() or 1.0
    order = np.argsort(-means, kind="stable")
    return Importance(
        {keys[place]: float(means[place] / total) for place in order},
        {keys[place]: float(found.importances_std[place] / total) for place in order},
        float(forest.oob_score_),
        len(rows),
    )
