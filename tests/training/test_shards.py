"""Layers that are applied to batch shards in parallel: the network computes and learns the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.network.build import TrainingCall, connect, create_variables
from expkit.network.spec import NetworkSpec
from expkit.training.execution import Execution
from expkit.training.policy import TrainedLayers
from support.networks import OF_ALL_KINDS, spec_of

SMALL = """
inputs: {x: {shape: [6, 6, 2]}}
layers:
  conv: {kind: conv2d, filters: 3, kernel_size: 3, activation: relu}
  pool: {kind: max_pool, pool_size: 2}
  flat: {kind: flatten}
  out: {kind: dense, units: 2}
  again: {kind: activation, input: pool, function: tanh}
  other: {kind: activation, input: flat, function: tanh}
outputs: {out: out}
"""


def fed(spec: NetworkSpec, rows: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    floats = {"float32": lambda shape: draw.normal(size=shape).astype("f")}
    whole = {"int32": lambda shape: draw.integers(1, 9, shape).astype("i")}
    return {name: {**floats, **whole}[item.dtype]((rows, *item.shape)) for name, item in spec.inputs.items()}


def sharded(count: int) -> partial[TrainedLayers]:
    """Return the policy that applies layers to so many shards."""
    return partial(TrainedLayers, Execution(parallelism="inter_op"), count, {})


def learned(spec: NetworkSpec, shards: int, rows: int) -> dict[str, Any]:
    """Return output, gradients and moving statistics of a training step."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables, inputs = create_variables(spec, 0), {name: tf.constant(x) for name, x in fed(spec, rows).items()}
        training = TrainingCall(0, tf.constant(3, tf.int64))
        connection = connect(spec, variables, inputs, training=training, policy=sharded(shards))
        (output,) = connection.outputs.values()
        trained = {name: variables[name] for name in spec.trainable}
        gradients = tf.gradients(tf.reduce_sum(output**2), list(trained.values()))
        expected = dict(zip(trained, map(tf.convert_to_tensor, gradients), strict=True))
        moved = {f"moved {place}": update.value for place, update in enumerate(connection.updates)}
        session.run(tf.global_variables_initializer())
        return dict(session.run({"": output, **expected, **moved}))


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("name", OF_ALL_KINDS)
def test_a_network_learns_the_same_in_shards(name: str, shards: int) -> None:
    spec = spec_of(OF_ALL_KINDS[name])
    whole, got = (learned(spec, count, rows=7) for count in (1, shards))
    assert got.keys() == whole.keys()
    for key, value in got.items():
        np.testing.assert_allclose(value, whole[key], rtol=2e-3, atol=2e-4, err_msg=key)


def test_shards_are_joined_where_they_are_read_whole_and_nowhere_else() -> None:
    spec = spec_of(SMALL)
    with tf.Graph().as_default() as graph:
        inputs = {"x": tf.constant(fed(spec, 5)["x"])}
        training = TrainingCall(0, tf.constant(0, tf.int64))
        connection = connect(spec, create_variables(spec, 0), inputs, training=training, policy=sharded(2))
        types = {item.name: item.type for item in graph.get_operations()}
        convolutions = [item for item in graph.get_operations() if item.type == "Conv2D"]
        assert [item.inputs[0].shape[0] for item in convolutions] == [2, 3]
        assert len({item.inputs[1].name for item in convolutions}) == 1, "a variable is read once"
        assert [name for name, kind in types.items() if kind == "ConcatV2"] == ["pool"]
        assert [name for name, kind in types.items() if kind == "SplitV"] == ["conv/split"]
        assert set(connection.tensors) == {"x", "conv", "pool", "flat", "out", "again", "other"}
        assert len(connection.tensors) == 7
        assert len([name for name, kind in types.items() if kind == "Tanh"]) == 3, "what is whole is left so"
        assert connection.tensors["conv"].name == "conv:0"
        assert connection.tensors["again"].shape == (5, 3, 3, 3)


def test_a_tensor_that_depends_on_no_example_is_not_sharded() -> None:
    spec = spec_of(
        """
inputs: {x: {shape: [2]}}
layers:
  table: {kind: variable, shape: [4, 4, 1]}
  conv: {kind: conv2d, filters: 2, kernel_size: 3}
  flat: {kind: flatten}
  few: {kind: dense, units: 2}
  out: {kind: add, input: [x, few]}
"""
    )
    whole, got = (learned(spec, count, rows=4) for count in (1, 2))
    for key, value in whole.items():
        np.testing.assert_array_equal(value, got[key])
