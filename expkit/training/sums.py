"""Sums of statistics over steps and batches, outside the graph, and the losses and metrics that they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expkit.config.schema import Config
from expkit.kinds.metrics import ROWS
from expkit.training.state import StatisticArrays

__all__ = ["add_statistics", "joined_rows", "results"]


def add_statistics(total: StatisticArrays, more: Mapping[str, Mapping[str, Any]]) -> None:
    """Add statistics to a running total, in float64; rows, without those of zeros, are listed by batch."""
    for name, statistics in more.items():
        into = total.setdefault(name, {})
        for key, value in statistics.items():
            if key == ROWS:
                batches = value if isinstance(value, list) else [np.asarray(value, np.float64)]
                into.setdefault(key, []).extend(rows[rows.any(axis=tuple(range(1, rows.ndim)))] for rows in batches)
            else:
                into[key] = into.get(key, np.float64(0)) + np.asarray(value, np.float64)


def _loss_result(sums: Mapping[str, Any]) -> float:
    """Return a loss from its summed statistics; ``nan`` if nothing counts."""
    with np.errstate(invalid="ignore"):
        mean = float(sums["sum"] / sums["count"])
        if "factors" not in sums:
            return mean
        return mean + float((sums["factors"] / sums["count"] * sums["sums"] / sums["counts"]).sum())


def results(config: Config, statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return losses and metrics by name, then the parts of metrics, ``METRIC/CLASS``, from their statistics."""
    metrics = config.train.metrics
    found: dict[str, float] = {}
    parts: dict[str, float] = {}
    for name, sums in statistics.items():
        if name not in metrics:
            found[name] = _loss_result(sums)
            continue
        joined = joined_rows(sums)
        found[name] = metrics[name].result(joined)
        parts |= {f"{name}/{part}": value for part, value in metrics[name].parts(joined).items()}
    return found | parts


def joined_rows(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return summed statistics with the rows of all batches in one array."""
    return {key: np.concatenate(value) if key == ROWS else value for key, value in sums.items()}
