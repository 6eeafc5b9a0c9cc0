"""A step that begins beside the end of the one before computes what it would have after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.config.sections.train import Parallelism
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.dense import Dense
from expkit.kinds.layers.reshaping import Flatten
from expkit.preflight import named
from expkit.tensor_spec import TensorSpec
from expkit.training.execution import Execution
from expkit.training.graphs import TrainGraph, train_graph
from expkit.training.sessions import Executor
from support.experiments import Values, config_of, loaded, rewritten
from support.networks import OF_ALL_KINDS, examples_of_all_kinds

STEPS = 12
ADAM = {"kind": "adam", "learning_rate": 0.01}
EVERYTHING = {**ADAM, "kind": "adamw", "warmup_steps": 4, "global_clipnorm": 1.0, "weight_decay": 0.01}


POOLED = """
inputs: {x: {shape: [8, 8, 1]}}
layers:
  conv1: {kind: conv2d, filters: 4, kernel_size: 3, activation: relu}
  pool1: {kind: max_pool}
  conv2: {kind: conv2d, filters: 4, kernel_size: 3, activation: relu}
  pool2: {kind: max_pool}
  flat: {kind: flatten}
  hidden: {kind: dense, units: 8, activation: relu}
  logits: {kind: dense, units: 3}
outputs: {logits: logits}
"""


def config(folder: Path, name: str, optimizer: object, **train: object) -> Config:
    network = yaml.safe_load(OF_ALL_KINDS[name])
    for layer in ("near", "smaller") if name == "images" else ():  # Where these are, no steps overlap.
        network["layers"][layer] = {"kind": "average_pool", "pool_size": 1}
    return config_of(folder, examples_of_all_kinds(name), network=network, optimizer=optimizer, train=train)


@pytest.mark.parametrize(
    ("name", "parallelism", "optimizer", "train"),
    [
        ("images", "intra_op", ADAM, {}),
        ("images", "inter_op", ADAM, {}),
        ("sequences", "inter_op", ADAM, {}),
        ("images", "inter_op", EVERYTHING, {"gradient_accumulation_steps": 2, "batch_size": 16}),
    ],
    ids=["images", "images by cores", "sequences by cores", "everything"],
)
def test_steps_of_one_call_are_those_of_many_bit_for_bit(
    tmp_path: Path, name: str, parallelism: Parallelism, optimizer: object, train: dict[str, object]
) -> None:
    experiment = config(tmp_path, name, optimizer, **train)
    built = train_graph(*loaded(experiment), Execution(STEPS, parallelism=parallelism))
    assert loop_of(built).attr["parallel_iterations"].i == 2
    found: list[Values] = []
    with Executor(built) as executor:
        for calls in ([1] * STEPS, [STEPS], [STEPS], [STEPS]):  # which core does what when is never the same
            executor.initialize()
            for steps in calls:
                executor.run(steps)
            found.append(executor.values(built.variables))
    alone, *together = found
    for values in together:
        for key, value in values.items():
            np.testing.assert_array_equal(value, alone[key], err_msg=key)


def loop_of(built: TrainGraph) -> Any:
    """Return the node that is the loop over steps."""
    (loop,) = (node for node in built.graph.as_graph_def().node if node.op == "While")
    return loop


def test_gradients_of_max_pooling_find_its_workspace_in_every_session(tmp_path: Path) -> None:
    if not tf.has_bfloat16():
        pytest.skip("the processor has no bfloat16")
    experiment = config_of(tmp_path, network=yaml.safe_load(POOLED), train={"batch_size": 32})
    execution = Execution(STEPS, precision="bfloat16", parallelism="inter_op")
    for _ in range(6):  # Where steps overlap, one gradient is left alone in one session out of four.
        built = train_graph(*loaded(experiment), execution)
        assert loop_of(built).attr["parallel_iterations"].i == 1
        nodes = rewritten(built)
        gradients = [node for node in nodes.values() if node.op.endswith("MaxPoolGrad")]
        assert len(gradients) == 2 * execution.shards(32)
        for node in gradients:
            assert node.op == f"{nodes[node.input[1]].op}Grad"


class OwnPool(Layer):
    """A layer of a plugin that pools, by an operation that uses oneDNN's workspace or by one that does not."""

    kind: Literal["own_pool"] = "own_pool"
    largest: bool

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pool, in a function of its own."""
        pool = tf.nn.max_pool if self.largest else tf.nn.avg_pool
        pooled = tf.cond(call.step >= 0, lambda: pool(inputs[0], 2, 1, "SAME"), lambda: inputs[0])
        return tf.ensure_shape(pooled, inputs[0].shape)


@pytest.mark.parametrize(("largest", "steps_at_once"), [(True, 1), (False, 2)])
def test_steps_overlap_unless_a_layer_of_a_plugin_uses_the_workspace(
    tmp_path: Path, largest: bool, steps_at_once: int
) -> None:
    experiment = config_of(tmp_path, network=yaml.safe_load(POOLED))
    layers = {"own": OwnPool(largest=largest), "flat": Flatten(), "logits": Dense(units=3)}
    network = experiment.network.model_copy(update={"layers": layers})  # Its kind is not registered.
    checked = named(experiment.model_copy(update={"network": network}))
    built = train_graph(checked, loaded(experiment)[1], Execution(STEPS))
    assert loop_of(built).attr["parallel_iterations"].i == steps_at_once


def test_a_layer_waits_for_its_own_variables_and_the_next_step_for_none(tmp_path: Path) -> None:
    experiment = config_of(tmp_path)
    built = train_graph(*loaded(experiment), Execution(STEPS))
    definition, loop = built.graph.as_graph_def(), loop_of(built)
    assert loop.attr["parallel_iterations"].i == 2
    library = {function.signature.name: function for function in definition.library.function}
    body = library[loop.attr["body"].func.name]
    arguments = {item.name for item in body.signature.input_arg}
    waits = {node.name: {f"^{name}" for name in arguments} & set(node.input) for node in body.node_def}
    hidden, logits = (waits[f"{layer}/MatMul/ReadVariableOp"] for layer in ("hidden", "logits"))
    assert (len(hidden), len(logits), hidden & logits) == (2, 2, set()), "kernel and bias of one layer each"
    nodes = {node.name: node for node in body.node_def}
    counters = [name for name in nodes if nodes[name].op == "AddV2" and set(nodes[name].input) & {"placeholder"}]
    assert counters
    assert not any(word.startswith("^") for name in counters for word in nodes[name].input)
