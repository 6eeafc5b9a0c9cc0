"""Constants and variables as layers, tensors without a batch, inputs of every dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from expkit import tf1 as tf
from expkit.export.freeze import read_frozen
from expkit.kinds.layers.constants import Constant
from expkit.network.build import TrainingCall, connect, create_variables, placeholders
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import DType, accepts
from support.experiments import config_of as experiment
from support.experiments import run
from support.networks import problems_of, spec_of


def outputs(spec: NetworkSpec, training: bool = False, **fed: Any) -> dict[str, np.ndarray]:
    """Return all tensors and ``out`` for given inputs, all variables at their initial values."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = {name: tf.constant(value) for name, value in fed.items()} if training else placeholders(spec)
        call = TrainingCall(0, tf.constant(0, tf.int64)) if training else None
        connection = connect(spec, create_variables(spec, 0), inputs, training=call)
        session.run(tf.global_variables_initializer())
        feed = {} if training else {inputs[name]: value for name, value in fed.items()}
        return dict(session.run({**connection.tensors, **connection.outputs}, feed))


@pytest.mark.parametrize("training", [False, True])
def test_values_broadcast_over_the_batch_or_are_repeated_for_it(training: bool) -> None:
    spec = spec_of("""
        layers:
          shift: {kind: constant, value: [1, 2, 3, 4]}
          scale: {kind: variable, shape: [4], initializer: {value: {kind: constant, value: 3.0}}}
          scaled: {kind: multiply, input: [x, scale]}
          shifted: {kind: add, input: [shift, scaled]}
          token: {kind: constant, value: 7.0, shape: [2], batch_of: x}
          joined: {kind: concat, input: [token, shifted]}
          both: {kind: add, input: [shift, scale]}
          wide: {kind: dense, units: 2, use_bias: false, initializer: {kernel: {kind: ones}}}
          out: {kind: add, input: [wide, token]}
    """)
    assert {path: str(item) for path, item in spec.tensors.items()} == {
        "x": "[batch, 4] float32",
        "shift": "[1, 4] float32",
        "scale": "[1, 4] float32",
        "scaled": "[batch, 4] float32",
        "shifted": "[batch, 4] float32",
        "token": "[batch, 2] float32",
        "joined": "[batch, 6] float32",
        "both": "[1, 4] float32",
        "wide": "[1, 2] float32",
        "out": "[batch, 2] float32",
    }
    x = np.array([[1, 1, 1, 1], [0, 0, 0, 2]], np.float32)
    got = outputs(spec, training, x=x)
    np.testing.assert_array_equal(got["joined"], [[7, 7, 4, 5, 6, 7], [7, 7, 1, 2, 3, 10]])
    np.testing.assert_array_equal(got["both"], [[4, 5, 6, 7]])
    np.testing.assert_array_equal(got["out"], [[29, 29], [29, 29]])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"value": 1.5}, np.array([1.5], np.float32)),
        ({"value": [[1, 2], [3, 4]], "dtype": "int64"}, np.array([[[1, 2], [3, 4]]])),
        ({"value": [True, False], "dtype": "bool"}, np.array([[True, False]])),
        ({"value": 2, "shape": [2, 1], "dtype": "uint8"}, np.array([[[2], [2]]], np.uint8)),
        ({"value": 2.0, "dtype": "int32"}, np.array([2], np.int32)),
        ({"value": [0.5, 1], "dtype": "float16"}, np.array([[0.5, 1]], np.float16)),
    ],
)
def test_a_constant_has_the_value_shape_and_dtype_of_its_fields(fields: dict[str, Any], expected: np.ndarray) -> None:
    spec = spec_of({"layers": {"c": {"kind": "constant", **fields}, "d": {"kind": "flatten", "input": "x"}}})
    got = outputs(spec, x=np.zeros((3, 4), np.float32))["c"]
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype == spec.tensors["c"].dtype


def test_a_variable_is_named_by_scope_and_layer_and_trains_where_it_is_float32() -> None:
    spec = spec_of("""
        layers:
          s:
            kind: scope
            layers:
              a: {kind: variable, shape: [2]}
              b: {kind: variable, shape: [], scope: "", variables: {value: count}, dtype: int64}
              c: {kind: variable, shape: [2], dtype: float64, initializer: {value: {kind: random_normal}}}
              d: {kind: flatten, input: x}
    """)
    assert {name: (item.shape, item.dtype, item.trainable) for name, item in spec.variables.items()} == {
        "s/a/value": ((2,), "float32", True),
        "s/count": ((), "int64", False),
        "s/c/value": ((2,), "float64", False),
    }
    got = outputs(spec, x=np.zeros((3, 4), np.float32))
    assert got["s/b"].tolist() == [0]
    assert got["s/c"].dtype == np.float64
    assert got["s/c"].shape == (1, 2)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            "layers: {c: {kind: constant, value: [1, 2]}, d: {kind: concat, input: [x, c]}}",
            [
                "network.layers.d.input: 'c' is the same for every example, and kind 'concat' reads it beside others; "
                "give its layer batch_of, which repeats it for every example of another"
            ],
            id="a batch of one beside others",
        ),
        pytest.param(
            "layers: {c: {kind: constant, value: [1, 2]}, v: {kind: variable, shape: [2], batch_of: c}, "
            "d: {kind: add, input: [v, x]}}",
            [
                "network.layers.d: add needs inputs of one shape, or of size 1 where they differ, got [1, 2] float32 "
                "and [batch, 4] float32; 'd' reads 'v' [1, 2] float32, 'x' [batch, 4] float32"
            ],
            id="the batch of a batch of one, told by shapes",
        ),
        pytest.param(
            "layers: {c: {kind: constant, value: 1}, v: {kind: variable, shape: [2], batch_of: y}}",
            ["network.layers.v.batch_of: no layer or input 'y'; allowed: x, c, v"],
            id="no such batch",
        ),
        pytest.param(
            "layers: {c: {kind: constant, value: 1, input: x}}",
            ["network.layers.c.input: kind 'constant' needs no input, got 1 (x)"],
            id="an input",
        ),
        pytest.param(
            "layers: {c: {kind: constant, value: 1}, d: {kind: flatten}}",
            [
                "network.outputs.out: 'd' is the same for every example; give its layer batch_of, "
                "or make another the output"
            ],
            id="an output that no example changes",
        ),
        pytest.param(
            "{rules: {r: {variables: v/.*, initializer: {kind: constant, value: 300.0}}}, "
            "layers: {v: {kind: variable, shape: [2], dtype: uint8}, "
            "w: {kind: variable, shape: [2], dtype: int32, initializer: {value: {kind: he_normal}}}}}",
            [
                "network.layers.v.initializer.value: the initializer does not fit variable 'v/value': uint8 "
                "cannot hold 300",
                "network.layers.w.initializer.value: the initializer does not fit variable 'w/value': kind "
                "'he_normal' gives fractional values, which int32 cannot hold; allowed: zeros, ones, constant",
            ],
            id="initial values that the dtype does not hold",
        ),
    ],
)
def test_mistakes_with_values_are_reported(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"value": 1.5, "dtype": "int32"},
            "'value' has 1.5, but dtype is int32; give another dtype or value",
        ),
        (
            {"value": (1, 256), "dtype": "uint8"},
            "'value' has 256, but dtype is uint8; give another dtype or value",
        ),
        ({"value": 2, "dtype": "bool"}, "'value' has 2, but dtype is bool; give another dtype or value"),
        ({"value": True}, "'value' has True, but dtype is float32; give another dtype or value"),
        ({"value": 1e39}, "'value' has 1e+39, but dtype is float32; give another dtype or value"),
        ({"value": ([1, 2], [3])}, "'value' has lists of different lengths at one depth; make them equal"),
        ({"value": ()}, "'value' needs numbers, or true and false, everywhere"),
        ({"value": ("a",)}, "'value' needs numbers, or true and false, everywhere"),
        ({"value": (1, 2), "shape": (2,)}, "'shape' is for one number, but 'value' has shape [2]; leave one out"),
    ],
)
def test_an_invalid_constant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Constant(**fields)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


def test_which_arrays_a_dtype_accepts() -> None:
    numbers = ("bool", "uint8", "int32", "int64", "float32", "float64")
    accepted = {dtype: [name for name in numbers if accepts(dtype, np.dtype(name))] for dtype in get_args(DType)}
    assert accepted == {
        "float32": list(numbers),
        "float64": list(numbers),
        "float16": list(numbers),
        "bfloat16": list(numbers),
        "int32": ["bool", "uint8", "int32", "int64"],
        "int64": ["bool", "uint8", "int32", "int64"],
        "uint8": ["bool", "uint8"],
        "bool": ["bool"],
    }


def test_inputs_of_every_dtype_train_freeze_and_predict(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    names = get_args(DType)
    stored = {"float16": np.float16, "bfloat16": np.float32}
    arrays = {name: draw.integers(0, 2, (60, 2)).astype(stored.get(name, name)) for name in names}
    network = {
        "inputs": {name: {"shape": [2], "dtype": name} for name in names},
        "layers": {
            **{f"{name}_2": {"kind": "reshape", "input": name, "shape": [2, 1]} for name in names},
            "logits": {"kind": "dense", "input": "float32", "units": 3},
        },
        "outputs": {"logits": "logits", **{f"{name}_out": f"{name}_2" for name in names}},
    }
    arrays["label"] = draw.integers(0, 3, 60)
    train = {
        "losses": {"main": {"kind": "sparse_softmax_cross_entropy", "output": "logits"}},
        "metrics": {"accuracy": {"kind": "accuracy", "output": "logits"}},
    }
    config = experiment(tmp_path, arrays, network=network, train=train)
    result = run(config, tmp_path / "run")
    assert result.frozen is not None
    frozen = read_frozen(result.frozen.path)
    predicted = frozen.predict({name: arrays[name][:4] for name in names})
    for name in names:
        got = predicted[f"{name}_out"]
        assert got.dtype.name == name
        np.testing.assert_array_equal(got.astype(np.float64)[:, :, 0], arrays[name][:4].astype(np.float64))
