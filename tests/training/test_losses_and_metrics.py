"""Losses and metrics of every kind in every execution mode: the same numbers, trained and frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.errors import ConfigError, DataError
from expkit.preflight import check
from expkit.registry import kinds
from expkit.training import loop
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.sessions import Evaluator, Executor
from expkit.training.state import TrainingState
from expkit.training.sums import add_statistics, results
from support.experiments import config_of, examples, loaded, run

DATA = {
    **examples(),
    "hot": np.eye(3, dtype=np.float32)[examples()["label"]],
    "bit": examples()["label"] % 2,
    "mask": np.arange(60) % 3 > 0,
    "pair": 1 + np.arange(120).reshape(60, 2) % 3 % 2,
    "frames": 3 + np.arange(60) % 2,
}
NETWORK: dict[str, Any] = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "body": {"kind": "dense", "units": 5, "activation": "tanh"},
        "logits": {"kind": "dense", "input": "body", "units": 3},
        "one": {"kind": "dense", "input": "body", "units": 1},
        "long": {"kind": "dense", "input": "body", "units": 12},
        "frames": {"kind": "reshape", "shape": [4, 3]},
        "other": {"kind": "dense", "input": "body", "units": 3},
    },
    "outputs": {name: name for name in ("logits", "one", "frames", "other", "body")},
}
NUMBERS = {"sparse_softmax_cross_entropy", "focal", "dice"}
"""Losses of class numbers; the others read labels of the output's shape."""
SAMPLED = {"output": "body", "kernel": "logits/kernel", "bias": "logits/bias", "samples": 2}
OWN = {"value", "triplet", "contrastive", "info_nce", "ctc", "sampled_softmax", "nce"}
"""Losses that read something else than an output and labels."""
LOSSES = {
    **{
        kind: {"kind": kind, "labels": "label" if kind in NUMBERS else "hot"}
        for kind in kinds("loss")
        if kind not in OWN
    },
    "triplet": {"kind": "triplet", "positive": "other", "negative": "logits", "margin": 0.5},
    "contrastive": {"kind": "contrastive", "other": "other", "labels": "bit"},
    "info_nce": {"kind": "info_nce", "other": "other", "symmetric": True, "weights": "mask"},
    "ctc": {"kind": "ctc", "output": "frames", "labels": "pair", "lengths": "frames"},
    "sampled_softmax": {"kind": "sampled_softmax", **SAMPLED},
    "nce": {"kind": "nce", **SAMPLED, "candidates": "uniform", "ignore": 1},
    "value": {"kind": "value", "output": "one"},
    "focal of bits": {"kind": "focal", "output": "one", "labels": "bit"},
    "dice of bits": {"kind": "dice", "output": "one", "labels": "bit"},
    "masked": {"kind": "sparse_softmax_cross_entropy", "weights": "mask", "class_weights": [1, 2, 3]},
    "ignoring": {"kind": "focal", "ignore": 1, "reduction": "sum"},
    "masked dice": {"kind": "dice", "weights": "mask", "ignore": 1},
    "annealed": {
        "kind": "value",
        "output": "one",
        "weight": {"kind": "piecewise", "boundaries": [100], "values": [0.5, 0.25]},
    },
}
SHAPED = {"mean_absolute_error", "mean_squared_error", "r2", "root_mean_squared_error"}
METRICS = {
    **{
        kind: {"kind": kind, "labels": "hot" if kind in SHAPED else "label"}
        for kind in kinds("metric")
        if kind not in ("mean", "edit_distance")
    },
    "edit_distance": {"kind": "edit_distance", "output": "frames", "labels": "pair", "lengths": "frames", "blank": 0},
    "auc": {"kind": "auc", "output": "one", "labels": "bit"},
    "mean": {"kind": "mean"},
    "f1 of bits": {"kind": "f1", "output": "one", "labels": "bit"},
    "mean_iou of bits": {"kind": "mean_iou", "output": "one", "labels": "bit"},
    "masked auc": {"kind": "auc", "output": "one", "labels": "bit", "weights": "mask"},
    "masked f1": {"kind": "f1", "weights": "mask", "ignore": 2},
    "masked r2": {"kind": "r2", "labels": "hot", "weights": "mask"},
}


def test_every_execution_mode_gives_the_same_losses_and_metrics(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    modes = [Execution(1), Execution(3), Execution(8, jit_compile=True), Execution(2, parallelism="inter_op")]
    tests = []
    for execution, accumulated in zip([*modes, Execution(2)], (1, 1, 1, 1, 2), strict=True):
        train = {
            "losses": LOSSES,
            "metrics": METRICS,
            "batch_size": 5,
            "evaluation_batch_size": 4,
            "gradient_accumulation_steps": accumulated,
        }
        optimizer = {"kind": "sgd", "learning_rate": 0.0}
        config = config_of(tmp_path / str(len(seen)), DATA, network=NETWORK, optimizer=optimizer, train=train)
        checked, dataset = loaded(config)
        with Executor(train_graph(checked, dataset, execution)) as executor:
            executor.initialize()
            state = TrainingState()
            add_statistics(state.window, executor.run(3))
            state = TrainingState.of(json.loads(json.dumps(state.plain())))
            add_statistics(state.window, executor.run(8 // accumulated - 3))
            seen.append(results(config, state.window))
            with Evaluator(evaluate_graph(checked, dataset), config) as evaluator:
                tests.append(loop.evaluate(executor, evaluator, dataset, "test"))
    for got in seen[1:]:
        assert got == pytest.approx(seen[0], rel=1e-5, abs=1e-6), "an epoch of 40 examples"
    for test in tests[1:]:
        assert test == pytest.approx(tests[0], rel=1e-6)
    assert all(np.isfinite(value) for value in seen[0].values())
    assert len(seen[0]) == 1 + len(LOSSES) + len(METRICS)


def test_every_loss_trains_and_every_metric_is_recorded_of_raw_and_ema_weights(tmp_path: Path) -> None:
    metrics = {**METRICS, "mean": {"kind": "mean", "output": "one"}}
    train = {"losses": LOSSES, "metrics": metrics, "jit_compile": False, "best_metric": "valid/mean_iou"}
    result = run(config_of(tmp_path, DATA, network=NETWORK, train=train), tmp_path / "run")
    assert result.frozen is not None
    assert {f"test/{name}{end}" for name in metrics for end in ("", "/ema")} <= set(result.test)


def test_the_best_mean_needs_a_mode(tmp_path: Path) -> None:
    train: dict[str, Any] = {"metrics": {"mean": {"kind": "mean"}}, "best_metric": "valid/mean"}
    with pytest.raises(ConfigError) as caught:
        check(config_of(tmp_path, train=train))
    assert str(caught.value) == (
        "train.best_mode: the kind of 'valid/mean' declares no best_mode; give max if larger values are better, or min"
    )


def test_the_mean_of_an_output_takes_no_labels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, train={"metrics": {"mean": {"kind": "mean", "labels": "label"}}})
    assert "train.metrics.mean.labels" in str(caught.value)


@pytest.mark.parametrize("kind", ["precision", "r2"])
def test_a_metric_by_class_needs_to_know_their_number(tmp_path: Path, kind: str) -> None:
    network = {
        "inputs": {"x": {"shape": [None]}},
        "layers": {"logits": {"kind": "activation", "function": "tanh"}},
        "outputs": {"logits": "logits"},
    }
    train = {"metrics": {"it": {"kind": kind}}}
    with pytest.raises(ConfigError) as caught:
        check(config_of(tmp_path, examples(), network=network, train=train, ema={"enabled": False}))
    assert str(caught.value) == (
        f"train.metrics.it.output: {kind} needs an output whose last size is known, 'logits' is [batch, ?] float32; "
        "give the size in network.inputs"
    )


ANNEALED = {"kind": "piecewise", "boundaries": [2], "values": [0.0, 2.0]}


def test_a_weight_that_is_a_schedule_is_that_of_the_step(tmp_path: Path) -> None:
    losses = {
        "main": {"kind": "sparse_softmax_cross_entropy"},
        "size": {"kind": "value", "output": "one", "weight": ANNEALED},
    }
    train = {"losses": losses, "steps": 5, "log_every_steps": 1, "evaluate_every_steps": 1, "jit_compile": False}
    layers = {name: NETWORK["layers"][name] for name in ("body", "logits", "one")}
    network = {**NETWORK, "layers": layers, "outputs": {"logits": "logits", "one": "one"}}
    result = run(config_of(tmp_path, DATA, network=network, train=train), tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    found = {line["step"]: line for line in map(json.loads, lines) if "valid/loss" in line}
    assert sorted(found) == [1, 2, 3, 4, 5]
    for step, metrics in found.items():
        for part, end in (("train", ""), ("valid", ""), ("valid", "/ema")):
            main, size = (metrics[f"{part}/loss/{name}{end}"] for name in losses)
            factor = 0.0 if step - 1 <= 2 else 2.0
            assert metrics[f"{part}/loss{end}"] == pytest.approx(main + factor * size, rel=1e-5), (step, part)
    assert result.test["test/loss"] == pytest.approx(
        result.test["test/loss/main"] + 2 * result.test["test/loss/size"], rel=1e-5
    )


def test_a_network_of_losses_without_labels_needs_no_label_in_the_data(tmp_path: Path) -> None:
    train = {"losses": {"main": {"kind": "value", "output": "one"}}, "metrics": {}, "jit_compile": False}
    arrays = {"x": DATA["x"]}
    result = run(config_of(tmp_path, arrays, network=NETWORK | SMALL, train=train), tmp_path / "run")
    assert result.frozen is not None
    assert set(result.test) == {"test/loss", "test/loss/ema"}


SMALL = {"layers": {"one": {"kind": "dense", "units": 1}}, "outputs": {"one": "one"}}

PLACES = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {"flat": {"kind": "dense", "units": 6}, "logits": {"kind": "reshape", "shape": [2, 3]}},
    "outputs": {"logits": "logits"},
}
FRAMES = {**PLACES, "layers": {"flat": {"kind": "dense", "units": 9}, "logits": {"kind": "reshape", "shape": [3, 3]}}}
WRONG: dict[str, tuple[dict[str, Any], dict[str, np.ndarray], str]] = {
    "a mask of another shape": (
        {"weights": "w"},
        {"w": np.ones((60, 3))},
        "train.losses.main: fields 'label', 'w' (train): the weights in 'w' have shape [3] per example; "
        "allowed: [], [2]",
    ),
    "weights that are all zero": (
        {"weights": "w"},
        {"w": np.zeros((60, 2))},
        "train.losses.main: fields 'label', 'w' (train): every weight is 0 or every label ignored, so that nothing "
        "counts",
    ),
    "labels that are all ignored": (
        {"ignore": 0},
        {"label": np.zeros((60, 2), np.int64)},
        "train.losses.main: field 'label' (train): every weight is 0 or every label ignored, so that nothing counts",
    ),
    "a negative weight": (
        {"weights": "w"},
        {"w": np.where(np.arange(60) == 7, -0.5, 1)},
        "train.losses.main: fields 'label', 'w' (train): 1 of 40 examples have a negative weight in 'w', the first is "
        "-0.5 (example 7); weights are at least 0",
    ),
    "no such field": (
        {"weights": "mask"},
        {"w": np.ones(60)},
        "train.losses.main.weights: the data has no field 'mask'; fields: x, label, w",
    ),
    "a label that is not ignored": (
        {"ignore": -1},
        {"label": np.full((60, 2), -2)},
        "train.losses.main: field 'label' (train): 40 of 40 examples have a label that is not allowed, the first is "
        "-2 (example 0); allowed: whole numbers 0 to 2, for 3 classes; change the last layer's units or the data",
    ),
    "labels longer than frames": (
        {"kind": "ctc", "lengths": "n"},
        {"label": np.full((60, 2), 2), "n": np.where(np.arange(60) == 4, 2, 3)},
        "train.losses.main: fields 'label', 'n' (train): 1 of 40 examples have labels longer than their frames, the "
        "first has 2 labels, 1 of them equal to the one before, which need 3 frames, and 2 frames (example 4)",
    ),
    "labels that are the blank": (
        {"kind": "ctc", "blank": -1},
        {"label": np.full((60, 2), 2)},
        "train.losses.main: field 'label' (train): example 0 has the label 2, which is the blank; change blank or the "
        "labels",
    ),
    "lengths beyond the frames": (
        {"kind": "ctc", "lengths": "n"},
        {"label": np.ones((60, 2)), "n": np.full(60, 9)},
        "train.losses.main: fields 'label', 'n' (train): 40 of 40 examples have a length in 'n' that is not allowed, "
        "the first is 9 (example 0); allowed: 1 to 3",
    ),
    "one-hot labels of which one is ignored": (
        {"kind": "accuracy", "ignore": -1},
        {"label": np.zeros((60, 2, 3))},
        "train.metrics.main: field 'label' (train): ignore needs class numbers as labels, these are rows of shape "
        "[2, 3] per example",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_and_labels_that_do_not_fit_are_reported_from_the_data(case: str, tmp_path: Path) -> None:
    fields, arrays, message = WRONG[case]
    data = {"x": DATA["x"], "label": np.zeros((60, 2), np.int64), **arrays}
    item = {"kind": "sparse_softmax_cross_entropy", **fields}
    train: dict[str, Any] = {"losses": {"main": item}, "metrics": {}}
    if item["kind"] == "accuracy":
        train = {"losses": {"other": {"kind": "value"}}, "metrics": {"main": item}}
    network = FRAMES if item["kind"] == "ctc" else PLACES
    with pytest.raises((ConfigError, DataError)) as caught:
        loaded(config_of(tmp_path, data, network=network, train=train))
    assert [str(problem) for problem in caught.value.problems] == [message]


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "too few class weights": (
        {"class_weights": [1, 2]},
        "train.losses.main: class_weights: 2 weights for 3 classes; give 3, or a mapping by class number",
    ),
    "a weight of no class": (
        {"class_weights": {"3": 2}},
        "train.losses.main: class_weights: there is no class 3; allowed: 0 to 2",
    ),
    "class weights that are all zero": (
        {"class_weights": [0, 0, 0]},
        "train.losses.main.class_weights: every weight is 0, so that no class would count; give at least one class a "
        "weight",
    ),
    "a negative class weight": (
        {"class_weights": [1, 1, -1]},
        "train.losses.main.class_weights",
    ),
    "a smoothing beyond 1": (
        {"label_smoothing": 1.5},
        "train.losses.main.label_smoothing: must be less than 1 (allowed: >= 0 and < 1), got 1.5",
    ),
    "a kind without class numbers": (
        {"kind": "mean_squared_error", "ignore": -1},
        "train.losses.main.ignore: unknown field for kind 'mean_squared_error'",
    ),
    "a kernel that does not fit": (
        {"kind": "nce", "output": "logits", "kernel": "flat/kernel", "samples": 2},
        "train.losses.main: needs a kernel [features, classes] for features [batch, 2, 3] float32, 'flat/kernel' is "
        "[4, 6] float32",
    ),
    "a kernel that is not a variable": (
        {"kind": "nce", "output": "logits", "kernel": "flat/kernels", "samples": 2},
        "train.losses.main.kernel: no variable 'flat/kernels'; did you mean 'flat/kernel'?",
    ),
    "no such second output": (
        {"kind": "contrastive", "other": "logit"},
        "train.losses.main.other: no output 'logit'; did you mean 'logits'?",
    ),
    "an unknown reduction": ({"reduction": "max"}, "train.losses.main.reduction"),
    "a negative weight": ({"weight": -1}, "train.losses.main.weight"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_fields_that_cannot_fit_are_reported_without_data(case: str, tmp_path: Path) -> None:
    fields, message = UNFIT[case]
    item = {"kind": "sparse_softmax_cross_entropy", **fields}
    with pytest.raises(ConfigError) as caught:
        check(config_of(tmp_path, network=PLACES, train={"losses": {"main": item}, "metrics": {}}))
    (problem,) = caught.value.problems
    assert str(problem).startswith(message), str(problem)
