"""Importance of a sweep's parameters: permutation importance in a random forest (Breiman 2001)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from expkit.plots.axis_scale import scale_of
from expkit.report.runs import Sweep

__all__ = ["MIN_RUNS", "Importance", "importance_of"]

MIN_RUNS = 5
"""Fewest configurations for an estimate."""
TREES = 100
REPEATS = 10


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Increase of a random forest's error when a parameter's values are permuted."""

    fractions: Mapping[str, float]
    """Fraction of the total by key, largest first."""
    deviations: Mapping[str, float]
    """Standard deviations over permutations, in the same unit."""
    explained: float
    """Fraction of the objective's variance that the forest explains for unseen configurations (out of bag)."""
    configurations: int
    """Number of configurations."""


def importance_of(sweep: Sweep) -> Importance | None:
    """Return the importance of the parameters for the means of configurations.

    It is ``None`` below ``MIN_RUNS`` configurations with a value, if none differ, and if the forest explains nothing,
    whose importances would be those of noise.
    """
    ranked = sweep.standing.ranked
    rows = [sweep.by_name[item.runs[0].name] for item in ranked]
    keys = [key for key in sweep.varied if len({str(row.values.get(key)) for row in rows}) > 1]
    scores = np.array([summary.mean for summary in sweep.standing.summaries[: len(ranked)]])
    if len(rows) < MIN_RUNS or not keys or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scales = {key: scale_of(row.values.get(key) for row in rows) for key in keys}
    inputs = np.array([[scales[key].position(row.values.get(key)) for key in keys] for row in rows])
    forest = RandomForestRegressor(n_estimators=TREES, oob_score=True, random_state=0).fit(inputs, scores)
    if forest.oob_score_ <= 0:
        return None
    found = permutation_importance(forest, inputs, scores, n_repeats=REPEATS, random_state=0)
    means = np.maximum(found.importances_mean, 0)
    total = means.sum() or 1.0
    order = np.argsort(-means, kind="stable")
    return Importance(
        fractions={keys[index]: float(means[index] / total) for index in order},
        deviations={keys[index]: float(found.importances_std[index] / total) for index in order},
        explained=float(forest.oob_score_),
        configurations=len(rows),
    )
