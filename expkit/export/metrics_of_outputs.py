"""The run's own metrics, of outputs that another program computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from expkit.export.run import FrozenSource
from expkit.kinds.metrics import mode_of_metric
from expkit.training.step import metrics_of_arrays

__all__ = ["MetricRow", "metric_rows"]


@dataclass(frozen=True)
class MetricRow:
    """A metric of the frozen graph and of a file made from it."""

    name: str
    before: float
    after: float
    drop: float
    """Deterioration: absolute where larger is better, relative where smaller is."""


def metric_rows(
    run: FrozenSource,
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
) -> list[MetricRow]:
    """Return the metrics of the test part that the served outputs suffice for, for both computations.

    Rows behind those of the test part, which fill a last batch of a fixed size, are left out.
    """
    config, fields = run.checked.config, run.dataset.splits["test"]
    before, after = (
        {name: array[: run.dataset.size("test")] for name, array in outputs.items() if array.ndim}
        for outputs in (before, after)
    )
    if not before:
        return []
    kinds = {name: metric.kind for name, metric in config.train.metrics.items()}
    both = [metrics_of_arrays(config, outputs, fields) for outputs in (before, after)]
    rows = []
    for name in both[0]:
        first, second = both[0][name], both[1][name]
        mode = mode_of_metric(f"test/{name}", kinds.get)
        if mode is not None:
            drop = first - second if mode == "max" else (second - first) / max(abs(first), 1e-12)
            rows.append(MetricRow(name, first, second, drop if np.isfinite(drop) else float("inf")))
    return rows
