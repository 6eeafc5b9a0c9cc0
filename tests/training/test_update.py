"""The update of trained variables: one by one, compiled by XLA where they are large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.sections.train import JitCompile
from expkit.training.execution import Execution
from expkit.training.graphs import TrainGraph, train_graph
from expkit.training.sessions import Executor
from support.experiments import CNN, config_of, loaded

EVERYTHING = [
    {"kind": "sgd", "learning_rate": 0.1, "global_clipnorm": 0.3},
    {"kind": "momentum", "learning_rate": 0.1, "nesterov": True},
    {"kind": "adam", "learning_rate": 0.01, "global_clipnorm": 0.3, "warmup_steps": 5},
    {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    {"kind": "rmsprop", "learning_rate": 0.01, "momentum": 0.9},
    {"kind": "adagrad", "learning_rate": 0.1},
]


def built(folder: Path, execution: Execution, optimizer: dict[str, Any], **more: Any) -> TrainGraph:
    config = config_of(folder, network=CNN, optimizer=optimizer, **more)
    return train_graph(*loaded(config), execution)


@pytest.mark.parametrize("ema", [{"num_updates": True}, {"start_step": 3}, {"variables": ".*kernel"}], ids=str)
@pytest.mark.parametrize("optimizer", EVERYTHING, ids=lambda given: str(given["kind"]))
def test_compiled_updates_train_the_same(tmp_path: Path, optimizer: dict[str, Any], ema: dict[str, Any]) -> None:
    ends = []
    ways: tuple[JitCompile, ...] = (False, "update")
    for way in ways:
        with Executor(
            built(tmp_path, Execution(7, jit_compile=way), optimizer, ema={"enabled": True, "decay": 0.9, **ema})
        ) as executor:
            executor.initialize()
            executor.run(20)
            ends.append(executor.values(executor.names))
    plain, compiled = ends
    assert list(plain) == list(compiled)
    assert any("ExponentialMovingAverage" in name for name in plain)
    for name, value in plain.items():
        np.testing.assert_allclose(compiled[name], value, rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.parametrize(("least", "compiled"), [(1, 5), (17, 2), (100_000, 0)])
def test_xla_compiles_the_updates_of_large_variables_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int, compiled: int
) -> None:
    monkeypatch.setattr("expkit.training.update.LEAST_COMPILED", least)
    of = built(tmp_path, Execution(jit_compile="update"), EVERYTHING[0])
    with of.graph.as_default():
        sizes = [variable.shape.num_elements() for variable in tf.trainable_variables()]
    assert len([size for size in sizes if size >= least]) == compiled
    calls = [node for node in step_of(of).values() if node.op == "StatefulPartitionedCall"]
    assert [bool(node.attr["_XlaMustCompile"].b) for node in calls] == [True] * compiled


@pytest.mark.parametrize(
    ("way", "change"), [(False, "ResourceApplyGradientDescent"), ("update", "StatefulPartitionedCall")]
)
@pytest.mark.parametrize("clipnorm", [None, 1.0])
def test_a_variable_waits_for_no_other_gradient_unless_clipped(
    tmp_path: Path, clipnorm: float | None, way: JitCompile, change: str
) -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.1, "global_clipnorm": clipnorm}
    nodes = step_of(built(tmp_path, Execution(jit_compile=way), optimizer))
    changes = [name for name, node in nodes.items() if node.op == change]
    assert len(changes) == 5
    late = [name for name in changes if "Conv2DBackpropFilter" in kinds_before(nodes, name)]
    assert len(late) == (1 if clipnorm is None else 5)


def step_of(built: TrainGraph) -> dict[str, Any]:
    """Return the nodes of the body of the loop over steps, by name; the order of batches is a small loop too."""
    functions = built.graph.as_graph_def().library.function
    bodies = (one.node_def for one in functions if one.signature.name.startswith("while_body"))
    return {node.name: node for node in max(bodies, key=len)}


def kinds_before(nodes: dict[str, Any], name: str) -> set[str]:
    """Return the types of all nodes that one waits for."""
    seen: set[str] = set()
    new = [name]
    while new:
        for read in nodes[new.pop()].input:
            before = read.removeprefix("^").split(":")[0]
            if before in nodes and before not in seen:
                seen.add(before)
                new.append(before)
    return {nodes[name].op for name in seen}
