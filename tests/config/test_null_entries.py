"""Null entries: what a file or the command line drops is as if it had never been given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from expkit.config.json_schema import file_schema
from expkit.config.load import load, plain, plain_yaml
from expkit.errors import ConfigError
from expkit.preflight import load_checked

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_null_entry_is_as_if_it_had_never_been_given() -> None:
    without = load(["~train.metrics.accuracy"])
    assert "accuracy" not in without.train.metrics
    assert load(["train.metrics.accuracy=null"]) == without
    assert plain_yaml(load(["train.metrics.accuracy=null"])) == plain_yaml(without)
    assert load(["+train.metrics.more=null", "+network.rules.more=null", "+network.blocks.more=null"]) == load([])


def test_an_experiment_drops_what_it_inherits(empty_folder: Path) -> None:
    file = empty_folder / "conf/experiment/less.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\ndefaults: [digits_mlp, _self_]\ntrain: {best_metric: null, metrics: {accuracy: ~}}\n"
        "network: {layers: {more: null}, inputs: {other: null}, outputs: {other: null}, settings: {size: null}}\n"
    )
    config = load_checked(["experiment=less"]).config
    assert not config.train.metrics
    assert list(config.network.layers) == list(load(["experiment=digits_mlp"]).network.layers)
    assert config.network.settings == {"size": None}
    with pytest.raises(ConfigError) as caught:
        load_checked(["experiment=less", "train.best_metric=valid/accuracy"])
    assert "valid/accuracy" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["train.losses.main=null"], "train.losses: needs a length of at least 1, got 0: an empty mapping"),
        (["network.inputs.image=null"], "network.inputs: needs a length of at least 1, got 0: an empty mapping"),
        (["network.outputs.logits=null"], "network.outputs: needs a length of at least 1, got 0: an empty mapping"),
        (["train.metrics=null"], "train.metrics: needs a mapping, got nothing"),
        (["optimizer=null"], None),
        (["train.losses.main.kind=null"], None),
        (
            ["+network.layers.logits.initializer.kernel=null", "network.layers.logits.units=null"],
            "network.layers.logits.units: needs a whole number, got nothing",
        ),
    ],
)
def test_what_stays_wrong(overrides: list[str], problem: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overrides)
    if problem is not None:
        assert [str(item) for item in caught.value.problems] == [problem]


def test_a_layer_that_is_dropped_is_missed_by_its_reader() -> None:
    with pytest.raises(ConfigError) as caught:
        load_checked(["network.layers.logits=null"])
    assert "network.outputs.logits: no layer 'logits'; allowed: layer1, dropout" in str(caught.value)
    assert "logits" not in plain(load(["network.layers.logits=null"]))["network"]["layers"]


@pytest.mark.parametrize(
    ("name", "content", "valid"),
    [
        ("train", {"metrics": {"accuracy": None}, "losses": {"main": None}}, True),
        ("network", {"layers": {"a": None}, "inputs": {"x": None}, "outputs": {"y": None}, "rules": {"r": None}}, True),
        ("network", {"blocks": {"b": None}, "layers": {"s": {"kind": "scope", "layers": {"a": None}}}}, True),
        ("network", {"layers": {"s": {"kind": "dense", "units": 3, "initializer": {"kernel": None}}}}, True),
        ("restore", {"sources": {"other": None}}, True),
        ("experiment", {"train": {"metrics": {"accuracy": None}}}, True),
        ("experiment", {"train": {"metrics": None}}, False),
        ("experiment", {"train": None}, False),
        ("train", {"batch_size": None}, False),
        ("network", {"blocks": {"b": {"layers": {"d": {"kind": "dense", "units": "{n * 2}"}}}}}, True),
        ("network", {"blocks": {"b": {"layers": {"d": {"kind": "dense", "units": "n * 2"}}}}}, False),
    ],
)
def test_the_schema_of_files_knows_null_entries_and_expressions(name: str, content: Any, valid: bool) -> None:
    assert Draft202012Validator(file_schema(name)).is_valid(content) == valid
