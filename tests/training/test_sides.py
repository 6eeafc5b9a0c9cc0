"""Networks with inputs and outputs of training or serving alone, through the whole program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.errors import ExpkitError
from expkit.export.freeze import read_frozen
from support.experiments import checkpoint_values, config_of, examples, opened, run
from support.networks import GAN, spec_of

VALUES = {"fake": {"kind": "value", "output": "fake"}, "real": {"kind": "value", "output": "real"}}
TRAIN = {"losses": VALUES, "metrics": {}, "jit_compile": False}

AUTOENCODER: dict[str, Any] = {
    "inputs": {"x": {"shape": [4]}, "hint": {"shape": [2], "use": "training"}},
    "layers": {
        "code": {"kind": "dense", "input": "x", "units": 2, "activation": "tanh"},
        "noise": {"kind": "random", "batch_of": "code", "when": "training", "stddev": 0.1},
        "noisy": {"kind": "add", "input": ["code", "noise"]},
        "logits": {"kind": "dense", "units": 4},
        "joined": {"kind": "concat", "input": ["code", "hint"]},
        "classes": {"kind": "dense", "units": 3},
    },
    "outputs": {"features": "noisy", "decoded": "logits", "class": {"layer": "classes", "use": "training"}},
}
"""An encoder and a decoder, with a head for training alone that reads an input of training."""


def frozen_operations(path: Path) -> set[str]:
    return {node.name for node in read_frozen(path).graph_def.node}


def names_in(prefix: Path) -> list[str]:
    return [name for name in checkpoint_values(prefix) if not name.endswith(("ExponentialMovingAverage", "_step"))]


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gan")
    arrays = {"image": examples()["x"]}
    run(config_of(folder / "data", arrays, network=GAN, train=TRAIN), folder / "run")
    return folder / "run"


def test_the_frozen_graph_has_the_generator_alone(gan: Path) -> None:
    operations = frozen_operations(gan / "frozen.pb")
    scopes = {name.split("/")[0] for name in operations}
    assert scopes == {"z", "G", "drawn", "sample"}
    graph = read_frozen(gan / "frozen.pb")
    assert [*graph.metadata["inputs"]] == ["z"]
    assert [*graph.metadata["outputs"]] == ["sample"]
    z = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    values = checkpoint_values(gan / "checkpoints" / "step-00000006" / "model")
    ema = {name: values[f"G/{name}/ExponentialMovingAverage"] for name in ("hidden/kernel", "hidden/bias")}
    ema |= {name: values[f"G/{name}/ExponentialMovingAverage"] for name in ("image/kernel", "image/bias")}
    hidden = np.maximum(z @ ema["hidden/kernel"] + ema["hidden/bias"], 0)
    wanted = np.tanh(hidden @ ema["image/kernel"] + ema["image/bias"])
    np.testing.assert_allclose(graph.predict({"z": z})["sample"], wanted, rtol=1e-5, atol=1e-6)


def test_the_checkpoint_has_the_variables_of_both_sides_and_its_graph_those_of_serving(gan: Path) -> None:
    prefix = gan / "checkpoints" / "step-00000006" / "model"
    assert {name.split("/")[0] for name in names_in(prefix)} == {"G", "D"}
    meta = read_frozen(prefix.with_suffix(".meta"))
    assert [*meta.metadata["inputs"]] == ["z"]
    assert not [node.name for node in meta.graph_def.node if node.name.startswith(("D/", "image", "noise"))]


def test_the_proof_says_which_inputs_are_random(gan: Path) -> None:
    rows = json.loads((gan / "frozen.parity.json").read_text())
    assert [row["name"] for row in rows] == [
        "restored graph, random z",
        "inference meta graph (raw), random z",
        "frozen file, random z",
        "frozen file in an ordinary session, random z",
        "control: raw weights, random z",
    ]
    receipt = json.loads((gan / "frozen.restore.json").read_text())
    assert {item["variable"].split("/")[0] for item in receipt["variables"]} == {"G"}
    with np.load(gan / "frozen.example.npz") as example:
        assert {name: array.shape for name, array in example.items()} == {"z": (1, 3)}


def test_an_auxiliary_head_is_trained_evaluated_and_not_frozen(tmp_path: Path) -> None:
    arrays = examples()
    arrays["hint"] = arrays["x"][:, :2]
    losses = {
        "main": {"kind": "mean_squared_error", "output": "decoded", "labels": "x"},
        "aux": {"kind": "sparse_softmax_cross_entropy", "output": "class"},
    }
    metrics = {"accuracy": {"kind": "accuracy", "output": "class"}}
    train = {"losses": losses, "metrics": metrics, "evaluation_batch_size": 7}
    config = config_of(
        tmp_path / "data",
        arrays,
        network=AUTOENCODER,
        train=train,
        data={"preprocess": {"x": [{"kind": "standardize"}], "hint": [{"kind": "standardize"}]}},
    )
    result = run(config, tmp_path / "run")
    assert {"test/loss/aux", "test/accuracy/ema"} <= set(result.test)
    assert result.frozen is not None
    operations = frozen_operations(result.frozen.path)
    assert not [name for name in operations if name.startswith(("hint", "joined", "classes", "class"))]
    outputs = read_frozen(result.frozen.path).predict({"x": arrays["x"][:3]})
    assert {name: array.shape for name, array in outputs.items()} == {"features": (3, 2), "decoded": (3, 4)}
    kept = names_in(result.checkpoint)
    assert "classes/kernel" in kept
    assert "classes/kernel" not in operations
    assert (tmp_path / "run" / "plots" / "network.svg").exists() == config.tracking.plots


def test_a_network_of_training_alone_trains_and_cannot_be_frozen(tmp_path: Path) -> None:
    network = {**GAN, "inputs": {"image": GAN["inputs"]["image"]}}
    network["layers"] = {name: layer for name, layer in GAN["layers"].items() if name != "drawn"}
    network["outputs"] = {name: item for name, item in GAN["outputs"].items() if name != "sample"}
    arrays = {"image": examples()["x"]}
    config = config_of(tmp_path / "data", arrays, network=network, train=TRAIN, export={"enabled": False})
    assert run(config, tmp_path / "run").frozen is None
    from expkit.experiment import freeze

    with pytest.raises(ExpkitError) as caught:
        freeze(opened(tmp_path / "run"))
    assert str(caught.value) == (
        "network.outputs: all outputs are for training only, so there is nothing to freeze; train a network that has "
        "an output of use: always"
    )


SIAMESE: dict[str, Any] = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "code": {"kind": "dense", "units": 3},
        "deep": {"kind": "dense", "units": 3, "activation": "relu"},
        "kept": {"kind": "drop_path", "rate": 0.3},
        "out": {"kind": "add", "input": ["code", "kept"]},
        "alike": {"kind": "similarity", "function": "euclidean"},
        "spread": {"kind": "reduce", "function": "mean", "axis": 1},
    },
    "outputs": {"logits": "out", "pairs": {"layer": "alike", "use": "training"}, "far": "spread"},
}
"""Examples that are compared with each other in training."""


def test_a_batch_is_compared_in_training_alone(tmp_path: Path) -> None:
    with pytest.raises(ExpkitError) as caught:
        spec_of(SIAMESE)
    assert str(caught.value) == (
        "network.outputs.far: the frozen graph has 'far', which depends on 'alike', and kind 'similarity' compares the "
        "examples of a batch: alike -> spread -> far; only training can have that: give the output use: training"
    )
    network = {**SIAMESE, "outputs": {**SIAMESE["outputs"], "far": {"layer": "spread", "use": "training"}}}
    losses = {
        "main": {"kind": "sparse_softmax_cross_entropy"},
        "far": {"kind": "value", "output": "far", "weight": 0.1},
    }
    train = {"losses": losses, "evaluation_batch_size": 4, "steps": 5}
    result = run(config_of(tmp_path / "data", network=network, train=train), tmp_path / "run")
    assert result.frozen is not None
    assert not [name for name in frozen_operations(result.frozen.path) if name.startswith(("alike", "spread", "pairs"))]


@pytest.mark.parametrize("steps", [1, 4])
def test_a_network_of_both_sides_resumes_bit_for_bit(tmp_path: Path, gan: Path, steps: int) -> None:
    for end in (3, 6):
        train = {**TRAIN, "steps": end, "steps_per_execution": steps}
        result = run(
            config_of(tmp_path / "data", {"image": examples()["x"]}, network=GAN, train=train), tmp_path / "run"
        )
    unbroken = checkpoint_values(gan / "checkpoints" / "step-00000006" / "model")
    resumed = checkpoint_values(result.checkpoint)
    assert unbroken.keys() == resumed.keys()
    for name, value in unbroken.items():
        np.testing.assert_array_equal(value, resumed[name], name)


TEACHER: dict[str, Any] = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "noise": {"kind": "random", "batch_of": "x"},
        "noisy": {"kind": "add", "input": ["x", "noise"]},
        "student": {"kind": "scope", "layers": {"inner": {"kind": "dense", "units": 3}}},
        "teacher": {"kind": "ema_of", "of": "student", "input": "x"},
    },
    "outputs": {"logits": {"layer": "student", "use": "training"}, "served": {"layer": "teacher", "use": "serving"}},
}
"""A student that is trained, and its average that is frozen."""


def test_the_average_of_what_is_trained_can_be_served_alone(tmp_path: Path) -> None:
    result = run(config_of(tmp_path / "data", network=TEACHER), tmp_path / "run")
    assert result.frozen is not None
    values, x = checkpoint_values(result.checkpoint), examples()["x"][:3]
    kernel, bias = (values[f"student/inner/{name}/ExponentialMovingAverage"] for name in ("kernel", "bias"))
    np.testing.assert_allclose(
        read_frozen(result.frozen.path).predict({"x": x})["served"], x @ kernel + bias, rtol=1e-5, atol=1e-6
    )
    assert not [name for name in frozen_operations(result.frozen.path) if name.startswith(("noise", "noisy", "logits"))]


def test_random_inputs_that_cannot_be_computed_are_reported_before_training(tmp_path: Path) -> None:
    network = {
        "inputs": {"x": {"shape": [4]}, "ids": {"shape": [2], "dtype": "int32", "use": "serving"}},
        "layers": {
            "logits": {"kind": "dense", "units": 3, "input": "x"},
            "found": {"kind": "embedding", "input": "ids", "input_dim": 1, "output_dim": 3, "trainable": False},
        },
        "outputs": {"logits": "logits", "found": {"layer": "found", "use": "serving"}},
    }
    with pytest.raises(ExpkitError) as caught:
        run(config_of(tmp_path / "data", network=network), tmp_path / "run")
    message = "export: TensorFlow cannot compute the outputs of the test data, random ids: indices[0,0] = 1 is not in"
    assert str(caught.value).startswith(message)
    assert not [*(tmp_path / "run").rglob("frozen.*")]
