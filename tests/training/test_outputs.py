"""Outputs of every form train, are evaluated and frozen: single values, positions, sizes that the data decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.errors import ConfigError, DataError
from expkit.export.freeze import read_frozen
from expkit.runs.train import train as train_run
from support.experiments import MLP, Values, config_of, examples, loaded, numpy_cross_entropy, run
from support.network_files import command

DRAW = np.random.default_rng(0)
X = examples()["x"]
SEQUENCES = DRAW.normal(size=(60, 7, 3)).astype(np.float32)


def network(inputs: dict[str, Any], *layers: dict[str, Any]) -> dict[str, Any]:
    return {
        "inputs": {"x": inputs},
        "layers": {f"layer{index}": layer for index, layer in enumerate(layers)},
        "outputs": {"logits": f"layer{len(layers) - 1}"},
    }


SINGLE = network({"shape": [4]}, {"kind": "dense", "units": 2}, {"kind": "reduce", "function": "mean", "axis": 1})
ANY_LENGTH = network(
    {"shape": [None, 3]},
    {"kind": "lstm", "units": 4, "return_sequences": True},
    {"kind": "dense", "units": 5},
)


def squared(output: np.ndarray, labels: np.ndarray) -> float:
    return float(((output - labels.reshape(output.shape)) ** 2).mean())


def sparse(output: np.ndarray, labels: np.ndarray) -> float:
    return float(numpy_cross_entropy(output.reshape(-1, output.shape[-1]), labels.ravel()).mean())


CASES = {
    "a single value": (SINGLE, X, X[:, 0], "mean_squared_error", "mean_absolute_error", squared),
    "a single value, labels of one column": (SINGLE, X, X[:, :1], "mean_squared_error", "mean_absolute_error", squared),
    "words": (ANY_LENGTH, SEQUENCES, DRAW.integers(0, 5, (60, 7)), "sparse_softmax_cross_entropy", "accuracy", sparse),
    "numbers of words": (
        ANY_LENGTH,
        SEQUENCES,
        DRAW.normal(size=(60, 7, 5)),
        "mean_squared_error",
        "accuracy",
        squared,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_output_trains_and_its_test_loss_is_that_of_the_frozen_graph(tmp_path: Path, name: str) -> None:
    raw, x, labels, loss, metric, expected = CASES[name]
    train = {
        "steps": 2,
        "jit_compile": False,
        "losses": {"main": {"kind": loss}},
        "metrics": {"more": {"kind": metric}},
    }
    config = config_of(tmp_path, {"x": x, "label": labels}, network=raw, train=train, ema={"enabled": False})
    result = run(config, tmp_path / "run")
    assert result.frozen is not None
    output = read_frozen(result.frozen.path).predict({"x": x[50:]})["logits"]
    assert result.test["test/loss"] == pytest.approx(expected(output, labels[50:]), rel=1e-5)


@pytest.mark.parametrize("length", [6, 8])
def test_labels_of_another_length_than_the_output_are_refused_before_training(tmp_path: Path, length: int) -> None:
    labels = np.zeros((60, length), np.int64)
    with pytest.raises(DataError) as caught:
        loaded(config_of(tmp_path, {"x": SEQUENCES, "label": labels}, network=ANY_LENGTH))
    assert str(caught.value.problems[0]) == (
        "train.losses.main: field 'label' (train): needs whole numbers of shape [7] per example for an output "
        f"[batch, 7, 5] float32, got int64 of shape [{length}]"
    )


def test_a_size_of_the_data_that_a_layer_cannot_take_is_refused_before_training(tmp_path: Path) -> None:
    raw = network(
        {"shape": [None, 3]},
        {"kind": "conv1d", "filters": 2, "kernel_size": 9, "padding": "valid"},
        {"kind": "dense", "units": 3},
    )
    with pytest.raises(ConfigError) as caught:
        loaded(config_of(tmp_path, {"x": SEQUENCES, "label": np.zeros((60, 1), np.int64)}, network=raw))
    assert str(caught.value) == (
        "network.layers.layer0: conv1d with padding 'valid' needs a window no larger than its input: 9 > 7; 'layer0' "
        "reads 'x' [batch, 7, 3] float32"
    )


@pytest.mark.parametrize("reader", ["losses", "metrics"])
def test_an_output_that_holds_no_floats_is_refused(tmp_path: Path, reader: str) -> None:
    layers = {**MLP["layers"], "whole": {"kind": "cast", "dtype": "int64"}}
    raw = {**MLP, "layers": layers, "outputs": {"logits": "logits", "rounded": "whole"}}
    kind = {"losses": "sparse_softmax_cross_entropy", "metrics": "accuracy"}[reader]
    with pytest.raises(ConfigError) as caught:
        loaded(config_of(tmp_path, network=raw, train={reader: {"it": {"kind": kind, "output": "rounded"}}}))
    assert str(caught.value) == (
        f"train.{reader}.it.output: 'rounded' is [batch, 3] int64, needs floats; convert it with kind 'cast'"
    )


def test_an_input_that_no_output_needs_is_trained_and_frozen_with(tmp_path: Path) -> None:
    layers = {**MLP["layers"], "hidden": {**MLP["layers"]["hidden"], "input": "x"}}
    raw = {**MLP, "inputs": {"more": {"shape": [2]}, **MLP["inputs"]}, "layers": layers}
    arrays = {"more": np.zeros((60, 2), np.float32), **examples()}
    result = run(config_of(tmp_path, arrays, network=raw), tmp_path / "run")
    assert result.frozen is not None
    graph = read_frozen(result.frozen.path)
    assert list(graph.metadata["inputs"]) == ["x"]
    both = graph.predict({"x": X[:3], "more": arrays["more"][:3]})
    np.testing.assert_array_equal(both["logits"], graph.predict({"x": X[:3]})["logits"])


SMALL = {
    "ptb_lstm": ["hidden_size=6", "vocabulary_size=50"],
    "bert_mlm": ["layers=1", "hidden_size=8", "heads=2", "intermediate_size=8", "vocabulary_size=50", "length=12"],
}


@pytest.mark.parametrize("name", SMALL)
def test_the_command_of_a_network_of_words_trains(name: str, empty_folder: Path) -> None:
    words = DRAW.integers(0, 50, (40, 12))
    arrays: Values = {"words": DRAW.integers(0, 50, 10_000)}
    if name == "bert_mlm":
        arrays = {
            "ids": words,
            "mask": np.ones_like(words),
            "types": np.zeros_like(words),
            "positions": np.tile([[1, 5]], (40, 1)),
            "words": words[:, [1, 5]],
            "next": DRAW.integers(0, 2, 40),
        }
    for field, array in arrays.items():
        np.save(empty_folder / f"{field}.npy", array)
    small = [f"network.settings.{setting}" for setting in SMALL[name]]
    outcome = train_run([*command(name), *small, "train.steps=2", "tracking=none"], quiet=True, embedded=True)
    assert outcome.message is None
    assert outcome.result is not None
    assert outcome.result.frozen is not None
    assert np.isfinite(outcome.result.test["test/loss"])
