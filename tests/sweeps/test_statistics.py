"""Statistics of configurations: intervals and tests against SciPy, and their errors in simulated sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from expkit.sweeps.statistics import chance_difference, p_value, rank, summarize


def sample(*values: float, start: int = 0) -> dict[str, float]:
    return {str(start + index): value for index, value in enumerate(values)}


def test_a_summary_of_few_values_has_student_s_interval() -> None:
    values = [0.91, 0.95, 0.93, 0.97, 0.90]
    found = summarize(values, "max")
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert found.interval == pytest.approx((low, high))
    assert (found.n, found.method, found.median, found.worst) == (5, "t", 0.93, 0.90)
    assert (found.mean, found.deviation) == pytest.approx((0.932, np.std(values, ddof=1)))
    assert summarize(values, "min").worst == 0.97
    assert found.half_width == pytest.approx((high - low) / 2)


def test_the_interval_of_ten_values_is_a_bootstrap_that_is_the_same_every_time() -> None:
    values = np.random.default_rng(1).exponential(size=12).tolist()
    found = summarize(values, "max")
    assert found.method == "BCa"
    assert found.interval == summarize(values, "max").interval
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=9999, random_state=np.random.default_rng(0)
    ).confidence_interval
    assert found.interval == (expected.low, expected.high)
    assert found.interval is not None
    assert found.interval[1] - found.mean > found.mean - found.interval[0]  # of a skewed sample
    assert summarize(values, "max", bootstrap=False).method == "t"


def test_one_value_has_no_interval_and_equal_values_one_of_no_width() -> None:
    one = summarize([0.5], "max")
    assert (one.n, one.deviation, one.interval, one.method, one.half_width) == (1, None, None, None, None)
    assert summarize([0.5] * 4, "max").interval == (0.5, 0.5)
    assert summarize([0.5] * 12, "max").interval == (0.5, 0.5)


def test_shared_seeds_are_compared_in_pairs_and_others_by_welch() -> None:
    one, two = [0.91, 0.95, 0.93, 0.97], [0.90, 0.93, 0.92, 0.94]
    assert p_value(sample(*one), sample(*two)) == pytest.approx(stats.ttest_rel(one, two).pvalue)
    assert p_value(sample(*one), sample(*two, start=10)) == pytest.approx(
        stats.ttest_ind(one, two, equal_var=False).pvalue
    )
    # Seeds 2 and 3 alone are shared.
    assert p_value(sample(*one), sample(*two, start=2)) == pytest.approx(stats.ttest_rel(one[2:], two[:2]).pvalue)
    assert p_value(sample(0.9), sample(0.8, 0.7)) is None


def test_ten_pairs_are_compared_by_their_ranks() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(size=12), random.normal(0.5, size=12)
    assert p_value(sample(*one), sample(*two)) == pytest.approx(stats.wilcoxon(one - two).pvalue)
    assert p_value(sample(*one), sample(*one)) == 1.0


def test_differences_without_variance_are_compared_by_their_sign() -> None:
    """A t test would call the difference of one image, five times alike, infinitely significant."""
    assert p_value(sample(*[0.5] * 5), sample(*[0.6] * 5)) == 2 * 0.5**5
    assert p_value(sample(*[0.5] * 5), sample(*[0.5] * 5)) == 1.0
    assert p_value(sample(0.5, 0.5), sample(0.6, 0.6, start=5)) == pytest.approx(1 / 3)


def test_two_configurations_are_compared_by_a_paired_t_test() -> None:
    one, two = [0.91, 0.95, 0.93, 0.97, 0.96], [0.90, 0.93, 0.92, 0.94, 0.93]
    found = rank([sample(*two), sample(*one)], "max")
    assert (found.order, found.best) == ((1, 0), 1)
    assert found.p_values == pytest.approx({0: stats.ttest_rel(one, two).pvalue})
    assert (found.single, found.tied, found.ahead) == (True, (), True)


def test_p_values_are_those_of_holm_with_the_residual_variance_of_all() -> None:
    values = np.random.default_rng(3).normal(size=(4, 5)) + np.array([[2], [1.5], [0], [0]])
    found = rank([sample(*row) for row in values], "max")
    # By hand: the residual of a two-way layout, as in an analysis of variance with randomized blocks.
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    error = math.sqrt((residuals**2).sum() / (3 * 4) * 2 / 5)
    best = int(np.argmax(values.mean(1)))
    raw = {
        index: 2 * stats.t.sf((values[best].mean() - values[index].mean()) / error, 12)
        for index in range(4)
        if index != best
    }
    ordered = sorted(raw, key=lambda index: raw[index])
    adjusted, largest = {}, 0.0
    for place, index in enumerate(ordered):
        largest = max(largest, min(1.0, (3 - place) * raw[index]))
        adjusted[index] = largest
    assert found.best == best
    assert found.p_values == pytest.approx(adjusted)


def test_a_configuration_of_another_variance_does_not_blur_the_others() -> None:
    random = np.random.default_rng(5)
    good = [sample(*(0.97 + 0.002 * random.normal(size=5))), sample(*(0.95 + 0.002 * random.normal(size=5)))]
    wild = sample(*(0.4 + 0.3 * random.normal(size=5)))
    found = rank([*good, wild], "max")
    assert found.order == (0, 1, 2)
    assert found.p_values[1] < 0.01


def test_smaller_may_be_better_and_failed_ones_come_last() -> None:
    samples = [sample(0.3, 0.31, 0.29), sample(0.1, 0.11, 0.12), sample(0.2, 0.21)]
    assert rank(samples, "min").order == (1, 2, 0)
    assert rank(samples, "max").order == (0, 2, 1)
    assert rank(samples, "min", last=[1]).order == (2, 0, 1)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_ties_do_not_depend_on_the_unit_of_the_metric(scale: float) -> None:
    rng = np.random.default_rng(3)
    samples = [sample(*(mean + 0.02 * rng.normal(size=5))) for mean in (0.9, 0.89, 0.8)]
    samples.append({seed: value - 0.01 for seed, value in samples[0].items()})  # no variance in the differences
    scaled = [{seed: value * scale for seed, value in each.items()} for each in samples]
    assert rank(scaled, "min") == rank(samples, "min")
    assert p_value(scaled[0], scaled[3]) == p_value(samples[0], samples[3]) == 2.0**-4


def test_one_run_each_is_not_tested() -> None:
    found = rank([sample(0.9), sample(0.8)], "max")
    assert (found.order, dict(found.p_values), found.untested, found.single, found.ahead) == (
        (0, 1),
        {},
        (1,),
        False,
        False,
    )
    assert rank([sample(0.9, 0.8)], "max").single is False


def test_the_difference_by_chance_is_that_of_wilson_s_interval() -> None:
    low = stats.binomtest(178, 180).proportion_ci(method="wilson").low
    assert chance_difference(178 / 180, 180) == pytest.approx(178 / 180 - low)
    assert chance_difference(178 / 180, 180) == pytest.approx(0.0285, abs=1e-3)
    # Wilson's interval of 0 of 100, by hand: its upper end is z² / (n + z²).
    z = stats.norm.ppf(0.975)
    assert chance_difference(0.0, 100) == pytest.approx(z**2 / (100 + z**2))


# Errors in sweeps of five seeds. The unit is the standard deviation of a configuration over its seeds.

SWEEPS = 2000


def claims(means: Sequence[float], shared: float = 0.0) -> tuple[float, float]:
    """Return how often a single best is claimed, and how often the truly best one is found ahead of the others.

    Args:
        means: true means of the configurations.
        shared: fraction of the variance that a seed has in common in all configurations.
    """
    random = np.random.default_rng(0)
    single = found = 0
    for _ in range(SWEEPS):
        own = math.sqrt(1 - shared) * random.normal(size=(len(means), 5))
        values = own + math.sqrt(shared) * random.normal(size=5) + np.array(means)[:, None]
        ranking = rank([sample(*row) for row in values], "max")
        single += ranking.single
        found += ranking.ahead and ranking.best == 0
    return single / SWEEPS, found / SWEEPS


@pytest.mark.untraced
def test_a_single_best_of_equal_configurations_is_claimed_in_at_most_one_sweep_of_twenty() -> None:
    single, _ = claims([0.0] * 8)
    assert single <= 0.05
    for equal in ([3.0, 3.0], [1.5, 1.5]):  # two equal ones before six that are worse
        single, _ = claims([*equal, *[0.0] * 6])
        assert single <= 0.05


@pytest.mark.untraced
def test_none_of_equal_configurations_is_found_ahead_in_more_than_one_sweep_of_twenty() -> None:
    random = np.random.default_rng(0)
    ahead = sum(rank([sample(*row) for row in random.normal(size=(8, 5))], "max").ahead for _ in range(SWEEPS))
    assert ahead / SWEEPS <= 0.05


def oracle(gap: float, count: int, seeds: int = 5) -> float:
    """Return how often a test that knows the best and the variance tells it from each of the others, by Holm at 5 %."""
    means = np.random.default_rng(0).normal(size=(100_000, count + 1)) / math.sqrt(seeds)
    distances = np.sort((means[:, :1] + gap - means[:, 1:]) / math.sqrt(2 / seeds))
    return float(np.all(distances > stats.norm.isf(0.025 / np.arange(1, count + 1)), axis=1).mean())


@pytest.mark.untraced
def test_a_configuration_two_standard_deviations_ahead_is_found_in_nine_sweeps_of_ten() -> None:
    single, found = claims([2.0, *[0.0] * 7])
    assert found >= 0.9
    bound = oracle(2.0, 7)
    assert 0.5 <= single <= bound <= 0.6  # better than each: five seeds cannot show more
    assert oracle(2.0, 7, seeds=9) >= 0.9 > oracle(2.0, 1) > 0.88  # nor of two that were chosen beforehand
    single, found = claims([2.0, *[0.0] * 7], shared=0.5)
    assert (single >= 0.9, found >= 0.9) == (True, True)
