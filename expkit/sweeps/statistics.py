"""Statistics of configurations over their replicates: interval of a mean, tests of the best against the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expkit.sweeps.objective import Mode

__all__ = ["LEVEL", "Ranking", "Summary", "chance_difference", "p_value", "rank", "summarize"]

LEVEL = 0.05
"""Significance level of all tests; intervals have the confidence ``1 - LEVEL``."""
_BOOTSTRAP_FROM = 10
"""Values from which on the interval of a mean is a bootstrap, and pairs are compared by their ranks."""
_RESAMPLES = 9999

_ROUNDING = 1e-12
"""Fraction of the values below which a difference is one of rounding."""

Sample = Mapping[str, float]
"""Values of a configuration by replicate; equal keys of two configurations are one seed."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Values of a configuration over its replicates."""

    n: int
    mean: float
    deviation: float | None
    """Standard deviation (``n - 1``); ``None`` for one value."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the mean; ``None`` for one value."""
    method: Literal["t", "BCa"] | None
    """Student's t interval, or the bias-corrected and accelerated bootstrap (Efron 1987) from ten values on."""
    median: float
    worst: float

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Configurations by their mean, and the tests of the best against each other."""

    order: tuple[int, ...]
    """Indices, best first."""
    p_values: Mapping[int, float]
    """Adjusted p-value (Holm 1979) of the difference from the best, by index; those with too few values are missing."""
    together: float | None
    """p-value of the best against the mean of all others, ``None`` where variances differ or seeds are not shared."""

    @property
    def best(self) -> int:
        """Index of the best mean."""
        return self.order[0]

    @property
    def tied(self) -> tuple[int, ...]:
        """Indices of the configurations that do not differ from the best at ``LEVEL``, best first."""
        return tuple(index for index in self.order[1:] if self.p_values.get(index, 0.0) > LEVEL)

    @property
    def untested(self) -> tuple[int, ...]:
        """Indices of the configurations that cannot be compared with the best, for want of values."""
        return tuple(index for index in self.order[1:] if index not in self.p_values)

    @property
    def single(self) -> bool:
        """True if the best differs from every other one."""
        return len(self.order) > 1 and not self.tied and not self.untested

    @property
    def ahead(self) -> bool:
        """True if the best differs from the others, from each of them or from all together."""
        return self.single or (self.together is not None and self.together <= LEVEL and not self.untested)


def summarize(values: Sequence[float], mode: Mode, *, bootstrap: bool = True) -> Summary:
    """Return the summary of at least one finite value; without ``bootstrap`` its interval is Student's."""
    from scipy import stats

    data = np.asarray(values, np.float64)
    mean = float(data.mean())
    interval: tuple[float, float] | None = None
    method: Literal["t", "BCa"] | None = None
    if len(data) > 1:
        method = "BCa" if bootstrap and len(data) >= _BOOTSTRAP_FROM else "t"
        interval = (mean, mean)
        if np.ptp(data) > 0 and method == "t":
            half = float(stats.t.ppf(1 - LEVEL / 2, len(data) - 1) * stats.sem(data))
            interval = (mean - half, mean + half)
        elif np.ptp(data) > 0:
            # The generator is fixed: the same values have the same interval.
            found = stats.bootstrap(
                (data,), np.mean, n_resamples=_RESAMPLES, method="BCa", random_state=np.random.default_rng(0)
            ).confidence_interval
            interval = (float(found.low), float(found.high))
    return Summary(
        n=len(data),
        mean=mean,
        deviation=float(data.std(ddof=1)) if len(data) > 1 else None,
        interval=interval,
        method=method,
        median=float(np.median(data)),
        worst=float(data.min() if mode == "max" else data.max()),
    )


def rank(samples: Sequence[Sample], mode: Mode, last: Sequence[int] = ()) -> Ranking:
    """Return the ranking of configurations with at least one value each.

    The best is compared with every other one: in pairs where they share seeds, by a t test of the differences, or from
    ten pairs on by Wilcoxon's signed ranks; else by Welch's t test. Five seeds estimate a variance badly, so the paired
    t tests share one, pooled over the configurations from the best on whose variances agree (Levene's test, 5 %).

    Args:
        samples: the values of each configuration.
        mode: mode of the objective.
        last: indices of configurations that are ranked after all others, as those of which runs have failed.
    """
    sign = 1.0 if mode == "max" else -1.0
    means = [sign * sum(sample.values()) / len(sample) for sample in samples]
    order = sorted(range(len(samples)), key=lambda index: (index in last, -means[index]))
    best = samples[order[0]]
    pooled = _pooled([samples[index] for index in order])
    raw: dict[int, float] = {}
    for place, index in enumerate(order[1:], 1):
        variance = pooled if pooled is not None and place < pooled.configurations else None
        found = p_value(best, samples[index], variance)
        if found is not None:
            raw[index] = found
    adjusted = _holm(raw)
    together = _together([means[index] for index in order], pooled)
    if together is not None and pooled is not None:
        together = max([together, *(adjusted.get(index, 1.0) for index in order[pooled.configurations :])])
    return Ranking(order=tuple(order), p_values=adjusted, together=together)


@dataclass(frozen=True, kw_only=True)
class _Pooled:
    """Variance of what is left of values when the means of configurations and seeds are taken away."""

    configurations: int
    """Number of configurations, from the best on, that it is estimated from."""
    n: int
    """Number of seeds."""
    deviation: float
    freedom: int


def p_value(first: Sample, second: Sample, pooled: _Pooled | None = None) -> float | None:
    """Return the two-sided p-value of the difference of two means; ``None`` if there are too few values.

    Args:
        first: values of a configuration.
        second: values of the other one.
        pooled: variance that replaces that of the differences.
    """
    from scipy import stats

    shared = [key for key in first if key in second]
    if len(shared) > 1:
        differences = np.array([first[key] - second[key] for key in shared])
        size = max(abs(value) for sample in (first, second) for value in sample.values())
        if _is_constant(differences, size) and (pooled is None or pooled.deviation == 0):
            # No variance was seen, which few rounded values may show by chance: the sign test needs none.
            return 1.0 if abs(differences[0]) <= _ROUNDING * size else 2.0 ** (1 - len(shared))
        if len(shared) >= _BOOTSTRAP_FROM:
            return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
        if pooled is None:
            return float(stats.ttest_rel([first[key] for key in shared], [second[key] for key in shared]).pvalue)
        statistic = differences.mean() / (pooled.deviation * math.sqrt(2 / pooled.n))
        return float(2 * stats.t.sf(abs(statistic), pooled.freedom))
    one, other = list(first.values()), list(second.values())
    if min(len(one), len(other)) < 2:
        return None
    if _is_constant(one) and _is_constant(other):
        return 1.0 if one[0] == other[0] else 2 / math.comb(len(one) + len(other), len(one))
    return float(stats.ttest_ind(one, other, equal_var=False).pvalue)


def chance_difference(fraction: float, examples: int) -> float:
    """Return the difference from a fraction of examples that may be chance: to the farther end of Wilson's interval.

    Args:
        fraction: an accuracy or an error rate of one run, from 0 to 1.
        examples: the number of examples that it was computed from.
    """
    from scipy import stats

    found = stats.binomtest(round(fraction * examples), examples).proportion_ci(1 - LEVEL, method="wilson")
    return float(max(fraction - found.low, found.high - fraction))


def _pooled(samples: Sequence[Sample]) -> _Pooled | None:
    """Return the variance pooled over the first configurations, as many of them as have equal seeds and variances."""
    from scipy import stats

    seeds = list(samples[0])
    equal = next((place for place, sample in enumerate(samples) if set(sample) != set(seeds)), len(samples))
    for count in range(equal, 1, -1):
        if len(seeds) < 2:
            break
        values = np.array([[sample[seed] for seed in seeds] for sample in samples[:count]])
        residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
        freedom = (count - 1) * (len(seeds) - 1)
        # Two configurations have residuals of equal size.
        constant = all(_is_constant(row) for row in values)
        if count > 2 and not constant and stats.levene(*values, center="median").pvalue <= LEVEL:
            continue
        is_exact = _is_constant(residuals, float(np.max(np.abs(values))))
        deviation = 0.0 if is_exact else math.sqrt(float((residuals**2).sum()) / freedom)
        return _Pooled(configurations=count, n=len(seeds), deviation=deviation, freedom=freedom)
    return None


def _together(means: Sequence[float], pooled: _Pooled | None) -> float | None:
    """Return the p-value of the best mean against the mean of the others (Nair 1948, by Bonferroni's bound).

    Args:
        means: means, larger ones better, best first.
        pooled: variance of the first of them.
    """
    from scipy import stats

    if pooled is None or pooled.configurations < 3:
        return None
    count = pooled.configurations
    if pooled.deviation == 0:
        return None
    others = sum(means[1:count]) / (count - 1)
    error = pooled.deviation * math.sqrt(1 / pooled.n + 1 / (pooled.n * (count - 1)))
    return float(min(1.0, count * stats.t.sf((means[0] - others) / error, pooled.freedom)))


def _holm(p_values: Mapping[int, float]) -> dict[int, float]:
    """Return p-values adjusted for their number (Holm 1979)."""
    adjusted: dict[int, float] = {}
    largest = 0.0
    for place, index in enumerate(sorted(p_values, key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _is_constant(values: Sequence[float] | np.ndarray, size: float = 0.0) -> bool:
    """Return True if values differ by no more than rounding, which is relative to their size.

    Args:
        values: the values.
        size: largest of the numbers that they are differences of, if they are.
    """
    return bool(np.ptp(values) <= _ROUNDING * max(size, float(np.max(np.abs(values)))))
