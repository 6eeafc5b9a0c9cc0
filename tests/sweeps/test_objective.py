"""Objectives of a sweep, by default or by name, with the Pareto front."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from expkit.config.load import load
from expkit.config.schema import Config
from expkit.errors import ConfigError
from expkit.preflight import check, load_checked
from expkit.recorded import metric_names
from expkit.sweeps.objective import Objective, objectives_of, pareto_front

LOSS, SCORE = Objective("loss", "min"), Objective("score", "max")


def front(objectives: list[Objective], values: list[dict[str, float]]) -> list[int]:
    return pareto_front([[objective.cost(metrics) for objective in objectives] for metrics in values])


def objectives(config: Config, metric: Any, mode: Any) -> tuple[Objective, ...]:
    return objectives_of(config, metric_names(config, bool(check(config).ema_names)), metric, mode)


@pytest.fixture
def config(empty_folder: Path) -> Config:
    return load([])


def test_the_front_of_one_objective_is_its_best_run() -> None:
    values = [{"score": 0.5}, {"score": 0.9}, {"loss": 0.1}, {"score": math.nan}, {"score": 0.9}]
    assert front([SCORE], values) == [1]
    assert front([LOSS], values) == [2]
    assert front([LOSS], [{"score": 0.5}]) == []


def test_the_front_of_several_objectives_has_the_runs_that_no_other_dominates() -> None:
    values = [
        {"loss": 0.3, "score": 0.9},
        {"loss": 0.1, "score": 0.5},
        {"loss": 0.3, "score": 0.8},  # as the first in one, worse in the other
        {"loss": 0.2, "score": 0.7},
        {"loss": 0.2, "score": 0.7},  # the same again
        {"loss": 0.4, "score": 0.1},
        {"loss": 0.0},
    ]
    assert front([LOSS, SCORE], values) == [1, 3, 0]
    assert front([SCORE, LOSS], values) == [0, 3, 1]


def test_the_default_objective_and_the_default_modes(config: Config) -> None:
    assert objectives(config, None, None) == (Objective("valid/accuracy", "max"),)
    assert objectives(config, ["valid/loss/ema", "test/accuracy"], None) == (
        Objective("valid/loss/ema", "min"),
        Objective("test/accuracy", "max"),
    )
    assert objectives(config, "valid/loss", "maximize") == (Objective("valid/loss", "max"),)


def test_invalid_objectives_are_reported_together(config: Config) -> None:
    with pytest.raises(ConfigError) as caught:
        objectives(config, ["valid/los", "test/loss", "test/loss"], ["minimize"])
    known = "train/loss, train/accuracy, valid/loss, valid/loss/ema, valid/accuracy, valid/accuracy/ema, "
    known += "test/loss, test/loss/ema, test/accuracy, test/accuracy/ema"
    assert str(caught.value).splitlines() == [
        f"hydra.sweeper.objective: no metric 'valid/los'; did you mean 'valid/loss'? allowed: {known}",
        "hydra.sweeper.objective: names test/loss twice",
        "hydra.sweeper.direction: has 1 for 3 objectives; give one for each",
    ]
    with pytest.raises(ConfigError, match="names no metric; allowed: train/loss, "):
        objectives(config, [], None)


@pytest.mark.parametrize(
    ("words", "metric", "mode", "expected"),
    [
        ([], None, None, ("valid/accuracy", "max")),  # train.best_metric of the default experiment
        (["train.best_metric=null"], None, None, ("valid/loss", "min")),
        (["train.best_metric=null", "data.split.valid=null"], None, None, ("test/loss", "min")),
        (["train.best_metric=valid/loss"], None, None, ("valid/loss", "min")),
        (["train.best_metric=valid/loss/ema"], None, None, ("valid/loss/ema", "min")),
        (["train.best_metric=valid/accuracy/ema"], None, None, ("valid/accuracy/ema", "max")),
        (["train.best_metric=valid/loss", "train.best_mode=max"], None, None, ("valid/loss", "max")),
        ([], "test/accuracy/ema", None, ("test/accuracy/ema", "max")),
        ([], "test/accuracy", "minimize", ("test/accuracy", "min")),
    ],
)
def test_the_objective_is_named_or_the_one_of_the_best_checkpoint(
    words: list[str], metric: str | None, mode: str | None, expected: tuple[str, str]
) -> None:
    config = load_checked(words).config
    assert objectives(config, metric, mode) == (Objective(*expected),)


def test_an_unknown_metric_is_reported_with_the_known_ones() -> None:
    config = load_checked(["ema=none"]).config
    with pytest.raises(ConfigError) as caught:
        objectives(config, "test/acuracy", None)
    assert str(caught.value) == (
        "hydra.sweeper.objective: no metric 'test/acuracy'; did you mean 'test/accuracy'? allowed: train/loss, "
        "train/accuracy, valid/loss, valid/accuracy, test/loss, test/accuracy"
    )
