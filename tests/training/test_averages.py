"""Scopes connected again with their averages: what is read, when, and that no gradient passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.errors import ConfigError
from expkit.experiment import freeze
from expkit.network.names import ema_name
from expkit.preflight import check
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.sessions import Evaluator, Executor
from support.experiments import Values, assert_same, checkpoint_values, config_of, loaded, opened, run
from support.trainings import train

LINEAR = {
    "inputs": {"x": {"shape": [3]}, "other": {"shape": [3]}},
    "layers": {
        "student": {
            "kind": "scope",
            "input": "x",
            "layers": {"inner": {"kind": "dense", "units": 2}},
        },
        "teacher": {"kind": "ema_of", "of": "student", "input": "other"},
        "gap": {"kind": "subtract", "input": ["student", "teacher"]},
        "squared": {"kind": "math", "function": "square"},
    },
    "outputs": {"student": "student", "consistency": "squared", "teacher": "teacher"},
}
LOSSES = {
    "labels": {"kind": "mean_squared_error", "output": "student", "labels": "y"},
    "consistency": {"kind": "value", "output": "consistency", "weight": 0.5},
}
EMA = {"decay": 0.7, "num_updates": False}


def arrays(count: int = 60) -> Values:
    draw = np.random.default_rng(3)
    fields = {"x": (count, 3), "other": (count, 3), "y": (count, 2)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in fields.items()}


def linear(folder: Path, **sections: Any) -> Config:
    clock = {"steps": 5, "batch_size": 40, "losses": LOSSES, "metrics": {}, **sections.pop("train", {})}
    return config_of(folder, arrays(), **{"network": LINEAR, "train": clock, "ema": EMA, **sections})


def initial(config: Config) -> Values:
    checked, data = loaded(config)
    with Executor(train_graph(checked, data)) as executor:
        executor.initialize()
        return executor.values(["student/inner/kernel", "student/inner/bias", ema_name("student/inner/kernel")])


def test_the_average_is_read_as_the_step_before_left_it_and_passes_no_gradient(tmp_path: Path) -> None:
    config = linear(tmp_path)
    start = initial(config)
    found = train(config, tmp_path / "run").values
    w, b = (start[f"student/inner/{name}"].astype(np.float64) for name in ("kernel", "bias"))
    np.testing.assert_array_equal(start[ema_name("student/inner/kernel")], start["student/inner/kernel"])
    mean_w, mean_b = w, b
    x, other, y = (values[:40].astype(np.float64) for values in arrays().values())
    for _ in range(5):
        student, teacher = x @ w + b, other @ mean_w + mean_b
        slope = (2 * (student - y) + 2 * 0.5 * (student - teacher)) / student.size
        w, b = w - 0.1 * x.T @ slope, b - 0.1 * slope.sum(axis=0)
        mean_w, mean_b = 0.7 * mean_w + 0.3 * w, 0.7 * mean_b + 0.3 * b
    expected = {"kernel": w, "bias": b, ema_name("kernel"): mean_w, ema_name("bias"): mean_b}
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"student/inner/{name}"], value, rtol=2e-6, atol=1e-6, err_msg=name)


def test_evaluation_reads_the_average_in_both_weights(tmp_path: Path) -> None:
    config = linear(tmp_path)
    checked, data = loaded(config)
    draw = np.random.default_rng(0)
    values = {name: draw.normal(size=shape) for name, shape in (("kernel", (3, 2)), ("bias", (2,)))}
    values |= {ema_name(name): value + 1 for name, value in values.items()}
    with Evaluator(evaluate_graph(checked, data), config) as evaluator:
        evaluator.load({f"student/inner/{name}": value.astype(np.float32) for name, value in values.items()})
        outputs = evaluator.outputs(data.splits["test"])
    x, other = data.splits["test"]["x"], data.splits["test"]["other"]
    average = values[ema_name("kernel")], values[ema_name("bias")]
    for weights, (kernel, bias) in {"raw": (values["kernel"], values["bias"]), "ema": average}.items():
        np.testing.assert_allclose(outputs[weights]["student"], x @ kernel + bias, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(outputs[weights]["teacher"], other @ average[0] + average[1], rtol=1e-5, atol=1e-5)


DEEP = {
    "inputs": {"x": {"shape": [6, 6, 1]}},
    "blocks": {"layer": {"layers": {"conv": {"kind": "conv2d", "filters": 3, "kernel_size": 3, "use_bias": False}}}},
    "layers": {
        "student": {
            "kind": "scope",
            "layers": {
                "conv": {"kind": "block", "block": "layer", "repeat": 2},
                "norm": {"kind": "batch_norm", "momentum": 0.9},
                "flat": {"kind": "flatten"},
                "drop": {"kind": "dropout", "rate": 0.4},
                "logits": {"kind": "dense", "units": 3},
            },
        },
        "teacher": {"kind": "ema_of", "of": "student", "training": True},
        "calm": {"kind": "ema_of", "of": "student"},
        "gap": {"kind": "subtract", "input": ["student", "teacher"]},
        "squared": {"kind": "math", "function": "square"},
    },
    "outputs": {"logits": "student", "consistency": "squared", "teacher": "teacher", "calm": "calm"},
}


def deep(folder: Path, **sections: Any) -> Config:
    """Return an experiment with all that has a memory, whose teacher uses statistics and dropout of its own."""
    losses = {"main": {"kind": "sparse_softmax_cross_entropy"}, "consistency": LOSSES["consistency"]}
    clock = {"steps": 8, "save_every_steps": 4, "keep_last": 9, "losses": losses, **sections.pop("train", {})}
    optimizer = {"kind": "adam", "learning_rate": 0.01}
    return config_of(folder, **{"network": DEEP, "optimizer": optimizer, "train": clock, "ema": EMA, **sections})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Values:
    folder = tmp_path_factory.mktemp("deep")
    return train(deep(folder, train={"steps_per_execution": 1}), folder / "run").values


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"steps_per_execution": 8}},
        {"train": {"steps_per_execution": 8, "batch_size": 4, "gradient_accumulation_steps": 2}},
        {"data": {"placement": "streamed"}},
    ],
    ids=["overlapped", "accumulated", "streamed"],
)
def test_a_resumed_run_is_the_unbroken_one_however_steps_are_run(
    sections: dict[str, Any], trained: Values, tmp_path: Path
) -> None:
    half = deep(tmp_path, **{**sections, "train": {**sections.get("train", {}), "steps": 4}})
    train(half, tmp_path / "run")
    resumed = train(deep(tmp_path, **sections), tmp_path / "run").values
    accumulates = "gradient_accumulation_steps" in sections.get("train", {})
    expected = train(deep(tmp_path, **sections), tmp_path / "unbroken").values if accumulates else trained
    assert_same(resumed, expected)


@pytest.mark.parametrize(
    "execution",
    [Execution(4, jit_compile=True), Execution(4, jit_compile="update"), Execution(4, parallelism="inter_op")],
    ids=str,
)
def test_no_execution_mode_changes_the_numbers(execution: Execution, trained: Values, tmp_path: Path) -> None:
    checked, data = loaded(deep(tmp_path))
    with Executor(train_graph(checked, data, execution)) as executor:
        executor.initialize()
        executor.run(8)
        found = executor.values(list(trained))
    for name, value in trained.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=2e-4, err_msg=name)


def test_a_frozen_graph_holds_the_averages_by_their_names(tmp_path: Path) -> None:
    result = run(deep(tmp_path, export={"weights": "ema"}), tmp_path / "run")
    raw = freeze(opened(tmp_path / "run"), weights="raw", path=tmp_path / "raw.pb")
    stored = checkpoint_values(result.checkpoint)
    assert result.frozen is not None
    for frozen, end in ((result.frozen, ema_name("")), (raw, "")):
        assert all(item.allowed is None or item.maximum <= item.allowed for item in frozen.parity)
        nodes = tf.GraphDef.FromString(frozen.path.read_bytes()).node
        constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in nodes if node.op == "Const"}
        name = "student/logits/kernel"
        np.testing.assert_array_equal(constants[ema_name(name)], stored[ema_name(name)])
        np.testing.assert_array_equal(constants[name], stored[f"{name}{end}"])
        receipt = json.loads(frozen.path.with_suffix(".restore.json").read_text())
        assert ema_name(name) in [row["variable"] for row in receipt["variables"]]


def test_a_restore_of_raw_weights_alone_starts_the_average_as_a_copy(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    weights = {"student/inner/kernel": (3, 2), "student/inner/bias": (2,)}
    values = {name: draw.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    np.savez(tmp_path / "weights.npz", **values)
    config = linear(tmp_path, train={"steps": 0}, restore={"from": str(tmp_path / "weights.npz")})
    stored = checkpoint_values(run(config, tmp_path / "run").checkpoint)
    for name, value in values.items():
        np.testing.assert_array_equal(stored[name], value)
        np.testing.assert_array_equal(stored[ema_name(name)], value)


def test_what_only_the_average_reads_gets_no_gradient(tmp_path: Path) -> None:
    layers = {"stem": {"kind": "dense", "input": "other", "units": 3}, **LINEAR["layers"]}
    layers["teacher"] = {**layers["teacher"], "input": "stem"}
    with pytest.raises(ConfigError) as caught:
        run(linear(tmp_path, network={**LINEAR, "layers": layers}), tmp_path / "run")
    assert "stem/kernel" in str(caught.value)


@pytest.mark.parametrize(
    ("ema", "said"),
    [
        ({"enabled": False}, "ema.enabled is false; set it to true"),
        ({"variables": ".*/bias"}, "ema.variables does not match it: '.*/bias'; extend it"),
    ],
)
def test_a_scope_that_is_not_averaged_is_refused_by_the_check(ema: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(linear(tmp_path, ema={**EMA, **ema}))
    more = "" if "variables" in ema else " (and 1 more)"
    assert str(caught.value) == (
        f"network.layers.teacher.of: variable 'student/inner/kernel'{more} inside has no average: {said}"
    )


def test_a_scope_of_which_nothing_is_trained_has_no_averages(tmp_path: Path) -> None:
    layers = LINEAR["layers"] | {"student": {**LINEAR["layers"]["student"], "trainable": False}}
    layers["head"] = {"kind": "dense", "input": "x", "units": 2}
    with pytest.raises(ConfigError, match="nothing inside is trained, so it has no averages"):
        check(linear(tmp_path, network={**LINEAR, "layers": layers}))
