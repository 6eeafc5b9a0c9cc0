"""TensorFlow's optimizers in a plain program as the oracle: the same ten steps, the same slots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.registry import kinds
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import Values, config_of, examples, loaded

pytestmark = pytest.mark.untraced

LINEAR = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {"logits": {"kind": "dense", "units": 3}},
    "outputs": {"logits": "logits"},
}
DATA = examples()
TRAIN = {name: array[:40] for name, array in DATA.items()}
STEPS = 10

CASES: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("sgd", {}, lambda rate: tf.train.GradientDescentOptimizer(rate)),
    ("momentum", {"momentum": 0.8}, lambda rate: tf.train.MomentumOptimizer(rate, 0.8)),
    (
        "momentum",
        {"momentum": 0.8, "nesterov": True},
        lambda rate: tf.train.MomentumOptimizer(rate, 0.8, use_nesterov=True),
    ),
    (
        "adam",
        {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-4},
        lambda rate: tf.train.AdamOptimizer(rate, beta1=0.8, beta2=0.9, epsilon=1e-4),
    ),
    (
        "rmsprop",
        {"rho": 0.8, "momentum": 0.5, "epsilon": 1e-3},
        lambda rate: tf.train.RMSPropOptimizer(rate, decay=0.8, momentum=0.5, epsilon=1e-3),
    ),
    (
        "adagrad",
        {"initial_accumulator_value": 0.3},
        lambda rate: tf.train.AdagradOptimizer(rate, initial_accumulator_value=0.3),
    ),
]


SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "large": lambda x: x * np.float32(1e3),
    "tiny": lambda x: x * np.float32(1e-4),
    "constant columns": lambda x: np.concatenate([x[:, :1], 0 * x[:, 1:2], 0 * x[:, 2:] + 1], axis=1),
}
"""What the data of ten steps is; of a column of zeros the gradient is zero."""


def trained(folder: Path, optimizer: dict[str, Any], steps: int = STEPS, scale: str = "plain") -> tuple[Values, Values]:
    """Return all values before and after steps on all training examples at once."""
    data = {**DATA, "x": SCALES[scale](DATA["x"])}
    config = config_of(folder, data, network=LINEAR, optimizer=optimizer, train={"batch_size": 40})
    checked, data = loaded(config)
    built = train_graph(checked, data)
    with Executor(built) as executor:
        executor.initialize()
        before = executor.values(built.variables)
        executor.run(steps)
        return before, executor.values(built.variables)


def plain(initial: Values, make: Callable[[Any], Any], rate: float, scale: str = "plain") -> Values:
    """Train the same network in a program of TensorFlow 1 alone; return all its values."""
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("logits"):
            kernel = tf.get_variable("kernel", initializer=initial["logits/kernel"])
            bias = tf.get_variable("bias", initializer=initial["logits/bias"])
        logits = tf.matmul(tf.constant(SCALES[scale](TRAIN["x"])), kernel) + bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=TRAIN["label"], logits=logits)
        train = make(rate).minimize(tf.reduce_mean(losses))
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            session.run(train)
        return dict(session.run({variable.op.name: variable for variable in tf.global_variables()}))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("kind", "fields", "make"), CASES)
def test_ten_steps_equal_those_of_tensorflows_optimizer_slots_included(
    tmp_path: Path, kind: str, fields: dict[str, Any], make: Callable[[Any], Any], scale: str
) -> None:
    before, after = trained(tmp_path, {"kind": kind, "learning_rate": 0.2, **fields}, scale=scale)
    expected = plain(before, make, 0.2, scale)
    assert set(expected) == {name for name in after if not name.endswith(("global_step", "ExponentialMovingAverage"))}
    for name, value in expected.items():
        largest = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(after[name], value, rtol=2e-5, atol=2e-6 * largest, err_msg=name)
    assert scale == "tiny" or np.abs(after["logits/kernel"] - before["logits/kernel"]).max() > 0.05
    assert after["global_step"] == STEPS


def test_every_kind_is_compared() -> None:
    assert {case[0] for case in CASES} | {"adamw"} == set(kinds("optimizer"))


def gradients(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of the mean cross-entropy over the training examples, in float64."""
    x = TRAIN["x"].astype(np.float64)
    logits = x @ kernel + bias
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    probability[np.arange(40), TRAIN["label"]] -= 1
    return x.T @ probability / 40, probability.mean(axis=0)


def test_adamw_decays_weights_apart_from_adams_step(tmp_path: Path) -> None:
    rate, decay, beta_1, beta_2, epsilon = 0.05, 0.3, 0.8, 0.9, 1e-4
    fields = {"weight_decay": decay, "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
    before, after = trained(tmp_path, {"kind": "adamw", "learning_rate": rate, **fields})
    values = [before["logits/kernel"].astype(np.float64), before["logits/bias"].astype(np.float64)]
    means, squares = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
    for step in range(1, STEPS + 1):
        scaled = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        for i, gradient in enumerate(gradients(*values)):
            means[i] = beta_1 * means[i] + (1 - beta_1) * gradient
            squares[i] = beta_2 * squares[i] + (1 - beta_2) * gradient**2
            decayed = values[i] * (1 - rate * decay)
            values[i] = decayed - scaled * means[i] / (np.sqrt(squares[i]) + epsilon)
    np.testing.assert_allclose(after["logits/kernel"], values[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["logits/bias"], values[1], rtol=1e-4, atol=1e-5)


KERAS: list[tuple[dict[str, Any], Callable[[Any], Any]]] = [
    ({"kind": "sgd"}, lambda k: k.SGD(0.05)),
    ({"kind": "momentum", "momentum": 0.8}, lambda k: k.SGD(0.05, momentum=0.8)),
    ({"kind": "adam", "beta_2": 0.99}, lambda k: k.Adam(0.05, beta_2=0.99, epsilon=1e-8)),
    ({"kind": "adamw", "weight_decay": 0.3}, lambda k: k.AdamW(0.05, weight_decay=0.3, epsilon=1e-8)),
    (
        {"kind": "rmsprop", "momentum": 0.5, "initial_mean_square": 0.0},
        lambda k: k.RMSprop(0.05, rho=0.9, momentum=0.5, epsilon=1e-7),
    ),
    ({"kind": "adagrad"}, lambda k: k.Adagrad(0.05, epsilon=0.0)),
]


@pytest.mark.parametrize(("fields", "make"), KERAS, ids=[fields["kind"] for fields, _ in KERAS])
def test_ten_steps_equal_those_of_keras(tmp_path: Path, fields: dict[str, Any], make: Callable[[Any], Any]) -> None:
    import keras

    before, after = trained(tmp_path, {"learning_rate": 0.05, **fields})
    values = [keras.Variable(before[name]) for name in ("logits/kernel", "logits/bias")]
    reference = make(keras.optimizers)
    for _ in range(STEPS):
        slopes = gradients(*(np.asarray(value).astype(np.float64) for value in values))
        reference.apply([slope.astype(np.float32) for slope in slopes], values)
    for name, value in zip(("logits/kernel", "logits/bias"), values, strict=True):
        np.testing.assert_allclose(after[name], np.asarray(value), rtol=1e-4, atol=1e-5, err_msg=name)


def test_an_embedding_moves_in_all_rows_or_in_those_that_are_read(tmp_path: Path) -> None:
    ids = np.array([[0], [1], [2]] * 20, np.int32)
    data = {"x": ids, "label": np.zeros(60, np.int64)}
    network = {
        "inputs": {"x": {"shape": [1], "dtype": "int32"}},
        "layers": {"words": {"kind": "embedding", "input_dim": 3, "output_dim": 3}, "logits": {"kind": "flatten"}},
        "outputs": {"logits": "logits"},
    }
    moved = {}
    for kind, lazy in (("momentum", True), ("momentum", False), ("rmsprop", True), ("rmsprop", False)):
        optimizer = {"kind": kind, "learning_rate": 0.1, "momentum": 0.9, "lazy": lazy}
        config = config_of(
            tmp_path / f"{kind}{lazy}", data, network=network, optimizer=optimizer, train={"batch_size": 1}
        )
        with Executor(train_graph(*loaded(config))) as executor:
            executor.initialize()
            executor.run(1)
            first = executor.values(["words/embeddings"])["words/embeddings"]
            read = executor.values(
                ["words/embeddings/Momentum" if kind == "momentum" else "words/embeddings/RMSProp_1"]
            )
            row = int(np.abs(next(iter(read.values()))).sum(axis=1).argmax())
            while True:
                executor.run(1)
                then = executor.values(["words/embeddings"])["words/embeddings"]
                other = [at for at in range(3) if at != row and np.abs(then[at] - first[at]).max() > 0]
                if other:
                    break
                first = then
        moved[kind, lazy] = bool(np.abs(then[row] - first[row]).max() > 0)
    assert moved == {
        ("momentum", True): False,
        ("momentum", False): True,
        ("rmsprop", True): False,
        ("rmsprop", False): True,
    }


def test_adamw_without_decay_is_adam(tmp_path: Path) -> None:
    _, adam = trained(tmp_path / "adam", {"kind": "adam", "learning_rate": 0.05})
    _, adamw = trained(tmp_path / "adamw", {"kind": "adamw", "learning_rate": 0.05, "weight_decay": 0.0})
    np.testing.assert_array_equal(adam["logits/kernel"], adamw["logits/kernel"])


@pytest.mark.parametrize(("length", "clipped"), [(0.01, True), (100.0, False)])
def test_gradients_are_clipped_to_the_global_norm(tmp_path: Path, length: float, clipped: bool) -> None:
    before, after = trained(tmp_path, {"kind": "sgd", "learning_rate": 1.0, "global_clipnorm": length}, steps=1)
    kernel, bias = gradients(before["logits/kernel"].astype(np.float64), before["logits/bias"].astype(np.float64))
    norm = np.sqrt((kernel**2).sum() + (bias**2).sum())
    assert (norm > length) == clipped
    factor = length / norm if clipped else 1
    np.testing.assert_allclose(before["logits/kernel"] - after["logits/kernel"], factor * kernel, rtol=1e-3, atol=2e-7)
    np.testing.assert_allclose(before["logits/bias"] - after["logits/bias"], factor * bias, rtol=1e-3, atol=2e-7)


def test_warm_up_scales_the_first_step(tmp_path: Path) -> None:
    before, full = trained(tmp_path / "full", {"kind": "sgd", "learning_rate": 1.0}, steps=1)
    _, warm = trained(tmp_path / "warm", {"kind": "sgd", "learning_rate": 1.0, "warmup_steps": 4}, steps=1)
    moved = {name: before[name] - full[name] for name in ("logits/kernel", "logits/bias")}
    for name, full_move in moved.items():
        np.testing.assert_allclose(before[name] - warm[name], full_move / 4, rtol=1e-3, atol=1e-7)
