"""Losses and metrics of every kind in every execution mode: the same numbers, trained and frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.errors import ConfigError
from expkit.preflight import check
from expkit.registry import kinds
from expkit.training import loop
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.sessions import Evaluator, Executor, add_statistics, results
from expkit.training.state import TrainingState
from support.experiments import config_of, examples, loaded, run

DATA = {
    **examples(),
    "hot": np.eye(3, dtype=np.float32)[examples()["label"]],
    "bit": examples()["label"] % 2,
}
NETWORK = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "body": {"kind": "dense", "units": 5, "activation": "tanh"},
        "logits": {"kind": "dense", "input": "body", "units": 3},
        "one": {"kind": "dense", "input": "body", "units": 1},
    },
    "outputs": {"logits": "logits", "one": "one"},
}
NUMBERS = {"sparse_softmax_cross_entropy", "focal", "dice"}
"""Losses of class numbers; the others read labels of the output's shape."""
LOSSES = {
    **{
        kind: {"kind": kind, "labels": "label" if kind in NUMBERS else "hot"}
        for kind in kinds("loss")
        if kind != "value"
    },
    "value": {"kind": "value", "output": "one"},
    "focal of bits": {"kind": "focal", "output": "one", "labels": "bit"},
    "dice of bits": {"kind": "dice", "output": "one", "labels": "bit"},
}
SHAPED = {"mean_absolute_error", "mean_squared_error", "r2"}
METRICS = {
    **{
        kind: {"kind": kind, "labels": "hot" if kind in SHAPED else "label"}
        for kind in kinds("metric")
        if kind != "mean"
    },
    "auc": {"kind": "auc", "output": "one", "labels": "bit"},
    "mean": {"kind": "mean"},
    "f1 of bits": {"kind": "f1", "output": "one", "labels": "bit"},
    "mean_iou of bits": {"kind": "mean_iou", "output": "one", "labels": "bit"},
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
