"""Cells over time that carry a state: beside the layers of that kind, averaged, resumed, in phases of bfloat16."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.config.sections.train import Precision
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.sessions import Evaluator, Executor
from support.experiments import Values, assert_same, config_of, loaded, run
from support.trainings import train

TOKENS, LENGTH, BATCH = 7, 4, 3
TEXT = np.random.default_rng(0).integers(0, TOKENS, 3 * BATCH * LENGTH * 6 + 1).astype(np.int32)
CELL = {
    "layers": {
        "both": {"kind": "concat", "input": ["x", "h"]},
        "new": {"kind": "dense", "units": 6, "activation": "tanh"},
        "loud": {"kind": "dropout", "rate": 0.2},
    },
    "outputs": {"h": "new"},
}
SCAN = {"kind": "scan", "block": "cell", "inputs": {"x": "lookup"}, "states": {"h": {"shape": [6]}}, "carry": True}
NETWORK: dict[str, Any] = {
    "inputs": {"token": {"shape": [LENGTH], "dtype": "int32"}},
    "blocks": {"cell": CELL},
    "layers": {
        "student": {
            "kind": "scope",
            "layers": {
                "lookup": {"kind": "embedding", "input_dim": TOKENS, "output_dim": 5},
                "cell": SCAN,
                "memory": {"kind": "lstm", "units": 5, "return_sequences": True, "carry": True},
                "logits": {"kind": "dense", "units": TOKENS},
            },
        },
        "teacher": {"kind": "ema_of", "of": "student"},
        "gap": {"kind": "subtract", "input": ["student", "teacher"]},
        "squared": {"kind": "math", "function": "square"},
    },
    "outputs": {"logits": "student", "distance": {"layer": "squared", "use": "training"}},
}
LOSSES = {
    "main": {"kind": "sparse_softmax_cross_entropy"},
    "gap": {"kind": "value", "output": "distance", "weight": 0.5},
}
PHASES = {
    "cells": {"losses": ["main", "gap"], "variables": "student/(cell|memory)/.*"},
    "ends": {
        "losses": ["main"],
        "variables": "student/(lookup|logits)/.*",
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    },
}


def config(folder: Path, **train: Any) -> Config:
    """Return an experiment on windows of ``TEXT``; 6 steps are an epoch."""
    data = {
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2},
        "order": "stream",
        "windows": {"length": LENGTH, "field": "token"},
    }
    own = {"batch_size": BATCH, "evaluation_batch_size": 2, "metrics": {}, "losses": LOSSES, **train}
    optimizer = {"kind": "adam", "learning_rate": 0.01}
    ema = {"decay": 0.7, "num_updates": False}
    return config_of(folder, {"token": TEXT}, network=NETWORK, data=data, train=own, optimizer=optimizer, ema=ema)


def test_a_run_of_carried_cells_and_their_averages_resumes_within_an_epoch(tmp_path: Path) -> None:
    def trained(folder: str, steps_per_execution: int) -> Values:
        clock = {"steps": 9, "save_every_steps": 4, "log_every_steps": 3, "evaluate_every_steps": 5, "keep_last": 9}
        given = config(tmp_path, phases=PHASES, jit_compile=False, steps_per_execution=steps_per_execution, **clock)
        return train(given, tmp_path / folder).values

    whole = trained("whole", 1)
    shutil.copytree(tmp_path / "whole" / "step-00000004", tmp_path / "half" / "step-00000004")
    assert_same(trained("half", 3), whole)
    carried = {name for name in whole if "carried_" in name}
    own = {"student/cell/carried_h", "student/memory/carried_h", "student/memory/carried_c"}
    assert carried == own | {name.replace("student", "teacher") for name in own}
    assert all(np.any(whole[name]) for name in carried)
    assert np.any(whole["student/cell/carried_h"] != whole["teacher/cell/carried_h"]), "each runs on its own weights"
    assert not any(name.endswith("Average") and "carried_" in name for name in whole)


@pytest.mark.skipif(not tf.has_bfloat16(), reason="this processor has no bfloat16")
def test_phases_in_bfloat16_are_near_those_of_float32(tmp_path: Path) -> None:
    values = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        given = config(tmp_path, precision=precision, phases=PHASES)
        with Executor(train_graph(*loaded(given), Execution(3, precision=precision))) as executor:
            executor.initialize()
            executor.run(5)
            values.append(executor.values(executor.names))
    for name, value in values[0].items():
        assert values[1][name].dtype == value.dtype
        if value.dtype == np.float32:
            np.testing.assert_allclose(values[1][name], value, atol=0.05, err_msg=name)
    assert any(np.any(values[1][name] != value) for name, value in values[0].items())


def test_an_evaluation_carries_the_state_of_both_weights_and_a_frozen_graph_none(tmp_path: Path) -> None:
    given = config(tmp_path, steps=4, jit_compile=False)
    checked, data = loaded(given)
    done = run(given, tmp_path / "run")
    assert done.frozen is not None  # only written with proof
    built = evaluate_graph(checked, data)
    assert {weights: len(state) for weights, state in built.state.items()} == {"raw": 6, "ema": 6}
    with Evaluator(built, given) as evaluator:
        evaluator.load({name: np.zeros(item.shape, np.float32) for name, item in built.variables.items()})
        assert evaluator.evaluate(data.splits["test"], 4)["loss/main"] == pytest.approx(np.log(TOKENS))
