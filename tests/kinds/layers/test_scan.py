"""A block as a cell over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.kinds.layers.operations import Operations, using
from expkit.network.build import TrainingCall, connect, create_variables, placeholders
from expkit.network.spec import NetworkSpec
from support.networks import fields_problems, problems_of, spec_of

LSTM = """
  lstm:
    layers:
      joined: {kind: concat, input: [x, h]}
      gates: {kind: dense, units: 24, scope: ""}
      parts: {kind: split, parts: 4}
      i: {kind: activation, input: parts/0, function: sigmoid}
      j: {kind: activation, input: parts/1, function: tanh}
      f: {kind: activation, input: parts/2, function: sigmoid}
      o: {kind: activation, input: parts/3, function: sigmoid}
      kept: {kind: multiply, input: [f, c]}
      new: {kind: multiply, input: [i, j]}
      memory: {kind: add, input: [kept, new]}
      squashed: {kind: activation, function: tanh}
      out: {kind: multiply, input: [o, squashed]}
    outputs: {h: out, c: memory}
"""
GRU = """
  gru:
    layers:
      joined: {kind: concat, input: [x, h]}
      gates: {kind: dense, units: 12, activation: sigmoid}
      parts: {kind: split, parts: 2}
      kept: {kind: multiply, input: [parts/0, h]}
      again: {kind: concat, input: [x, kept]}
      candidate: {kind: dense, units: 6, activation: tanh}
      new: {kind: subtract, input: [h, candidate]}
      stays: {kind: multiply, input: [parts/1, new]}
      out: {kind: add, input: [stays, candidate]}
    outputs: {h: out}
"""
CELLS = {
    "lstm": (LSTM, "{h: {shape: [6]}, c: {shape: [6]}}", "forget_bias: 0"),
    "gru": (GRU, "{h: {shape: [6]}}", "reset_after: false"),
}
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(3, 5, 4)).astype(np.float32)
LENGTHS = np.array([5, 0, 3], np.int32)


def recurrent(kind: str, steps: int | None = 5, reverse: bool = False) -> NetworkSpec:
    """Return a network of a cell written by layers, and the layer of that kind with the same variables."""
    block, states, fields = CELLS[kind]
    steps_text = "null" if steps is None else steps
    direction = "backward" if reverse else "forward"
    return spec_of(f"""
inputs: {{x: {{shape: [{steps_text}, 4]}}, n: {{shape: [], dtype: int32}}}}
blocks: {block}
layers:
  by_layers:
    {{kind: scan, block: {kind}, scope: rnn, inputs: {{x: x}}, states: {states}, lengths: n, reverse: {reverse}}}
  whole:
    {{kind: {kind}, input: x, scope: rnn, reuse: true, units: 6, lengths: n, return_sequences: true, {fields},
     direction: {direction}}}
outputs: {{by_layers: by_layers, whole: whole, state_by_layers: by_layers/state_h, state_whole: whole/state_h}}
""")


def connected(spec: NetworkSpec, feed: dict[str, Any], *, unrolls: bool = True, wanted: str = "") -> Any:
    """Return outputs, and the gradients of a weighted sum of one by all variables and inputs of floats."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables, inputs = create_variables(spec, 1), placeholders(spec)
        with using(Operations(unrolls_loops=unrolls)):
            outputs = connect(spec, variables, inputs).outputs
        gradients: list[Any] = []
        if wanted:
            weights = np.random.default_rng(1).normal(size=(3, 5, outputs[wanted].shape[-1]))
            by = [*variables.values(), *(item for item in inputs.values() if item.dtype == tf.float32)]
            found = tf.gradients(tf.reduce_sum(outputs[wanted] * weights.astype(np.float32)), by)
            gradients = [tf.convert_to_tensor(gradient) for gradient in found if gradient is not None]
        session.run(tf.global_variables_initializer())
        values = {name: session.run(variable) for name, variable in variables.items()}
        fed = {inputs[name]: array for name, array in feed.items()}
        return *session.run([dict(outputs), gradients], fed), values


@pytest.mark.parametrize("unrolls", [True, False])
@pytest.mark.parametrize(("kind", "steps", "reverse"), [("lstm", 5, False), ("gru", 5, True), ("lstm", None, True)])
def test_a_cell_written_by_layers_is_the_layer_of_that_kind(
    kind: str, steps: int | None, reverse: bool, unrolls: bool
) -> None:
    spec = recurrent(kind, steps, reverse)
    feed = {"x": X, "n": LENGTHS}
    outputs, gradients, _ = connected(spec, feed, unrolls=unrolls, wanted="by_layers")
    _, expected, _ = connected(spec, feed, wanted="whole")
    for name in ("", "state_"):
        np.testing.assert_allclose(outputs[f"{name}by_layers"], outputs[f"{name}whole"], atol=1e-6)
    assert len(gradients) == len(expected) == len(spec.variables) + 1
    for got, wanted in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_variables_are_created_once_by_the_usual_rules() -> None:
    spec = recurrent("gru")
    assert list(spec.variables) == [
        "rnn/gates/kernel",
        "rnn/gates/bias",
        "rnn/candidate/kernel",
        "rnn/candidate/bias",
    ]
    assert spec.variables["rnn/gates/kernel"].layers == ("by_layers/gates", "whole")
    inside = spec_of(f"""
inputs: {{x: {{shape: [5, 4]}}}}
variables: {{bias: b}}
rules: {{still: {{variables: deep/rnn/candidate/.*, trainable: false}}}}
blocks: {GRU}
layers:
  deep:
    kind: scope
    layers:
      rnn: {{kind: scan, block: gru, inputs: {{x: x}}, states: {{h: {{shape: [6]}}}}, variables: {{kernel: w}}}}
  again: {{kind: scan, block: gru, scope: deep, inputs: {{x: deep}}, states: {{h: {{initial: deep/rnn/state_h}}}}}}
""")
    names = ["deep/rnn/gates/w", "deep/rnn/gates/b", "deep/rnn/candidate/w", "deep/rnn/candidate/b"]
    assert list(inside.variables)[:4] == names
    assert inside.trainable[:2] == tuple(names[:2])
    assert not inside.variables["deep/rnn/candidate/w"].trainable
    assert list(inside.variables)[4] == "deep/gates/kernel"


ATTENTION = """
inputs: {memory: {shape: [7, 4]}, mask: {shape: [7], dtype: int32}, x: {shape: [5, 6]}}
blocks:
  cell:
    layers:
      both: {kind: concat, input: [x, h]}
      new: {kind: dense, units: 4, activation: tanh}
      query: {kind: reshape, shape: [1, 4]}
      scores: {kind: matmul, input: [query, memory], transpose_b: true}
      row: {kind: reshape, shape: [7]}
      seen: {kind: compare, input: mask, function: greater, value: 0}
      least: {kind: clip, input: row, maximum: -1000000}
      masked: {kind: where, input: [row, least], condition: seen}
      weights: {kind: activation, function: softmax}
      flat: {kind: reshape, shape: [1, 7]}
      context: {kind: matmul, input: [flat, memory]}
      out: {kind: reshape, shape: [4]}
    outputs: {h: new, weights: weights}
layers:
  decoder: {kind: scan, block: cell, inputs: {x: x}, constants: {memory: memory, mask: mask}, states: {h: {shape: [4]}}}
outputs: {context: decoder, weights: decoder/weights, h: decoder/state_h}
"""


def test_attention_inside_the_step_is_that_of_numpy() -> None:
    memory, x = DRAW.normal(size=(3, 7, 4)).astype(np.float32), DRAW.normal(size=(3, 5, 6)).astype(np.float32)
    mask = (np.arange(7) < np.array([[7], [2], [5]])).astype(np.int32)
    outputs, _, values = connected(spec_of(ATTENTION), {"memory": memory, "mask": mask, "x": x})
    h, contexts = np.zeros((3, 4)), []
    for index in range(5):
        h = np.tanh(np.concatenate([x[:, index], h], axis=1) @ values["decoder/new/kernel"])
        scores = np.where(mask > 0, np.einsum("bd,bmd->bm", h, memory), -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        contexts.append(np.einsum("bm,bmd->bd", weights, memory))
        np.testing.assert_allclose(outputs["weights"][:, index], weights, atol=1e-6)
    np.testing.assert_allclose(outputs["context"], np.stack(contexts, axis=1), atol=1e-6)
    np.testing.assert_allclose(outputs["h"], h, atol=1e-6)


NOISY = """
inputs: {x: {shape: [5, 4]}, ids: {shape: [5], dtype: int32}}
blocks:
  inner:
    layers: {sum: {kind: add, input: [y, s]}, out: {kind: dense, units: 4}}
    outputs: {s: out}
  cell:
    layers:
      row: {kind: embedding, input: id, input_dim: 9, output_dim: 4}
      loud: {kind: dropout, input: x, rate: 0.5}
      sum: {kind: add, input: [loud, row, h]}
      twice: {kind: reshape, shape: [2, 4], input: pair}
      pair: {kind: concat, input: [sum, loud]}
      nested: {kind: scan, block: inner, inputs: {y: twice}, states: {s: {initial: sum}}}
      new: {kind: activation, input: nested/state_s, function: tanh}
    outputs: {h: new, loud: loud}
layers:
  rnn: {kind: scan, block: cell, inputs: {x: x, id: ids}, states: {h: {shape: [4]}}}
outputs: {out: rnn, loud: rnn/loud}
"""


def test_every_execution_gives_the_same_numbers_and_every_step_noise_of_its_own() -> None:
    spec, ids = spec_of(NOISY), DRAW.integers(0, 9, (3, 5)).astype(np.int32)
    results: list[Any] = []
    for compiled, unrolls in ((False, True), (False, False), (True, False)):
        with tf.Graph().as_default(), tf.Session() as session:
            variables = create_variables(spec, 1)
            held = {"x": tf.Variable(np.ones_like(X), use_resource=True), "ids": tf.Variable(ids, use_resource=True)}

            def run(unrolls: bool = unrolls, held: Any = held, variables: Any = variables) -> Any:
                with using(Operations(unrolls_loops=unrolls)):
                    inputs = {name: tf.convert_to_tensor(item) for name, item in held.items()}
                    call = TrainingCall(3, tf.constant(7, tf.int64))
                    outputs = connect(spec, variables, inputs, training=call).outputs
                gradients = tf.gradients(tf.reduce_sum(outputs["out"] ** 2), list(variables.values()))
                assert not any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)
                return [*outputs.values(), *gradients]

            fetched = (tf.compiled_by_xla(run) if compiled else run)()
            session.run(tf.global_variables_initializer())
            results.append(session.run(fetched))
    for other in results[1:]:
        for got, wanted in zip(other, results[0], strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-4)
        np.testing.assert_array_equal(other[1], results[0][1])
    noise = results[0][1]
    assert set(np.unique(noise)) == {0, 2}
    assert len({noise[:, index].tobytes() for index in range(5)}) == 5


def test_a_cell_may_generate_without_sequences_and_its_block_have_arguments() -> None:
    spec = spec_of("""
inputs: {x: {shape: [4]}}
blocks:
  double:
    arguments: {most: null, name: h}
    layers: {twice: {kind: add, input: [h, h]}, new: {kind: clip, maximum: "{most}"}}
    outputs: {"{name}": new}
layers: {powers: {kind: scan, block: double, arguments: {most: 1.5}, steps: 3, states: {h: {initial: x}}}}
""")
    outputs, _, _ = connected(spec, {"x": X[:, 0]})
    h, expected = X[:, 0], []
    for _ in range(3):
        expected.append(h := np.minimum(2 * h, np.float32(1.5)))
    np.testing.assert_array_equal(outputs["out"], np.stack(expected, axis=1))


BLOCK = "blocks: {cell: {layers: {new: {kind: add, input: [x, h]}}, outputs: {h: new}}}"
STATES = "states: {h: {shape: [4]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{BLOCK}\nlayers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, states: {{h: {{shape: [3]}}}}}}}}",
            "network.blocks.cell.layers.new: add needs inputs of one shape, or of size 1 where they differ, got "
            "[batch, 4] float32 and [batch, 3] float32; 's/new' reads 's/x' [batch, 4] float32, 's/h' [batch, 3] "
            "float32",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: concat, input: [x, h]}}, outputs: {h: new}}}\n"
            f"layers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.layers.s: state 'h' is [batch, 4] float32, but its next value, output 'h' of block 'cell', is "
            "[batch, 8] float32; 's' reads inputs.x 'x' [batch, 5, 4] float32",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: add, input: [x, h]}, out: {kind: cast, dtype: int32}}, "
            f"outputs: {{h: out}}}}}}\nlayers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.layers.s: state 'h' is [batch, 4] float32, but its next value, output 'h' of block 'cell', is "
            "[batch, 4] int32; 's' reads inputs.x 'x' [batch, 5, 4] float32",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: add, input: [x, h]}}, outputs: {hh: new}}}\n"
            f"layers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.layers.s: state 'h' needs its next value, but block 'cell' has no output 'h'; did you mean 'hh'? "
            "allowed: hh; 's' reads inputs.x 'x' [batch, 5, 4] float32",
        ),
        (
            f"{BLOCK}\nlayers: {{d: {{kind: dense, units: 4}}, s: {{kind: scan, block: cell, constants: {{x: d}}, "
            f"{STATES}, inputs: {{y: x}}, steps: 3}}}}",
            None,
        ),
        (
            f"{BLOCK}\nlayers: {{m: {{kind: slice, input: x, stop: 3}}, s: {{kind: scan, block: cell, "
            f"inputs: {{x: x, y: m}}, {STATES}}}}}",
            "network.layers.s: scan needs inputs of one number of steps: x has 5, y has 3; 's' reads inputs.x 'x' "
            "[batch, 5, 4] float32, inputs.y 'm' [batch, 3, 4] float32",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: add, input: [x, h, m]}}, outputs: {h: new}}}\n"
            f"layers: {{m: {{kind: flatten}}, s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.blocks.cell.layers.new.input: no layer or input 'm' in block 'cell' as network.layers.s connects "
            "it; allowed: x, h, new; give it more with inputs: {NAME: LAYER}",
        ),
        (
            f"{BLOCK}\nlayers: {{s: {{kind: scan, block: cel, inputs: {{x: x}}, {STATES}}}, "
            f"t: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.layers.s.block: no block 'cel'; did you mean 'cell'? allowed: cell",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: add, input: [x, h]}, norm: {kind: batch_norm}}, "
            f"outputs: {{h: norm}}}}}}\nlayers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.blocks.cell.layers.norm: kind 'batch_norm' would update moving_mean, moving_variance in every "
            "step over time, which a cell cannot; normalize by kind 'layer_norm', or set trainable: false",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: add, input: [x, h]}, "
            f"t: {{kind: scan, block: cell, steps: 2, {STATES}, constants: {{x: new}}}}}}, outputs: {{h: new}}}}}}\n"
            f"layers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.blocks.cell.layers.t.block: these blocks connect each other in a cycle: cell <- cell",
        ),
        (
            "blocks: {cell: {layers: {new: {kind: add, input: [x, h]}}, outputs: {h: new, state_h: new}}}\n"
            f"layers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.layers.s: the last state and an output of block 'cell' are both called 'state_h'; 's' reads "
            "inputs.x 'x' [batch, 5, 4] float32",
        ),
        (
            "blocks: {cell: {layers: {x: {kind: add, input: [h, h]}}, outputs: {h: x}}}\n"
            f"layers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
            "network.layers.s.inputs.x: a layer inside is called 'x' too; rename one",
        ),
    ],
)
def test_mistakes(text: str, message: str | None) -> None:
    inputs = "inputs: {x: {shape: [5, 4]}}\n"
    if message is not None:
        assert message in problems_of(inputs + text)


FIELD_MISTAKES = {
    "no steps": (
        f"constants: {{x: x}}, {STATES}",
        "the number of steps is that of the sequences in 'inputs', or 'steps'; give one of them",
    ),
    "steps twice": (
        f"inputs: {{x: x}}, steps: 5, {STATES}",
        "the number of steps is that of the sequences in 'inputs', or 'steps'; give one of them",
    ),
    "no examples": (
        f"steps: 3, {STATES}",
        "the number of examples is unknown; give 'inputs', 'constants' or an 'initial' state",
    ),
    "carries backward": (
        f"inputs: {{x: x}}, carry: true, reverse: true, {STATES}",
        "carry is true, but reverse is, too: a state that runs backwards cannot continue in the next batch",
    ),
    "carries nothing": (
        "inputs: {x: x}, carry: true, states: {h: {initial: first}}",
        "carry is true, but no state has a 'shape'; what starts as 'initial' is not carried",
    ),
    "reads by position": (
        f"inputs: {{x: x}}, input: x, {STATES}",
        "kind 'scan' reads by names; remove 'input' and name the layer in 'constants'",
    ),
    "one name twice": (
        f"inputs: {{x: x, h: x}}, {STATES}",
        "the block's layers would read two tensors as 'h'; rename one",
    ),
}


@pytest.mark.parametrize("case", FIELD_MISTAKES)
def test_fields_that_contradict_each_other(case: str) -> None:
    fields, message = FIELD_MISTAKES[case]
    text = f"inputs: {{x: {{shape: [5, 4]}}}}\n{BLOCK}\nlayers: {{s: {{kind: scan, block: cell, {fields}}}}}"
    assert fields_problems(text) == [f"layers.s.scan: {message}"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{}", "a state starts as zeros of a 'shape', or as a layer, 'initial'; give one of them"),
        (
            "{shape: [4], initial: x}",
            "a state starts as zeros of a 'shape', or as a layer, 'initial'; give one of them",
        ),
        (
            "{initial: x, dtype: int32}",
            "'dtype' is that of the 'initial' layer; leave it out, or convert that by kind 'cast'",
        ),
    ],
)
def test_a_state_starts_in_one_way(state: str, message: str) -> None:
    fields = f"inputs: {{x: x}}, states: {{h: {state}}}"
    text = f"inputs: {{x: {{shape: [5, 4]}}}}\n{BLOCK}\nlayers: {{s: {{kind: scan, block: cell, {fields}}}}}"
    assert fields_problems(text) == [f"layers.s.scan.states.h: {message}"]


SHAPE_MISTAKES = {
    "lengths of floats": (
        f"{BLOCK}\nlayers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, lengths: x, {STATES}}}}}",
        "network.layers.s: scan needs lengths [batch] of int32 or int64, got [batch, 5, 4] float32; 's' reads inputs.x "
        "'x' [batch, 5, 4] float32, lengths 'x' [batch, 5, 4] float32",
    ),
    "a sequence without steps": (
        f"{BLOCK}\nlayers: {{s: {{kind: scan, block: cell, inputs: {{x: n}}, {STATES}}}}}",
        "network.layers.s: scan needs inputs.x [batch, time, ...], got [batch] float32; give it in constants; 's' "
        "reads inputs.x 'n' [batch] float32",
    ),
    "an output of no example": (
        "blocks: {cell: {layers: {one: {kind: constant, value: 1}, new: {kind: add, input: [x, h]}}, outputs: {h: new, "
        f"one: one}}}}}}\nlayers: {{s: {{kind: scan, block: cell, inputs: {{x: x}}, {STATES}}}}}",
        "network.layers.s: output 'one' of block 'cell' is the same for every example; give its layer batch_of; 's' "
        "reads inputs.x 'x' [batch, 5, 4] float32",
    ),
}


@pytest.mark.parametrize("case", SHAPE_MISTAKES)
def test_shapes_that_do_not_fit(case: str) -> None:
    text, message = SHAPE_MISTAKES[case]
    assert message in problems_of(f"inputs: {{x: {{shape: [5, 4]}}, n: {{shape: []}}}}\n{text}")


def test_sequences_whose_numbers_of_steps_turn_out_to_differ_are_refused() -> None:
    spec = spec_of(
        "inputs: {x: {shape: [null, 4]}, y: {shape: [null, 4]}}\n"
        "blocks: {cell: {layers: {new: {kind: add, input: [x, y, h]}}, outputs: {h: new}}}\n"
        f"layers: {{s: {{kind: scan, block: cell, inputs: {{x: x, y: y}}, {STATES}}}}}"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="scan needs inputs of one number of steps"):
        connected(spec, {"x": X, "y": X[:, :3]})
