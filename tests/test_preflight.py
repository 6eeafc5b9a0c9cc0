"""What is checked of a configuration before there is data or TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from expkit import registry
from expkit.errors import ConfigError
from expkit.kinds.metrics import BaseMetric, MeanMetric
from expkit.preflight import check
from expkit.registry import register
from support.experiments import MLP, config_of


def problems(folder: Path, **sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(config_of(folder, **sections))
    return [str(problem) for problem in caught.value.problems]


def test_a_sound_configuration_gives_its_network(tmp_path: Path) -> None:
    best = {"best_metric": "valid/accuracy/ema"}
    assert list(check(config_of(tmp_path, train=best)).spec.variables) == [
        "hidden/kernel",
        "hidden/bias",
        "logits/kernel",
        "logits/bias",
    ]


def test_outputs_that_losses_and_metrics_ask_for_and_the_best_metric_are_checked_in_one_message(
    tmp_path: Path,
) -> None:
    train = {
        "losses": {"main": {"kind": "sparse_softmax_cross_entropy", "output": "logit"}},
        "metrics": {"accuracy": {"kind": "accuracy", "output": "zzz"}},
        "best_metric": "valid/acuracy",
    }
    assert problems(tmp_path, train=train) == [
        "train.losses.main.output: no output 'logit'; did you mean 'logits'? allowed: logits",
        "train.metrics.accuracy.output: no output 'zzz'; allowed: logits",
        "train.best_metric: no metric 'valid/acuracy'; did you mean 'valid/accuracy'? allowed: valid/loss, "
        "valid/loss/ema, valid/accuracy, valid/accuracy/ema",
    ]


@pytest.mark.parametrize(
    ("best", "sections", "known"),
    [
        ("valid/accuracy/ema", {"ema": {"enabled": False}}, "valid/loss, valid/accuracy"),
        (
            "valid/main",
            {"losses": {"one": {"kind": "sparse_softmax_cross_entropy"}, "two": {"kind": "mean_squared_error"}}},
            "valid/loss, valid/loss/ema, valid/loss/one, valid/loss/one/ema, valid/loss/two, valid/loss/two/ema, "
            "valid/accuracy, valid/accuracy/ema",
        ),
    ],
    ids=["no averages", "several losses"],
)
def test_the_metrics_that_can_be_best_are_those_that_evaluation_reports(
    tmp_path: Path, best: str, sections: dict[str, Any], known: str
) -> None:
    losses = {"losses": sections["losses"]} if "losses" in sections else {}
    train = {"best_metric": best, **losses}
    (problem,) = problems(tmp_path, train=train, ema=sections.get("ema", {}))
    assert problem.endswith(f"allowed: {known}")


def test_a_best_metric_needs_a_validation_part(tmp_path: Path) -> None:
    split = {"train": [0, 40], "valid": None, "test": [40, 60]}
    source = {"kind": "npz", "path": str(tmp_path / "data.npz")}
    train = {"best_metric": "valid/loss"}
    assert problems(tmp_path, train=train, data={"source": source, "split": split}) == [
        "train.best_metric: 'valid/loss' cannot be known: there is no validation data; give data.split.valid, or "
        "train.best_metric=null"
    ]


def test_a_network_that_is_wrong_is_reported_first(tmp_path: Path) -> None:
    network = {**MLP, "layers": {"logits": {"kind": "dense", "units": 3, "input": "nowhere"}}}
    assert problems(tmp_path, network=network, train={"best_metric": "valid/nothing"}) == [
        "network.layers.logits.input: no layer or input 'nowhere'; allowed: x, logits"
    ]


def test_an_ema_of_no_variable_is_reported_before_anything_is_built(tmp_path: Path) -> None:
    assert problems(tmp_path, ema={"variables": "nothing/.*"}) == [
        "ema.variables: 'nothing/.*' matches no trained variable; variables: hidden/kernel, hidden/bias, "
        "logits/kernel, logits/bias; use ema=none for no EMA"
    ]


class Undecided(MeanMetric):
    """A metric that does not say which of its values is the best, as a plugin's may."""

    kind: Literal["undecided"] = "undecided"

    def values(self, output: Any, labels: Any) -> Any:
        return output


@pytest.fixture
def undecided() -> Iterator[dict[str, Any]]:
    members = registry._FAMILIES["metric"]
    register(Undecided)
    registry.rebuild_sections()
    yield {"metrics": {"accuracy": {"kind": "accuracy"}, "mine": {"kind": "undecided"}}}
    del members["undecided"]
    registry.rebuild_sections()


def test_a_metric_of_no_known_mode_needs_one(tmp_path: Path, undecided: dict[str, Any]) -> None:
    stopping = {"metric": "valid/mine/ema"}
    assert problems(tmp_path, train={**undecided, "best_metric": "valid/mine", "early_stopping": stopping}) == [
        "train.best_mode: the kind of 'valid/mine' declares no best_mode; give max if larger values are better, or min",
        "train.early_stopping.mode: the kind of 'valid/mine/ema' declares no best_mode; give max if larger values are "
        "better, or min",
    ]
    given = {"best_metric": "valid/mine", "best_mode": "min", "early_stopping": {**stopping, "mode": "max"}}
    check(config_of(tmp_path, train={**undecided, **given}))


@pytest.mark.parametrize(
    ("metric", "given", "mode"),
    [
        ("valid/loss", "auto", "min"),
        ("valid/loss/ema", "auto", "min"),
        ("valid/loss/one/ema", "auto", "min"),
        ("valid/accuracy", "auto", "max"),
        ("valid/accuracy/ema", "auto", "max"),
        ("valid/far/ema", "auto", "min"),
        ("valid/near", "auto", "max"),
        ("valid/area", "auto", "max"),
        ("valid/loss", "max", "max"),
        ("valid/accuracy", "min", "min"),
    ],
)
def test_the_mode_is_that_of_the_metrics_kind_unless_it_is_given(
    tmp_path: Path, metric: str, given: Any, mode: str
) -> None:
    kinds = {"accuracy": "accuracy", "far": "mean_absolute_error", "near": "top_k", "area": "auc"}
    train = config_of(tmp_path, train={"metrics": {name: {"kind": kind} for name, kind in kinds.items()}}).train
    assert train.mode_of(metric, given) == mode


def test_every_metric_knows_its_mode() -> None:
    modes = {name: cls.best_mode for name, cls in registry.kinds("metric").items() if issubclass(cls, BaseMetric)}
    assert {name for name, mode in modes.items() if mode is None} == {"mean"}, "an output may mean anything"
