"""The graphs per mode: what a step does in which order, what evaluation reads, what inference holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.data.dataset import load_dataset
from expkit.errors import ConfigError
from expkit.kinds.preprocess.numbers import Standardize
from expkit.network.names import ema_name
from expkit.preflight import named
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import Predictor, infer_graph
from expkit.training.sessions import Evaluator, Executor
from support.experiments import CNN, MLP, config_of, examples, loaded, numpy_cross_entropy, numpy_mlp


def stepped(folder: Path, steps: int = 1, **sections: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return values before and after steps over all training examples at once, and the steps' statistics."""
    train = {"batch_size": 40, **sections.pop("train", {})}
    config = config_of(folder, train=train, **sections)
    checked, data = loaded(config)
    built = train_graph(checked, data)
    with Executor(built) as executor:
        executor.initialize()
        before = executor.values(built.variables)
        sums = executor.run(steps)
        return before, executor.values(built.variables), sums


def test_every_graph_is_finalized(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    checked, data = loaded(config)
    spec = checked.spec
    for built in (train_graph(checked, data), evaluate_graph(checked, data), infer_graph(spec, {})):
        with built.graph.as_default(), pytest.raises(RuntimeError, match="Graph is finalized and cannot be modified"):
            tf.constant(0)


def test_the_loss_is_the_mean_cross_entropy_plus_the_regularizers(tmp_path: Path) -> None:
    rules = {
        "l2": {"variables": ".*/kernel", "regularizer": {"l2": 0.3}},
        "l1": {"variables": "logits/bias", "regularizer": {"l1": 0.2}},
    }
    layers = {**MLP["layers"], "logits": {**MLP["layers"]["logits"], "initializer": {"bias": {"kind": "ones"}}}}
    before, _, sums = stepped(tmp_path, network={**MLP, "rules": rules, "layers": layers})
    data = examples()
    entropy = numpy_cross_entropy(numpy_mlp(data["x"][:40], before), data["label"][:40]).mean()
    penalty = 0.3 * sum((before[f"{name}/kernel"].astype(np.float64) ** 2).sum() for name in ("hidden", "logits"))
    assert sums["loss"]["sum"] / sums["loss"]["count"] == pytest.approx(entropy + penalty + 0.2 * 3, rel=1e-5)


def test_regularizers_pull_the_variables_by_their_gradient(tmp_path: Path) -> None:
    rules = {"l2": {"variables": ".*/kernel", "regularizer": {"l2": 0.5}}}
    before, free, _ = stepped(tmp_path / "free")
    _, pulled, _ = stepped(tmp_path / "pulled", network={**MLP, "rules": rules})
    for name in ("hidden/kernel", "logits/kernel"):
        np.testing.assert_allclose(free[name] - pulled[name], 0.1 * 2 * 0.5 * before[name], rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(free["logits/bias"], pulled["logits/bias"])


def test_the_penalty_of_a_frozen_variable_counts_in_no_loss(tmp_path: Path) -> None:
    rules = {"l2": {"variables": ".*/kernel", "regularizer": {"l2": 0.5}}}
    frozen = {**MLP, "layers": {**MLP["layers"], "hidden": {**MLP["layers"]["hidden"], "trainable": False}}}
    losses = {}
    for name, network in {"free": frozen, "penalized": {**frozen, "rules": rules}}.items():
        before, _, sums = stepped(tmp_path / name, network=network)
        losses[name] = float(sums["loss"]["sum"] / sums["loss"]["count"])
    assert losses["penalized"] - losses["free"] == pytest.approx(0.5 * (before["logits/kernel"] ** 2).sum(), rel=1e-4)


def test_several_losses_are_weighted_into_one_and_reported_each(tmp_path: Path) -> None:
    data = {**examples(), "target": np.eye(3, dtype=np.float32)[examples()["label"]]}
    losses = {
        "entropy": {"kind": "sparse_softmax_cross_entropy", "weight": 0.5},
        "square": {"kind": "mean_squared_error", "labels": "target", "weight": 2.0},
    }
    before, _, sums = stepped(tmp_path, arrays=data, train={"losses": losses})
    means = {name: float(part["sum"] / part["count"]) for name, part in sums.items()}
    logits = numpy_mlp(data["x"][:40], before)
    assert means["loss/entropy"] == pytest.approx(numpy_cross_entropy(logits, data["label"][:40]).mean(), rel=1e-5)
    assert means["loss/square"] == pytest.approx(((logits - data["target"][:40]) ** 2).mean(), rel=1e-5)
    assert means["loss"] == pytest.approx(0.5 * means["loss/entropy"] + 2 * means["loss/square"], rel=1e-6)


def test_several_heads_have_each_its_losses_and_weights(tmp_path: Path) -> None:
    network = {
        "inputs": {"x": {"shape": [4]}},
        "layers": {
            "body": {"kind": "dense", "units": 5},
            "classes": {"kind": "dense", "input": "body", "units": 3},
            "size": {"kind": "dense", "input": "body", "units": 1},
        },
        "outputs": {"which": "classes", "how_much": "size"},
    }
    data = {**examples(), "size": examples()["x"][:, :1]}

    def losses(which: float, how_much: float) -> dict[str, Any]:
        return {
            "which": {"kind": "sparse_softmax_cross_entropy", "output": "which", "weight": which},
            "how_much": {"kind": "mean_squared_error", "output": "how_much", "labels": "size", "weight": how_much},
        }

    train = {"metrics": {"accuracy": {"kind": "accuracy", "output": "which"}}}
    moved = {}
    for weights in ((1.0, 1e-20), (1e-20, 1.0), (2.0, 3.0)):
        sections = {"arrays": data, "network": network, "train": {**train, "losses": losses(*weights)}}
        before, after, _ = stepped(tmp_path / str(weights), **sections)
        moved[weights] = {name: after[name] - before[name] for name in ("body/kernel", "classes/kernel", "size/kernel")}
    first, second, both = moved.values()
    for name, change in both.items():
        np.testing.assert_allclose(change, 2 * first[name] + 3 * second[name], rtol=1e-3, atol=1e-6, err_msg=name)
    assert np.abs(first["body/kernel"]).max() > 1e-3 < np.abs(second["body/kernel"]).max()


def test_moving_statistics_move_once_a_step_by_their_momentum(tmp_path: Path) -> None:
    norm = {
        "inputs": {"x": {"shape": [4]}},
        "layers": {"norm": {"kind": "batch_norm", "momentum": 0.9}, "logits": {"kind": "dense", "units": 3}},
        "outputs": {"logits": "logits"},
    }
    _, after, _ = stepped(tmp_path, steps=2, network=norm)
    x = examples()["x"][:40].astype(np.float64)
    mean, variance = x.mean(axis=0), x.var(axis=0)
    np.testing.assert_allclose(after["norm/moving_mean"], mean * (1 - 0.9**2), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["norm/moving_variance"], variance + 0.9**2 * (1 - variance), rtol=1e-5)


def test_statistics_of_a_shared_batch_norm_move_for_one_tower_after_the_other(tmp_path: Path) -> None:
    def tower(source: str, reuse: bool) -> dict[str, Any]:
        return {"kind": "batch_norm", "input": source, "scope": "norm", "momentum": 0.5, "reuse": reuse}

    twice = {
        "inputs": {"x": {"shape": [4]}, "y": {"shape": [4]}},
        "layers": {
            "left": tower("x", False),
            "right": tower("y", True),
            "joined": {"kind": "add", "input": ["left", "right"]},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    data = {**examples(), "y": examples(seed=1)["x"] + 5}
    _, after, _ = stepped(tmp_path, arrays=data, network=twice)
    expected = 0.5 * (0.5 * data["x"][:40].mean(axis=0)) + 0.5 * data["y"][:40].mean(axis=0)
    np.testing.assert_allclose(after["norm/moving_mean"], expected, rtol=1e-5)


def test_frozen_layers_and_rules_keep_their_variables_while_others_train(tmp_path: Path) -> None:
    layers = {**MLP["layers"], "hidden": {**MLP["layers"]["hidden"], "trainable": False}}
    rules = {"frozen": {"variables": "logits/bias", "trainable": False}}
    before, after, _ = stepped(tmp_path, steps=3, network={**MLP, "layers": layers, "rules": rules})
    for name in ("hidden/kernel", "hidden/bias", "logits/bias"):
        np.testing.assert_array_equal(before[name], after[name])
    assert (before["logits/kernel"] != after["logits/kernel"]).all()


def test_an_embedding_trains_only_the_rows_it_looked_up(tmp_path: Path) -> None:
    network = {
        "inputs": {"x": {"shape": [2], "dtype": "int32"}},
        "layers": {
            "words": {"kind": "embedding", "input_dim": 6, "output_dim": 3},
            "flat": {"kind": "flatten"},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    draw = np.random.default_rng(0)
    data = {"x": draw.integers(0, 4, (60, 2)).astype(np.int32), "label": draw.integers(0, 3, 60)}
    optimizer = {"kind": "adagrad", "learning_rate": 0.1, "global_clipnorm": 1.0}
    before, after, _ = stepped(tmp_path, arrays=data, network=network, optimizer=optimizer)
    moved = (before["words/embeddings"] != after["words/embeddings"]).any(axis=1)
    assert moved.tolist() == [True, True, True, True, False, False]


def test_a_network_without_trained_variables_cannot_be_trained(tmp_path: Path) -> None:
    rules = {"frozen": {"variables": ".*", "trainable": False}}
    with pytest.raises(ConfigError) as caught:
        stepped(tmp_path, network={**MLP, "rules": rules}, ema={"enabled": False})
    assert str(caught.value) == ("network.layers: no variable is trainable; train.steps=0 evaluates without training")


def test_a_variable_no_loss_depends_on_is_named(tmp_path: Path) -> None:
    layers = {**MLP["layers"], "aside": {"kind": "dense", "input": "hidden", "units": 2}}
    message = (
        "train.losses: no loss depends on aside/kernel, aside/bias; set trainable: false on the layers or remove them"
    )
    with pytest.raises(ConfigError) as caught:
        stepped(tmp_path, network={**MLP, "layers": layers})
    assert str(caught.value) == message
    config = config_of(tmp_path, network={**MLP, "layers": layers})
    with pytest.raises(ConfigError) as caught:  # TensorFlow tells it too, of layers whose kind does not know it.
        train_graph(named(config), load_dataset(config, named(config).spec))
    assert str(caught.value) == message


def test_evaluation_reads_raw_and_ema_variables(tmp_path: Path) -> None:
    config = config_of(tmp_path, train={"evaluation_batch_size": 7})
    checked, data = loaded(config)
    spec = checked.spec
    draw = np.random.default_rng(0)
    values = {}
    for name, variable in spec.variables.items():
        values[name] = draw.normal(size=variable.shape).astype(np.float32)
        values[ema_name(name)] = draw.normal(size=variable.shape).astype(np.float32)
    with Evaluator(evaluate_graph(checked, data), config) as evaluator:
        evaluator.load(values)
        metrics = evaluator.evaluate(data.splits["valid"], 0)
        outputs = evaluator.outputs(data.splits["valid"])
    x, label = data.splits["valid"]["x"], data.splits["valid"]["label"]
    expected = {}
    for weights, end, suffix in (("raw", "", ""), ("ema", "/ExponentialMovingAverage", "/ema")):
        logits = numpy_mlp(x, values, end)
        np.testing.assert_allclose(outputs[weights]["logits"], logits, rtol=1e-4, atol=1e-5)
        expected[f"loss{suffix}"] = numpy_cross_entropy(logits, label).mean()
        expected[f"accuracy{suffix}"] = (logits.argmax(axis=1) == label).mean()
    assert metrics == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"] != pytest.approx(metrics["loss/ema"], rel=1e-2)


def test_evaluation_without_ema_reports_raw_metrics_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path, ema={"enabled": False})
    checked, data = loaded(config)
    spec = checked.spec
    built = evaluate_graph(checked, data)
    assert (set(built.variables), list(built.outputs)) == (set(spec.variables), ["raw"])


def test_the_inference_graph_holds_placeholders_variables_and_nothing_of_training(tmp_path: Path) -> None:
    config = config_of(tmp_path, network=CNN)
    spec = loaded(config)[0].spec
    built = infer_graph(spec, {})
    operations = {operation.type for operation in built.graph.get_operations()}
    placeholders = [op.name for op in built.graph.get_operations() if op.type == "Placeholder"]
    assert placeholders == ["x"]
    assert set(built.variables) == set(spec.variables)
    assert not {kind for kind in operations if "Gradient" in kind or "Scatter" in kind}
    meta = tf.MetaGraphDef.FromString(built.meta_graph)
    assert len(meta.graph_def.library.function) == 0
    assert meta.saver_def.restore_op_name == "save/restore_all"


def test_inference_standardizes_inputs_as_training_does(tmp_path: Path) -> None:
    config = config_of(tmp_path, {**examples(), "x": examples()["x"] * 7 + 3})
    config = config.model_copy(update={"data": config.data.model_copy(update={"preprocess": {"x": (Standardize(),)}})})
    checked, data = loaded(config)
    spec = checked.spec
    built = train_graph(checked, data)
    with Executor(built) as executor:
        executor.initialize()
        values = executor.values(spec.variables)
    with Predictor(infer_graph(spec, data.preprocessing)) as predictor:
        predictor.load(values)
        logits = predictor.predict({"x": data.splits["test"]["x"]})["logits"]
    train = data.splits["train"]["x"]
    scaled = (data.splits["test"]["x"] - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(logits, numpy_mlp(scaled, values), rtol=1e-4, atol=1e-5)
