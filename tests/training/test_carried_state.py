"""State that is carried from batch to batch: values against one long pass, resuming, evaluation, freezing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.schema import Config
from expkit.config.sections.train import Precision
from expkit.kinds.sources.grammar import Grammar
from expkit.network.build import connect, create_variables
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import Predictor, infer_graph
from expkit.training.sessions import Evaluator, Executor
from support.experiments import config_of, loaded
from support.networks import spec_of
from support.trainings import train

TOKENS, LENGTH, BATCH = 7, 4, 3
TEXT = np.random.default_rng(0).integers(0, TOKENS, 3 * BATCH * LENGTH * 6 + 1).astype(np.int32)


def network(cell: str = "lstm", *, carry: bool = True, **fields: Any) -> dict[str, Any]:
    """Return a language model of one recurrent layer."""
    return {
        "inputs": {"token": {"shape": [LENGTH], "dtype": "int32"}},
        "layers": {
            "lookup": {"kind": "embedding", "input_dim": TOKENS, "output_dim": 5},
            "cell": {"kind": cell, "units": 6, "return_sequences": True, "carry": carry, **fields},
            "logits": {"kind": "dense", "units": TOKENS},
        },
        "outputs": {"logits": "logits"},
    }


def config(folder: Path, cell: str = "lstm", *, carry: bool = True, order: str = "stream", **train: Any) -> Config:
    """Return an experiment on windows of ``TEXT``; 5 or 6 steps are an epoch."""
    data = {
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2},
        "order": order,
        "windows": {"length": LENGTH, "field": "token"},
    }
    train = {"batch_size": BATCH, "evaluation_batch_size": 2, "metrics": {}, **train}
    return config_of(
        folder,
        {"token": TEXT},
        network=network(cell, carry=carry),
        data=data | train.pop("data", {}),
        train=train,
        optimizer=train.pop("optimizer", {"kind": "sgd", "learning_rate": 0.5}),
        ema=train.pop("ema", {}),
    )


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf.Session() as opened:
        yield opened


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_two_batches_equal_one_of_twice_the_length_and_no_gradient_passes_between_them(session: Any, cell: str) -> None:
    text = f"""
      inputs: {{x: {{shape: [null, 5]}}}}
      layers:
        cell: {{kind: {cell}, units: 6, return_sequences: true, carry: true}}
      outputs: {{out: cell}}
    """
    spec = spec_of(text)
    x = tf.constant(np.random.default_rng(0).normal(size=(BATCH, 2 * LENGTH, 5)).astype(np.float32))
    variables = create_variables(spec, seed=0)
    with tf.name_scope("first"):
        first = connect(spec, variables, {"x": x[:, :LENGTH]})
    with tf.name_scope("second"):
        second = connect(spec, variables, {"x": x[:, LENGTH:], **first.state})
    with tf.name_scope("whole"):
        whole = connect(spec, variables, {"x": x})
    assert set(first.state) == {"cell/carried_h", *(["cell/carried_c"] if cell == "lstm" else [])}
    session.run(tf.global_variables_initializer())
    halves = tf.concat([first.outputs["out"], second.outputs["out"]], axis=1)
    got, expected, ends = session.run([halves, whole.outputs["out"], [second.state, whole.state]])
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(ends[0]["cell/carried_h"], ends[1]["cell/carried_h"])
    assert tf.gradients(second.outputs["out"], x[:, :LENGTH]) == [None]
    through, stopped = (session.run(tf.gradients(item.outputs["out"][:, -1], x)[0]) for item in (whole, second))
    assert np.all(stopped[:, :LENGTH] == 0)
    assert np.all(np.abs(through[:, :LENGTH]).max(axis=(1, 2)) > 0)
    np.testing.assert_allclose(through[:, LENGTH:], stopped[:, LENGTH:], rtol=1e-5, atol=1e-7)


def by_hand(config: Config, steps: int, session: Any) -> dict[str, np.ndarray]:
    """Return the variables after steps of gradient descent that carry the state, written in TensorFlow alone."""
    checked, data = loaded(config)
    rows = config.train.examples_per_step
    windows, labels = (np.asarray(data.splits["train"][name][:]) for name in ("token", "label"))
    length = len(windows) // rows
    variables = create_variables(checked.spec, seed=config.run.seed)
    token, label = tf.placeholder(tf.int32, (rows, LENGTH)), tf.placeholder(tf.int32, (rows, LENGTH))
    h, c = tf.placeholder(tf.float32, (rows, 6)), tf.placeholder(tf.float32, (rows, 6))
    embedded = tf.gather(variables["lookup/embeddings"], token)
    state, outputs = (h, c), []
    for step in range(LENGTH):
        gates = tf.concat([embedded[:, step], state[0]], 1) @ variables["cell/kernel"] + variables["cell/bias"]
        i, j, f, o = tf.split(gates, 4, axis=1)
        memory = tf.sigmoid(f + 1) * state[1] + tf.sigmoid(i) * tf.tanh(j)
        state = (tf.sigmoid(o) * tf.tanh(memory), memory)
        outputs.append(state[0])
    logits = tf.stack(outputs, axis=1) @ variables["logits/kernel"] + variables["logits/bias"]
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits))
    gradients = [tf.convert_to_tensor(item) for item in tf.gradients(loss, list(variables.values()))]
    update = [item.assign_sub(0.5 * gradient) for item, gradient in zip(variables.values(), gradients, strict=True)]
    session.run(tf.global_variables_initializer())
    for number in range(steps):
        if number % length == 0:
            carried = (np.zeros((rows, 6)), np.zeros((rows, 6)))
        chosen = np.arange(rows) * length + number % length
        fed = {token: windows[chosen], label: labels[chosen], h: carried[0], c: carried[1]}
        with tf.control_dependencies(gradients):
            carried, _ = session.run([state, update], fed)
    found = {name: session.run(item) for name, item in variables.items()}
    return found | {"cell/carried_h": carried[0], "cell/carried_c": carried[1]}


MODES = [
    Execution(1),
    Execution(7),
    Execution(7, parallelism="inter_op"),
    Execution(7, jit_compile="update"),
    Execution(7, jit_compile=True),
]


@pytest.mark.parametrize("placement", ["resident", "streamed"])
def test_training_equals_steps_by_hand_in_every_execution_mode(tmp_path: Path, session: Any, placement: str) -> None:
    given = config(tmp_path, data={"placement": placement})
    steps = 16  # The epoch ends twice.
    expected = by_hand(given, steps, session)
    for execution in MODES if placement == "resident" else MODES[1:2]:
        built = train_graph(*loaded(given), execution)
        with Executor(built) as executor:
            executor.initialize()
            executor.run(steps)
            values = executor.values(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(values[name], value, rtol=2e-5, atol=2e-6, err_msg=f"{name} {execution}")


def test_accumulated_batches_are_lanes_of_one_larger_batch(tmp_path: Path) -> None:
    values = []
    for batch_size, count in ((2 * BATCH, 1), (BATCH, 2)):
        given = config(tmp_path, batch_size=batch_size, gradient_accumulation_steps=count)
        with Executor(train_graph(*loaded(given), Execution(3))) as executor:
            executor.initialize()
            executor.run(8)
            values.append(executor.values(executor.names))
    assert values[0]["cell/carried_h"].shape == (2 * BATCH, 6)
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("steps_per_execution", "placement"), [(1, "resident"), (7, "resident"), (7, "streamed")])
def test_a_run_resumed_within_an_epoch_equals_an_unbroken_one(
    tmp_path: Path, steps_per_execution: int, placement: str
) -> None:
    def trained(folder: str, steps: int) -> Any:
        given = config(
            tmp_path / "data",
            data={"placement": placement},
            steps=steps,
            save_every_steps=4,
            log_every_steps=3,
            evaluate_every_steps=5,
            steps_per_execution=steps_per_execution,
            optimizer={"kind": "adam", "learning_rate": 0.01},
            ema={"enabled": True},
        )
        return train(given, tmp_path / folder)

    whole = trained("whole", 13)
    trained("halves", 8)
    halves = trained("halves", 13)
    assert any(np.any(value) for name, value in whole.values.items() if name.endswith("carried_c"))
    for name, value in whole.values.items():
        np.testing.assert_array_equal(halves.values[name], value, err_msg=name)
    assert whole.records[-1][1]["valid/loss/ema"] == halves.records[-1][1]["valid/loss/ema"]


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_evaluation_equals_one_long_pass_over_each_lane(tmp_path: Path, session: Any, lanes: int) -> None:
    given = config(tmp_path, evaluation_batch_size=lanes)
    checked, data = loaded(given)
    test = data.splits["test"]
    windows, labels = (np.asarray(test[name][:]) for name in ("token", "label"))
    assert len(windows) == 10
    with Executor(train_graph(checked, data)) as executor, Evaluator(evaluate_graph(checked, data), given) as evaluator:
        executor.initialize()
        executor.run(9)
        values = executor.values(evaluator.names)
        evaluator.load(values)
        got = evaluator.evaluate(test, 0)["loss"]
        assert evaluator.evaluate(test, 0)["loss"] == got
    losses = []
    spec = spec_of(long_network())
    variables = {name: tf.constant(values[name]) for name in spec.variables}
    quotient, more = divmod(len(windows), lanes)
    start = 0
    for lane in range(lanes):
        end = start + quotient + (lane < more)
        tokens = windows[start:end].reshape(1, -1)
        with tf.name_scope(f"lane{lane}"):
            logits = connect(spec, variables, {"token": tf.constant(tokens)}).outputs["logits"]
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels[start:end].reshape(1, -1).astype(np.int64), logits=logits
        )
        losses += session.run(entropy).ravel().tolist()
        start = end
    assert len(losses) == windows.size
    np.testing.assert_allclose(got, np.mean(losses), rtol=1e-5)


def long_network() -> str:
    return f"""
      inputs: {{token: {{shape: [null], dtype: int32}}}}
      layers:
        lookup: {{kind: embedding, input_dim: {TOKENS}, output_dim: 5}}
        cell: {{kind: lstm, units: 6, return_sequences: true}}
        logits: {{kind: dense, units: {TOKENS}}}
      outputs: {{logits: logits}}
    """


def test_phases_that_alternate_carry_the_state_of_the_batch(tmp_path: Path) -> None:
    values, still = [], {"kind": "sgd", "learning_rate": 1e-30}
    variables = {"a": "(cell|logits)/.*", "b": "lookup/.*"}
    phases = {name: {"losses": ["main"], "variables": pattern} for name, pattern in variables.items()}
    for given_phases in ({}, phases):
        given = config(tmp_path, phases=given_phases, optimizer=still, ema={"enabled": False})
        with Executor(train_graph(*loaded(given), Execution(3))) as executor:
            executor.initialize()
            executor.run(4)
            values.append(executor.values(["cell/carried_h", "cell/carried_c"]))
    assert np.any(values[0]["cell/carried_h"])
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not tf.has_bfloat16(), reason="this processor has no bfloat16")
def test_in_bfloat16_the_state_is_held_in_float32_and_near_that_of_float32(tmp_path: Path) -> None:
    values = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        given = config(tmp_path, precision=precision)
        with Executor(train_graph(*loaded(given), Execution(3, precision=precision))) as executor:
            executor.initialize()
            executor.run(4)
            values.append(executor.values(["cell/carried_h"])["cell/carried_h"])
    assert values[1].dtype == np.float32
    np.testing.assert_allclose(values[1], values[0], atol=0.02)


def test_a_language_model_that_carries_its_state_predicts_better_than_one_that_forgets() -> None:
    perplexity, grammar = {}, {"vocabulary": 6, "topics": 4, "paragraph": 40, "length": 12_000}
    words = [f"data.source.{name}={value}" for name, value in grammar.items()]
    words += ["network.settings.vocabulary_size=10", "network.settings.hidden_size=24", "network.settings.layers=1"]
    words += ["data.windows.length=5", "optimizer.learning_rate=0.02", "ema=none"]
    for carry in (True, False):
        given = load(["experiment=ptb", *words, f"network.settings.carry={carry}"])
        checked, data = loaded(given)
        with Executor(train_graph(checked, data, Execution(50))) as executor:
            executor.initialize()
            executor.run(400)
            with Evaluator(evaluate_graph(checked, data), given) as evaluator:
                evaluator.load(executor.values(evaluator.names))
                perplexity[carry] = evaluator.evaluate(data.splits["test"], executor.step)["perplexity"]
    assert isinstance(given.data.source, Grammar)
    assert given.data.source.perplexity < perplexity[True] < 0.93 * perplexity[False], perplexity


def test_predictions_start_with_zeros_and_the_inference_graph_has_no_state(tmp_path: Path) -> None:
    given = config(tmp_path)
    checked, data = loaded(given)
    graph = infer_graph(checked.spec, data.preprocessing)
    handles = [item.name for item in graph.graph.get_operations() if item.type == "VarHandleOp"]
    assert sorted(handles) == sorted(checked.spec.variables)
    tokens = {"token": np.asarray(data.splits["test"]["token"][:3])}
    with Predictor(graph) as predictor, Evaluator(evaluate_graph(checked, data), given) as evaluator:
        with Executor(train_graph(checked, data)) as executor:
            executor.initialize()
            executor.run(4)
            values = executor.values(evaluator.names)
        predictor.load({name: values[name] for name in graph.variables})
        evaluator.load(values)
        first, second = predictor.predict(tokens), predictor.predict(tokens)
        np.testing.assert_array_equal(first["logits"], second["logits"])
        outputs = evaluator.outputs({**tokens, "label": np.asarray(data.splits["test"]["label"][:3])})
        np.testing.assert_allclose(outputs["raw"]["logits"], first["logits"], rtol=1e-5, atol=1e-6)
