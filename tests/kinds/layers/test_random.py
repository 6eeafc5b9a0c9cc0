"""Random numbers as a layer: their distributions, and what alone they depend on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import kstest

from expkit import tf1 as tf
from expkit.kinds.layers.random import Random
from expkit.network.build import TrainingCall, connect
from support.experiments import config_of, examples, run
from support.networks import plain_and_compiled, problems_of, spec_of

COUNT = 4000
KINDS: dict[str, dict[str, Any]] = {
    "normal": {"mean": 3.3, "stddev": 0.7},
    "uniform": {"minimum": -1.7, "maximum": 0.4},
    "bernoulli": {"distribution": "bernoulli", "probability": 0.3},
    "categorical": {"distribution": "categorical", "probabilities": [0.1, 0.0, 0.6, 0.3]},
    "classes": {"distribution": "categorical", "classes": 5},
}


def drawn(fields: dict[str, Any], seed: int = 0, step: int | None = 0, count: int = COUNT) -> tuple[Any, Any]:
    """Return numbers of two layers for so many examples, after comparing them with those that XLA computes."""
    layer = {"kind": "random", "batch_of": "x", **fields}
    spec = spec_of({"inputs": {"x": {"shape": [3]}}, "layers": {"a": layer, "b": layer}, "outputs": {"out": "a"}})

    def connected(x: Any, at: Any) -> Any:
        call = None if step is None else TrainingCall(seed, at)
        tensors = connect(spec, {}, {"x": x}, training=call, seed=seed).tensors
        return tensors["a"], tensors["b"]

    plain, compiled = plain_and_compiled(connected, np.zeros((count, 3), np.float32), np.int64(step or 0))
    np.testing.assert_array_equal(plain, compiled)
    return plain


def fields_of(name: str) -> dict[str, Any]:
    return {"distribution": name, **KINDS[name]}


@pytest.mark.parametrize("name", KINDS)
def test_random_numbers_have_their_distribution_in_training_and_outside(name: str) -> None:
    for step in (5, None):
        numbers, _ = drawn(fields_of(name), 3, step)
        size = numbers.size
        if name in ("normal", "uniform"):
            law = ("norm", (3.3, 0.7)) if name == "normal" else ("uniform", (-1.7, 2.1))
            assert numbers.dtype == np.float32
            assert kstest(numbers.ravel().astype(np.float64), law[0], law[1]).statistic < 1.95 / math.sqrt(size)
            continue
        wanted = {"bernoulli": [0.7, 0.3], "categorical": [0.1, 0.0, 0.6, 0.3], "classes": [0.2] * 5}[name]
        assert numbers.dtype == (np.float32 if name == "bernoulli" else np.int64)
        found = np.bincount(numbers.astype(int).ravel(), minlength=len(wanted)) / size
        np.testing.assert_allclose(found, wanted, atol=4 * math.sqrt(0.25 / size))
        assert found[np.array(wanted) == 0].sum() == 0


@pytest.mark.parametrize("name", KINDS)
def test_random_numbers_are_a_function_of_seed_step_example_and_layer(name: str) -> None:
    first, other = drawn(fields_of(name), 3, 7)
    few, _ = drawn(fields_of(name), 3, 7, count=20)
    np.testing.assert_array_equal(few, first[:20], "those of an example do not depend on the others")
    for numbers in (other, drawn(fields_of(name), 3, 8)[0], drawn(fields_of(name), 4, 7)[0], first[::-1]):
        assert abs(np.corrcoef(first.ravel(), numbers.ravel())[0, 1]) < 5 / math.sqrt(first.size)
    outside = drawn(fields_of(name), 3, None)[0]
    np.testing.assert_array_equal(outside, drawn(fields_of(name), 3, 0)[0], "outside training the step is 0")


MEANS = {"normal": 3.3, "uniform": -0.65, "bernoulli": 0.3, "categorical": 2, "classes": 0}


@pytest.mark.parametrize("name", KINDS)
def test_when_training_gives_the_mean_outside_and_the_same_numbers_in_training(name: str) -> None:
    fields = {**fields_of(name), "when": "training"}
    np.testing.assert_array_equal(drawn(fields, 3, 7), drawn(fields_of(name), 3, 7))
    numbers, _ = drawn(fields, 3, None)
    np.testing.assert_allclose(numbers, np.full((COUNT, 3), MEANS[name]), rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "shape", "dtype"),
    [
        ({}, (7, 3), "float32"),
        ({"shape": []}, (7,), "float32"),
        ({"shape": [2, 5], "dtype": "float16"}, (7, 2, 5), "float16"),
        ({"distribution": "uniform", "dtype": "float64"}, (7, 3), "float64"),
        ({"distribution": "categorical", "classes": 1, "shape": [], "dtype": "int32"}, (7,), "int32"),
        ({"stddev": 0.0, "mean": 2.0, "shape": [1]}, (7, 1), "float32"),
    ],
)
def test_shape_and_dtype_are_those_requested(fields: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
    numbers, _ = drawn(fields, count=7)
    assert (numbers.shape, numbers.dtype.name) == (shape, dtype)
    assert "stddev" not in fields or (numbers == 2).all()


def test_by_default_the_shape_is_that_of_batch_of_where_its_size_is_not_known_too() -> None:
    spec = spec_of(
        {
            "inputs": {"x": {"shape": [None, 2]}},
            "layers": {
                "a": {"kind": "random", "batch_of": "x"},
                "n": {"kind": "random", "batch_of": "x", "when": "training"},
            },
            "outputs": {"out": "a"},
        }
    )
    assert str(spec.tensors["a"]) == "[batch, ?, 2] float32"
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, (None, None, 2))
        tensors = connect(spec, {}, {"x": x}).tensors
        a, n = session.run([tensors["a"], tensors["n"]], {x: np.zeros((3, 5, 2))})
    assert a.shape == n.shape == (3, 5, 2)
    assert not n.any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"distribution": "uniform", "stddev": 2.0},
            "'stddev' is not of distribution 'uniform', which has minimum and maximum; leave it out, or give another",
        ),
        ({"distribution": "uniform", "minimum": 1.0}, "minimum 1 is not below maximum 1; exchange them"),
        ({"stddev": -1.0}, "stddev"),
        ({"distribution": "bernoulli", "probability": 1.5}, "probability"),
        ({"distribution": "categorical"}, "categorical needs either 'classes', how many there are, or 'probabilities'"),
        (
            {"distribution": "categorical", "classes": 2, "probabilities": (0.5, 0.5)},
            "categorical needs either 'classes', how many there are, or 'probabilities'",
        ),
        (
            {"distribution": "categorical", "probabilities": (0.5, 0.4)},
            "'probabilities' must be at least 0 and add up to 1, not to 0.9",
        ),
        ({"distribution": "categorical", "probabilities": (1.5, -0.5)}, "'probabilities' must be at least 0"),
        ({"dtype": "int32"}, "normal has dtype float32 or float64 or float16 or bfloat16, not int32; use kind 'cast'"),
        ({"distribution": "categorical", "classes": 3, "dtype": "float32"}, "categorical has dtype int32 or int64"),
        ({"mean": 1e300}, "'mean' is 1e+300, which float32 cannot hold"),
        ({"stddev": 1e6, "dtype": "float16"}, "'stddev' is 1e+06, which float16 cannot hold"),
    ],
)
def test_wrong_fields_are_reported(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Random(batch_of="x", **fields)
    assert message in str(caught.value)


def test_a_batch_is_needed() -> None:
    layers = {"a": {"kind": "random", "batch_of": "y"}}
    assert problems_of({"inputs": {"x": {"shape": []}}, "layers": layers, "outputs": {"out": "a"}}) == [
        "network.layers.a.batch_of: no layer or input 'y'; allowed: x, a"
    ]


def test_the_frozen_graph_draws_the_numbers_of_the_evaluation_in_batches_of_any_size(tmp_path: Path) -> None:
    network = {
        "inputs": {"x": {"shape": [4]}},
        "layers": {
            "noise": {"kind": "random", "batch_of": "x"},
            "sum": {"kind": "add", "input": ["x", "noise"]},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    train = {"evaluation_batch_size": 3, "steps": 2}
    for seed in (1, 2):
        config = config_of(tmp_path / "data", examples(), network=network, train=train, run={"seed": seed})
        assert run(config, tmp_path / f"run{seed}").frozen is not None, "freezing ends with a proof of equality"
