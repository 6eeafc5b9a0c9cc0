"""What a sweep is judged by."""

from __future__ import annotations

import math

import pytest

from expkit.errors import ConfigError
from expkit.preflight import load_checked
from expkit.sweeps.objective import Objective, objective_of


@pytest.mark.parametrize(
    ("words", "metric", "mode", "expected"),
    [
        ([], None, None, ("valid/accuracy", "max")),  # train.best_metric of the default experiment
        (["train.best_metric=null"], None, None, ("valid/loss", "min")),
        (["train.best_metric=null", "data.split.valid=null"], None, None, ("test/loss", "min")),
        (["train.best_metric=valid/loss", "train.best_mode=min"], None, None, ("valid/loss", "min")),
        ([], "test/accuracy/ema", None, ("test/accuracy/ema", "max")),
        ([], "test/accuracy", "min", ("test/accuracy", "min")),
    ],
)
def test_the_objective_is_what_is_named_or_what_keeps_the_best(
    words: list[str], metric: str | None, mode: str | None, expected: tuple[str, str]
) -> None:
    config = load_checked(words)[0]
    assert objective_of(config, metric, mode) == Objective(*expected)  # type: ignore[arg-type]


def test_a_metric_that_no_run_has_is_told_with_those_it_has() -> None:
    config = load_checked(["ema=none"])[0]
    with pytest.raises(ConfigError) as caught:
        objective_of(config, "test/acuracy", None)
    assert str(caught.value) == (
        "hydra.sweeper.objective: no metric 'test/acuracy'; did you mean 'test/accuracy'? allowed: train/loss, "
        "train/accuracy, valid/loss, valid/accuracy, test/loss, test/accuracy"
    )


def test_the_best_is_no_run_without_the_metric_and_no_number_that_is_none() -> None:
    values = [{"a": math.nan}, {"b": 9.0}, {"a": 2.0}, {"a": 3.0}, {"a": 2.0}]
    assert Objective("a", "max").best(values) == 3
    assert Objective("a", "min").best(values) == 2
    assert Objective("c", "min").best(values) is None
