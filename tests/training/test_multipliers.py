"""Learning-rate multipliers: a plain program of TensorFlow with an optimizer per variable is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import Values, config_of, examples, loaded

DATA = examples()
TRAIN = {name: array[:40] for name, array in DATA.items()}
STEPS = 6
RATE, TIMES = 0.05, {"logits/kernel": 0.3, "logits/bias": 4.0}
NETWORK = {
    "inputs": {"x": {"shape": [4]}},
    "rules": {
        name: {"variables": f"logits/{name}", "learning_rate_multiplier": TIMES[f"logits/{name}"]}
        for name in ("kernel", "bias")
    },
    "layers": {"hidden": {"kind": "dense", "units": 5}, "logits": {"kind": "dense", "units": 3}},
    "outputs": {"logits": "logits"},
}

CASES: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("sgd", {}, lambda rate: tf.train.GradientDescentOptimizer(rate)),
    (
        "momentum",
        {"momentum": 0.8, "nesterov": True},
        lambda rate: tf.train.MomentumOptimizer(rate, 0.8, use_nesterov=True),
    ),
    ("adam", {}, lambda rate: tf.train.AdamOptimizer(rate)),
    (
        "rmsprop",
        {"momentum": 0.5},
        lambda rate: tf.train.RMSPropOptimizer(rate, decay=0.9, momentum=0.5, epsilon=1e-7),
    ),
    ("adagrad", {}, lambda rate: tf.train.AdagradOptimizer(rate)),
]


def trained(folder: Path, optimizer: dict[str, Any], network: Any, jit: bool = False) -> tuple[Values, Values]:
    """Return all values before and after steps on all training examples at once."""
    config = config_of(folder, DATA, network=network, optimizer=optimizer, train={"batch_size": 40})
    checked, data = loaded(config)
    built = train_graph(checked, data, Execution(steps_per_execution=2, jit_compile=jit))
    with Executor(built) as executor:
        executor.initialize()
        before = executor.values(built.variables)
        for _ in range(STEPS // 2):
            executor.run(2)
        return before, executor.values(built.variables)


def one_optimizer_each(initial: Values, make: Callable[[Any], Any], decay: float = 0.0) -> Values:
    """Train the same network with an optimizer of its own for every variable, in a program of TensorFlow 1 alone."""
    with tf.Graph().as_default(), tf.Session() as session:
        names = ("hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias")
        v = {name: tf.get_variable(name, initializer=initial[name]) for name in names}
        logits = tf.matmul(tf.constant(TRAIN["x"]), v["hidden/kernel"]) + v["hidden/bias"]
        logits = tf.matmul(logits, v["logits/kernel"]) + v["logits/bias"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=TRAIN["label"], logits=logits)
        gradients = dict(zip(names, tf.gradients(tf.reduce_mean(losses), list(v.values())), strict=True))
        rates = {name: RATE * TIMES.get(name, 1.0) for name in names}
        with tf.control_dependencies(gradients.values()):
            shrink = [v[name].assign_sub(rates[name] * decay * v[name]) for name in names]
        with tf.control_dependencies(shrink):
            steps = [make(rates[name]).apply_gradients([(gradients[name], v[name])]) for name in names]
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            session.run(steps)
        return dict(session.run(v))


@pytest.mark.parametrize(("kind", "fields", "make"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("jit", [False, True])
def test_a_multiplier_is_a_learning_rate_of_its_own(
    tmp_path: Path, kind: str, fields: dict[str, Any], make: Callable[[Any], Any], jit: bool
) -> None:
    optimizer = {"kind": kind, "learning_rate": RATE, **fields}
    before, after = trained(tmp_path / "ours", optimizer, NETWORK, jit)
    theirs = one_optimizer_each(before, make)
    for name, value in theirs.items():
        np.testing.assert_allclose(after[name], value, rtol=2e-4, atol=2e-6, err_msg=name)
    without, plain = trained(tmp_path / "plain", optimizer, {**NETWORK, "rules": {}})
    assert sorted(before) == sorted(without), "no variable more and none less"
    assert np.abs(plain["logits/kernel"] - after["logits/kernel"]).max() > 1e-3


def test_decoupled_weight_decay_is_multiplied_too(tmp_path: Path) -> None:
    optimizer = {"kind": "adamw", "learning_rate": RATE, "weight_decay": 0.5}
    before, after = trained(tmp_path, optimizer, NETWORK)
    theirs = one_optimizer_each(before, lambda rate: tf.train.AdamOptimizer(rate), decay=0.5)
    for name, value in theirs.items():
        np.testing.assert_allclose(after[name], value, rtol=2e-4, atol=2e-6, err_msg=name)


def test_rows_that_were_looked_up_move_by_the_multiplied_rate(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    ids, labels = draw.integers(0, 5, size=60), draw.integers(0, 3, size=60)
    moved = []
    for times in (1.0, 3.0):
        network = {
            "inputs": {"ids": {"shape": [], "dtype": "int64"}},
            "layers": {
                "table": {"kind": "embedding", "input_dim": 9, "output_dim": 4, "learning_rate_multiplier": times},
                "logits": {"kind": "dense", "units": 3, "learning_rate_multiplier": 1e-9},
            },
            "outputs": {"logits": "logits"},
        }
        arrays = {"ids": ids, "label": labels}
        optimizer = {"kind": "sgd", "learning_rate": 0.1}
        config = config_of(tmp_path / str(times), arrays, network=network, optimizer=optimizer)
        checked, data = loaded(config)
        built = train_graph(checked, data)
        with Executor(built) as executor:
            executor.initialize()
            before = executor.values(["table/embeddings"])["table/embeddings"]
            executor.run(1)
            moved.append(executor.values(["table/embeddings"])["table/embeddings"] - before)
    assert np.abs(moved[0]).max() > 1e-4
    np.testing.assert_allclose(moved[1], 3 * moved[0], rtol=1e-4, atol=1e-7)
