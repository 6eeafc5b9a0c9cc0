"""State that layers carry from batch to batch: its names, what it needs, a plugin's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pytest

from expkit import registry
from expkit import tf1 as tf
from expkit.config.load import load
from expkit.errors import ConfigError
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.network.build import connect, create_variables
from expkit.preflight import check
from expkit.registry import atomic_registration, register
from expkit.tensor_spec import TensorSpec
from support.networks import problems_of, spec_of

CELL = "{kind: lstm, units: 3, carry: true}"
INPUT = "inputs: {x: {shape: [5, 2]}}"


@pytest.fixture
def running_sum() -> Iterator[type[Layer]]:
    """Register a layer whose output is the sum of all its inputs so far."""
    before = {family: dict(members) for family, members in registry._FAMILIES.items()}
    with atomic_registration():

        @register
        class RunningSum(Layer):
            """The sum of all inputs so far."""

            kind: Literal["running_sum"] = "running_sum"
            wrong: str = ""
            """A mistake to make."""

            def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
                """Return the input's shape."""
                return inputs[0]

            def declare_state(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
                """Return the sum."""
                return {"to tal" if self.wrong == "name" else "total": inputs[0]}

            def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
                """Add the input."""
                total = call.state.get("total", 0) + inputs[0]
                if self.wrong != "missing":
                    call.next_state["total"] = total[:, :1] if self.wrong == "shape" else total
                return total

    yield RunningSum
    registry._FAMILIES.clear()
    registry._FAMILIES.update(before)
    registry.rebuild_sections()


def test_every_place_of_a_layer_has_a_state_of_its_own_whatever_it_shares() -> None:
    spec = spec_of(
        f"""
        {INPUT}
        layers:
          left: {{kind: lstm, units: 3, carry: true, input: x, scope: shared}}
          right: {{kind: lstm, units: 3, carry: true, input: x, scope: shared, reuse: true}}
          deep:
            kind: scope
            input: x
            repeat: 2
            layers: {{gru: {{kind: gru, units: 2, carry: true, return_sequences: true}}}}
        outputs: {{left: left, right: right, deep: deep}}
        """
    )
    assert list(spec.state) == [
        "left/carried_h",
        "left/carried_c",
        "right/carried_h",
        "right/carried_c",
        "deep_0/gru/carried_h",
        "deep_1/gru/carried_h",
    ]
    assert spec.state["left/carried_c"] == TensorSpec((3,), "float32")
    assert [name for name in spec.variables if name.startswith("shared")] == ["shared/kernel", "shared/bias"]
    assert not any("carried" in name for name in spec.variables)


def test_a_projected_cell_carries_an_output_and_a_memory_of_different_sizes() -> None:
    spec = spec_of(f"{INPUT}\nlayers: {{cell: {{kind: lstm, units: 6, projection: 2, carry: true}}}}")
    assert {name: item.shape for name, item in spec.state.items()} == {
        "cell/carried_h": (2,),
        "cell/carried_c": (6,),
    }


def test_a_state_that_cannot_be_named_or_held_is_refused() -> None:
    dense = "{kind: dense, units: 1, use_bias: false, scope: cell, variables: {kernel: carried_h}}"
    assert problems_of(f"{INPUT}\nlayers: {{cell: {CELL}, d: {dense}}}") == [
        "network.layers.cell: the layer's state and something else would both be named 'cell/carried_h'; rename the "
        "other"
    ]
    (problem, *_) = problems_of(f"layers: {{c: {{kind: constant, shape: [5, 2], value: 1.0}}, cell: {CELL}}}")
    assert problem.endswith("'cell' carries a state, but its inputs are the same for every example")


def test_with_lengths_a_sequence_goes_on_after_its_last_counting_step() -> None:
    spec = spec_of(
        """
        inputs: {x: {shape: [null, 2]}, count: {shape: [], dtype: int32}}
        layers: {cell: {kind: gru, units: 3, carry: true, input: x, lengths: count, return_sequences: true}}
        outputs: {out: cell}
        """
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 2)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec, 0)
        with tf.name_scope("first"):
            first = connect(spec, variables, {"x": tf.constant(x), "count": tf.constant([2, 5])})
        with tf.name_scope("short"):
            short = connect(spec, variables, {"x": tf.constant(x[:1, :2]), "count": tf.constant([2])})
        session.run(tf.global_variables_initializer())
        got, expected = session.run([first.state["cell/carried_h"][:1], short.state["cell/carried_h"]])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.usefixtures("running_sum")
def test_a_plugins_layer_carries_a_state() -> None:
    spec = spec_of("layers: {sum: {kind: running_sum}}")
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.name_scope("first"):
            first = connect(spec, {}, {"x": tf.constant(x)})
        with tf.name_scope("second"):
            second = connect(spec, {}, {"x": tf.constant(x), **first.state})
        outputs, state = session.run([second.outputs["out"], second.state])
    np.testing.assert_array_equal(outputs, 2 * x)
    np.testing.assert_array_equal(state["sum/carried_total"], 2 * x)


@pytest.mark.usefixtures("running_sum")
@pytest.mark.parametrize(("wrong", "got"), [("missing", "nothing"), ("shape", "(2, 1) float32")])
def test_a_plugin_that_returns_another_state_than_it_declares_is_reported(wrong: str, got: str) -> None:
    spec = spec_of(f"layers: {{sum: {{kind: running_sum, wrong: {wrong}}}}}")
    with tf.Graph().as_default(), pytest.raises(ConfigError) as caught:
        connect(spec, {}, {"x": tf.zeros((2, 4))})
    assert str(caught.value) == (
        "layer 'sum': kind 'running_sum' declares the state 'total' as [batch, 4] float32, but next_state holds "
        f"{got}; declare_state and apply must agree"
    )


@pytest.mark.usefixtures("running_sum")
def test_a_plugins_state_needs_a_name() -> None:
    (problem,) = problems_of("layers: {sum: {kind: running_sum, wrong: name}}")
    assert problem.startswith(
        "network.layers.sum: kind 'running_sum' declares a state 'to tal' [batch, 4] float32, which "
    )


def test_phases_of_several_batches_carry_nothing() -> None:
    phases = {"a": "{losses: [main]}", "b": "{losses: [main], steps: 2}"}
    variables = {"a": "Model/softmax_.*", "b": "Model/(embedding|RNN/.*)"}
    words = [f"+train.phases.{name}={phase}" for name, phase in phases.items()]
    words += [f"+train.phases.{name}.variables='{pattern}'" for name, pattern in variables.items()]
    with pytest.raises(ConfigError) as caught:
        check(load(["experiment=ptb", *words]))
    assert [str(problem) for problem in caught.value.problems] == [
        "train.phases: the state of Model/RNN/cell_0/lstm, Model/RNN/cell_1/lstm is carried from step to step, but a "
        "step has 2 batches; give every phase steps: 1, or set carry: false"
    ]
