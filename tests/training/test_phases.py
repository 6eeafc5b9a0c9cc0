"""Phases of a step: what each trains, by which losses, in which order, against programs of TensorFlow 1 alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import Values, assert_same, config_of, examples, loaded
from support.trainings import train

DATA = {**examples(), "other": examples(seed=5)["label"]}
TRAIN = {name: array[:40] for name, array in DATA.items()}
NETWORK = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "E": {"kind": "dense", "units": 5, "activation": "tanh", "regularizer": {"kernel": {"l2": 0.1}}},
        "A": {"kind": "dense", "units": 3, "input": "E"},
        "B": {"kind": "dense", "units": 3, "input": "E", "regularizer": {"kernel": {"l2": 0.2}}},
    },
    "outputs": {"a": "A", "b": "B"},
}
"""Two heads on one body."""
LOSSES = {
    "first": {"kind": "sparse_softmax_cross_entropy", "output": "a"},
    "second": {"kind": "sparse_softmax_cross_entropy", "output": "b", "labels": "other", "weight": 0.5},
}
ADAM = {"kind": "adam", "learning_rate": 0.02}
MOMENTUM = {"kind": "momentum", "learning_rate": 0.1, "global_clipnorm": 0.3}
PHASES = {
    "p": {"losses": ["first"], "variables": "(E|A)/.*", "optimizer": ADAM},
    "q": {"losses": ["second"], "variables": "(E|B)/.*", "optimizer": MOMENTUM},
}
"""The body is trained by both."""
APART = {**PHASES, "q": {"losses": ["first", "second"], "variables": "B/.*", "optimizer": MOMENTUM}}


def phased(folder: Path, given: Any, **sections: Any) -> Config:
    own = {"losses": LOSSES, "metrics": {}, "phases": given, "batch_size": 40, **sections.pop("train", {})}
    return config_of(folder, DATA, network=NETWORK, train=own, **sections)


def trained(config: Config, steps: int, execution: Execution | None = None) -> tuple[Values, Values]:
    """Return all values before and after steps, as many in one call as the execution has."""
    checked, data = loaded(config)
    built = train_graph(checked, data, execution or Execution())
    with Executor(built) as executor:
        executor.initialize()
        before = executor.values(built.variables)
        executor.run(steps)
        return before, executor.values(built.variables)


def by_hand(
    initial: Values, program: Callable[[dict[str, Any], dict[str, Any]], list[list[Any]]], steps: int
) -> Values:
    """Train the network in a program of TensorFlow 1: a step runs lists of operations, each list at once."""
    with tf.Graph().as_default(), tf.Session() as session:
        names = [f"{layer}/{own}" for layer in "EAB" for own in ("kernel", "bias")]
        v = {name: tf.get_variable(name, initializer=initial[name]) for name in names}
        hidden = tf.tanh(tf.matmul(tf.constant(TRAIN["x"]), v["E/kernel"]) + v["E/bias"])

        def loss(head: str, labels: str) -> Any:
            logits = tf.matmul(hidden, v[f"{head}/kernel"]) + v[f"{head}/bias"]
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=TRAIN[labels], logits=logits)
            return tf.reduce_mean(entropy)

        losses = {"first": loss("A", "label"), "second": 0.5 * loss("B", "other")}
        losses |= {name: scale * tf.reduce_sum(v[f"{name}/kernel"] ** 2) for name, scale in (("E", 0.1), ("B", 0.2))}
        updates = program(losses, v)
        session.run(tf.global_variables_initializer())
        for _ in range(steps):
            for update in updates:
                session.run(update)
        return dict(session.run(v))


def adam(loss: Any, variables: list[Any]) -> Any:
    return tf.train.AdamOptimizer(0.02).minimize(loss, var_list=variables)


def momentum(loss: Any, variables: list[Any]) -> Any:
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 0.3)
    return tf.train.MomentumOptimizer(0.1, 0.9).apply_gradients(list(zip(gradients, variables, strict=True)))


def of(v: dict[str, Any], layers: str) -> list[Any]:
    return [variable for name, variable in v.items() if name[0] in layers]


def test_phases_that_alternate_are_two_optimizers_one_after_the_other(tmp_path: Path) -> None:
    before, after = trained(phased(tmp_path, PHASES), 6, Execution(steps_per_execution=3, jit_compile="update"))

    def program(losses: dict[str, Any], v: dict[str, Any]) -> list[list[Any]]:
        first = adam(losses["first"] + losses["E"], of(v, "EA"))
        second = momentum(losses["second"] + losses["E"] + losses["B"], of(v, "EB"))
        return [[first], [second]]

    for name, value in by_hand(before, program, 6).items():
        np.testing.assert_allclose(after[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_phases_that_update_jointly_read_the_same_values(tmp_path: Path) -> None:
    before, after = trained(phased(tmp_path, APART, train={"update": "joint"}), 6)
    _, alternated = trained(phased(tmp_path, APART), 6)

    def program(losses: dict[str, Any], v: dict[str, Any]) -> list[list[Any]]:
        with tf.control_dependencies(
            gradients := tf.gradients(losses["first"] + losses["second"] + losses["B"], of(v, "B"))
        ):
            clipped, _ = tf.clip_by_global_norm(gradients, 0.3)
        own = tf.gradients(losses["first"] + losses["E"], of(v, "EA"))
        with tf.control_dependencies([*clipped, *own]):
            pairs = zip([tf.identity(one) for one in clipped], of(v, "B"), strict=True)
            first = tf.train.MomentumOptimizer(0.1, 0.9).apply_gradients(list(pairs))
            pairs = zip([tf.identity(one) for one in own], of(v, "EA"), strict=True)
            return [[first, tf.train.AdamOptimizer(0.02).apply_gradients(list(pairs))]]

    for name, value in by_hand(before, program, 6).items():
        np.testing.assert_allclose(after[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
    assert np.abs(after["B/kernel"] - alternated["B/kernel"]).max() > 1e-5
    np.testing.assert_allclose(after["A/kernel"], alternated["A/kernel"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_phase_updates_as_often_as_it_has_steps(tmp_path: Path, jit_compile: bool) -> None:
    phases = {"p": {**PHASES["p"], "steps": 3}, "q": PHASES["q"]}
    config = phased(tmp_path, phases, ema={"decay": 0.5, "num_updates": False})
    before, after = trained(config, 4, Execution(steps_per_execution=4, jit_compile=jit_compile))

    def program(losses: dict[str, Any], v: dict[str, Any]) -> list[list[Any]]:
        first = adam(losses["first"] + losses["E"], of(v, "EA"))
        second = momentum(losses["second"] + losses["E"] + losses["B"], of(v, "EB"))
        return [[first]] * 3 + [[second]]

    averages: Values = {name: before[name] for name in by_hand(before, program, 0)}
    for steps in range(1, 5):
        values = by_hand(before, program, steps)
        averages = {name: 0.5 * averages[name] + 0.5 * values[name] for name in values}
    for name, value in values.items():
        np.testing.assert_allclose(after[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
        average = after[f"{name}/ExponentialMovingAverage"]
        np.testing.assert_allclose(average, averages[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_accumulated_gradients_of_phases_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    _, whole = trained(phased(tmp_path, PHASES), 5)
    config = phased(tmp_path, PHASES, train={"batch_size": 10, "gradient_accumulation_steps": 4})
    _, parts = trained(config, 5)
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def test_one_phase_of_everything_is_training_without_phases_but_for_names(tmp_path: Path) -> None:
    every = {"p": {"losses": ["first", "second"]}}
    _, plain = trained(phased(tmp_path, {}, optimizer=ADAM), 5)
    _, phase = trained(phased(tmp_path, every, optimizer=ADAM), 5)
    own = {name.removeprefix("p/"): value for name, value in phase.items()}
    assert sorted(own) == sorted(plain)
    for name, value in plain.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


RESUMED = {
    "p": {"losses": ["first"], "variables": "(E|A)/.*", "optimizer": ADAM, "steps": 2},
    "q": {
        **PHASES["q"],
        "optimizer": {**MOMENTUM, "learning_rate": {"kind": "cosine", "initial_learning_rate": 0.1, "decay_steps": 9}},
    },
}


def test_a_run_of_phases_resumed_in_the_middle_equals_an_unbroken_one(tmp_path: Path) -> None:
    clock = {"batch_size": 3, "gradient_accumulation_steps": 2, "log_every_steps": 2, "save_every_steps": 3}
    whole = train(phased(tmp_path, RESUMED, train={**clock, "steps": 8, "steps_per_execution": 1}), tmp_path / "whole")
    clock |= {"steps_per_execution": 3}
    train(phased(tmp_path, RESUMED, train={**clock, "steps": 5}), tmp_path / "parts")
    assert_same(train(phased(tmp_path, RESUMED, train={**clock, "steps": 8}), tmp_path / "parts").values, whole.values)


def test_streamed_examples_give_the_same_bits(tmp_path: Path) -> None:
    config = phased(tmp_path, RESUMED, train={"batch_size": 7})
    checked, data = loaded(config)
    every = []
    for placement in ("resident", "streamed"):
        built = train_graph(checked, replace(data, placement=placement), Execution(steps_per_execution=2))
        with Executor(built) as executor:
            executor.initialize()
            executor.run(5)
            every.append(executor.values(built.variables))
    assert_same(*every)


def test_the_learning_rate_of_every_phase_is_recorded(tmp_path: Path) -> None:
    done = train(phased(tmp_path, RESUMED, train={"steps": 4, "log_every_steps": 2}), tmp_path / "done")
    rates = [{name: value for name, value in values.items() if "learning_rate" in name} for _, values in done.records]
    cosine = [0.05 * (1 + np.cos(np.pi * step / 9)) for step in (1, 3)]
    assert [rate for rate in rates if rate] == [
        pytest.approx({"train/learning_rate/p": 0.02, "train/learning_rate/q": rate}) for rate in cosine
    ]
