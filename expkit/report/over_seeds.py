"""Comparison of the configurations of two runs over the replicates that their sweeps have of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from expkit.report.runs import read_sweep
from expkit.run_folder import RunFolder
from expkit.sweeps.standing import Configuration
from expkit.sweeps.statistics import Summary, p_value, summarize
from expkit.sweeps.sweep_folder import SweepFolder

__all__ = ["MetricOverSeeds", "over_seeds"]


@dataclass(frozen=True, kw_only=True)
class MetricOverSeeds:
    """A metric of two configurations, each over its replicates."""

    name: str
    first: Summary
    second: Summary
    p: float | None
    """Two-sided p-value of the difference, paired where replicates are shared; ``None`` if there are too few values."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        means = {"mean": [self.first.mean, self.second.mean], "n": [self.first.n, self.second.n]}
        intervals = [None if item.interval is None else list(item.interval) for item in (self.first, self.second)]
        return {**means, "interval": intervals, "p": self.p}


def over_seeds(first: RunFolder, second: RunFolder) -> tuple[MetricOverSeeds, ...]:
    """Return the metrics of validation and test data over the replicates of two runs' configurations.

    There are none if a run is of no sweep, both are of one configuration, or a sweep has one run of each.
    """
    one, other = _configuration(first), _configuration(second)
    if one is None or other is None or max(len(one.runs), len(other.runs)) < 2:
        return ()
    if {run.configuration for run in one.runs} == {run.configuration for run in other.runs}:
        return ()
    return tuple(_compared(one, other))


def _compared(one: Configuration, other: Configuration) -> Iterator[MetricOverSeeds]:
    names = dict.fromkeys(name for run in (*one.runs, *other.runs) for name in run.metrics)
    for name in names:
        samples = one.sample(name), other.sample(name)
        if not all(samples) or not name.startswith(("valid/", "test/")):
            continue
        p = p_value(*samples)
        yield MetricOverSeeds(
            name=name,
            first=summarize([*samples[0].values()], "max", bootstrap=False),
            second=summarize([*samples[1].values()], "max", bootstrap=False),
            p=None if p is None or math.isnan(p) else p,
        )


def _configuration(run: RunFolder) -> Configuration | None:
    if not SweepFolder(run.path.parent).file.is_file():
        return None
    found = read_sweep(run.path.parent).configurations
    return next((item for item, rows in found if any(row.folder.name == run.path.name for row in rows)), None)
