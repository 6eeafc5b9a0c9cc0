"""Standing of a sweep: configurations over their replicates, ties, one seed, failures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from expkit.sweeps.objective import Objective
from expkit.sweeps.standing import Entry, OnTie, Standing, mean_text, score_text, standing_of
from expkit.sweeps.statistics import summarize
from expkit.sweeps.sweep_folder import RunStatus

ACCURACY = Objective("valid/accuracy", "max")
CLOSE = (0.91, 0.95, 0.93, 0.97, 0.96)


def runs(
    name: str, values: Sequence[float | None], status: RunStatus = "FAILED", parameters: int | None = None
) -> list[Entry]:
    """Return a configuration's runs; those without a value have the status."""
    return [
        Entry(
            name=f"{name}{seed}",
            label=f"rate={name}, seed={seed}",
            configuration=name,
            point=f"rate={name}",
            replicate=str(seed),
            status=status if value is None else "FINISHED",
            metrics={} if value is None else {"valid/accuracy": value, "test/accuracy": value / 2},
            parameters=parameters,
        )
        for seed, value in enumerate(values)
    ]


def shifted(by: float) -> list[float]:
    """Return values that differ from ``CLOSE`` by about as much."""
    return [value + by + 0.001 * (seed % 2) for seed, value in enumerate(CLOSE)]


def standing(*groups: list[Entry], on_tie: OnTie | None = None, objective: Objective = ACCURACY) -> Standing:
    examples, kinds = {"valid": 180, "test": 359}, {"accuracy": "accuracy", "error": "mean_absolute_error"}
    return standing_of([entry for group in groups for entry in group], objective, on_tie, examples, kinds)


def test_the_best_mean_is_named_with_its_interval_and_the_ones_tied_with_it() -> None:
    found = standing(runs("a", [0.80, 0.81, 0.79, 0.82, 0.80]), runs("b", CLOSE), runs("c", [*CLOSE[1:], CLOSE[0]]))
    assert [item.label for item in found.ranked] == ["rate=b", "rate=c", "rate=a"]
    assert found.result == f"valid/accuracy {mean_text(found.summaries[0])} (5 runs): rate=b"
    assert [found.against(item).partition(",")[0] for item in found.ranked] == ["best mean", "tied", "worse"]
    assert found.verdict == "tied with 1 other at 5 %: rate=c; ahead of the 2 others together at 5 %"
    assert [item.label for item in found.tied] == ["rate=c"]


def test_a_single_best_is_said_to_be_better_than_each() -> None:
    found = standing(runs("a", shifted(-0.1)), runs("b", CLOSE), runs("c", shifted(-0.2)))
    assert found.verdict == "better than each of the 2 others at 5 %"
    assert standing(runs("a", shifted(-0.1)), runs("b", CLOSE)).verdict == "better than the other at 5 %"


def test_on_a_tie_the_simplest_or_the_first_is_chosen_on_request() -> None:
    tied = (runs("x", [0.9, 0.8, 0.7], parameters=30), runs("y", [0.7, 0.9, 0.83], parameters=10))
    assert [standing(*tied, on_tie=way).best.label for way in (None, "first", "simplest")] == [
        "rate=y",
        "rate=x",
        "rate=y",
    ]
    small = (runs("y", [0.7, 0.9, 0.83], parameters=30), runs("x", [0.9, 0.8, 0.7], parameters=10))
    chosen = standing(*small, on_tie="simplest")
    assert chosen.best is not None
    assert chosen.best.label == "rate=x"
    assert chosen.result.endswith("(3 runs): rate=x")
    assert chosen.verdict == "chosen as the simplest of 2 tied at 5 %, before: rate=y (best mean)"


def test_failed_runs_are_counted_and_rank_behind_complete_configurations() -> None:
    found = standing(runs("a", [0.99, None, math.nan]), runs("b", [0.8, 0.82, 0.81]), runs("c", [None, None]))
    assert [item.label for item in found.configurations] == ["rate=b", "rate=a", "rate=c"]
    assert [item.label for item in found.ranked] == ["rate=b", "rate=a"]
    assert [run.label for run in found.configurations[1].without("valid/accuracy")] == [
        "rate=a, seed=1",
        "rate=a, seed=2",
    ]
    assert found.verdict == "no test: a configuration has one run"


def test_one_seed_says_which_differences_are_chance() -> None:
    found = standing(runs("a", [0.9667]), runs("b", [178 / 180]))
    assert found.verdict == "one seed: differences below about 0.028 are chance"
    error = Objective("valid/error", "min")
    entries = [
        Entry(
            name=name, label=name, configuration=name, point=name, replicate="0", status="FINISHED",
            metrics={"valid/error": value},
        )
        for name, value in (("a", 0.1), ("b", 0.2))
    ]  # fmt: skip
    other = standing(entries, objective=error)
    assert other.verdict == "one seed: hydra.sweeper.repeats=5 shows which differences are chance"
    assert standing(runs("a", [0.9])).verdict is None


def test_a_choice_by_test_data_is_said() -> None:
    assert standing(runs("a", CLOSE)).choice is None
    found = standing(runs("a", CLOSE), objective=Objective("test/accuracy", "max"))
    assert found.choice == "chosen by test data, whose value of the best is therefore too good; choose by valid/..."


def test_a_result_has_the_mean_of_every_objective() -> None:
    (item,) = standing(runs("a", [0.9, 0.8, 0.7])).configurations
    objectives = [Objective("valid/accuracy", "max"), Objective("valid/loss", "min")]
    assert item.result(objectives) == "valid/accuracy 0.8000 ± 0.2484, valid/loss not finite (3 runs): rate=a"
    (alone,) = standing(runs("a", [0.9])).configurations
    assert alone.result(objectives[:1]) == "valid/accuracy 0.9000: rate=a"


def test_nothing_stands_before_a_run_has_finished() -> None:
    found = standing(runs("a", [None], "RUNNING"))
    assert (found.best, found.verdict, found.ranked, found.tied) == (None, None, (), ())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5], "0.5000"),
        ([1e-6, 1e-6], "1e-06 ± 0.0000"),
        ([0.9, 0.8, 0.7], "0.8000 ± 0.2484"),
        ([2e6], "2e+06"),
        ([0.00012, 0.00014], "0.00013 ± 0.0001271"),
        ([0.9, 0.9002], "0.9001 ± 0.0013"),
    ],
)
def test_a_mean_is_written_with_its_interval(values: list[float], said: str) -> None:
    assert mean_text(summarize(values, "max")) == said


def test_a_bootstrap_interval_is_written_by_its_ends() -> None:
    found = summarize([index / 10 for index in range(12)], "max")
    assert found.interval is not None
    low, high = map(score_text, found.interval)
    assert mean_text(found) == f"0.5500 ({low} to {high})"
