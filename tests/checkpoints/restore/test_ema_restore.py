"""EMA in place of weights, in the three cases where TensorFlow's own method fails, or silently loads weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.restore.restore import Restored, restore_from
from expkit.errors import CheckpointError
from expkit.preflight import check
from support.experiments import Values, checkpoint_values, config_of

EMA = "/ExponentialMovingAverage"
SHAPES = {"body/kernel": (4, 3), "body/bias": (3,), "head/kernel": (3, 2), "head/bias": (2,)}
NETWORK: dict[str, Any] = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {"body": {"kind": "dense", "units": 3}, "head": {"kind": "dense", "units": 2}},
    "outputs": {"logits": "head"},
}
FROZEN: dict[str, Any] = {
    **NETWORK,
    "layers": {**NETWORK["layers"], "body": {"kind": "dense", "units": 3, "trainable": False}},
}


def program(prefix: Path, averaged: Sequence[str]) -> Values:
    """Train as a plain TensorFlow program does, averages over some variables; return what it saved."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.get_variable(name, shape) for name, shape in SHAPES.items()}
        moved = tf.group(*(variable.assign_add(tf.ones(variable.shape)) for variable in variables.values()))
        if averaged:
            average = tf.train.ExponentialMovingAverage(0.5)
            with tf.control_dependencies([moved]):
                moved = average.apply([variables[name] for name in averaged])
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(moved)
        tf.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)
    return checkpoint_values(prefix)


def as_tensorflow_does(prefix: Path, trainable: bool) -> Values:
    """Return what an inference graph gets through ``ema.variables_to_restore()``."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.get_variable(name, shape, trainable=trainable) for name, shape in SHAPES.items()}
        tf.train.Saver(tf.train.ExponentialMovingAverage(0.5).variables_to_restore()).restore(session, str(prefix))
        return dict(session.run(variables))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("averages")


@pytest.fixture(scope="module")
def all_averaged(folder: Path) -> Values:
    return program(folder / "all", list(SHAPES))


@pytest.fixture(scope="module")
def some_averaged(folder: Path) -> Values:
    return program(folder / "some", ["head/kernel", "head/bias"])


@pytest.fixture(scope="module")
def none_averaged(folder: Path) -> Values:
    return program(folder / "none", [])


def restored(prefix: Path, network: dict[str, Any], weights: str, ema: dict[str, Any]) -> Restored:
    asked = {"from": str(prefix), "weights": weights}
    config = config_of(prefix.parent / "data", network=network, restore=asked, ema=ema)
    return restore_from(check(config))


def assert_values(done: Restored, wanted: Values, averaged: Sequence[str]) -> None:
    """Assert that some variables hold their averages, which differ from the weights, and the others the weights."""
    assert {
        item.variable for item in done.plan.assignments if item.weights == "ema" and item.role == "variable"
    } == set(averaged)
    for name in SHAPES:
        np.testing.assert_array_equal(done.values[name], wanted[name + EMA if name in averaged else name])
        if name in averaged:
            assert done.values[name].tobytes() != wanted[name].tobytes()


def test_emas_of_a_subset(folder: Path, some_averaged: Values) -> None:
    with pytest.raises(tf.errors.NotFoundError, match="body/bias/ExponentialMovingAverage not found"):
        as_tensorflow_does(folder / "some", trainable=True)
    heads = ["head/kernel", "head/bias"]
    assert_values(restored(folder / "some", NETWORK, "ema", {"variables": "head/.*"}), some_averaged, heads)
    assert_values(restored(folder / "some", NETWORK, "ema_if_present", {}), some_averaged, heads)
    with pytest.raises(CheckpointError) as caught:
        restored(folder / "some", NETWORK, "ema", {})
    assert [problem.message.split(";")[0] for problem in caught.value.problems] == [
        f"variable '{name}' has no EMA in the checkpoint: '{name}{EMA}' is absent"
        for name in ("body/kernel", "body/bias")
    ]


def test_variables_that_are_not_trained(folder: Path, all_averaged: Values, some_averaged: Values) -> None:
    silent = as_tensorflow_does(folder / "all", trainable=False)
    assert all(silent[name].tobytes() == all_averaged[name].tobytes() for name in SHAPES), "raw, and nothing was said"
    for ema in ({}, {"enabled": False}):
        assert_values(restored(folder / "all", FROZEN, "ema", ema), all_averaged, list(SHAPES))
    with pytest.raises(CheckpointError) as caught:
        restored(folder / "some", FROZEN, "ema", {})
    assert [str(problem).split(";")[0] for problem in caught.value.problems] == [
        f"restore: variable '{name}' has no EMA in the checkpoint: '{name}{EMA}' is absent"
        for name in ("body/kernel", "body/bias")
    ]


def test_a_checkpoint_without_emas(folder: Path, none_averaged: Values) -> None:
    with pytest.raises(tf.errors.NotFoundError, match="ExponentialMovingAverage not found"):
        as_tensorflow_does(folder / "none", trainable=True)
    for network, ema in ((NETWORK, {}), (FROZEN, {"enabled": False})):
        with pytest.raises(CheckpointError) as caught:
            restored(folder / "none", network, "ema", ema)
        assert [str(problem) for problem in caught.value.problems] == [
            f"restore: variable '{name}' has no EMA in the checkpoint: '{name}{EMA}' is absent; set weights to "
            "ema_if_present or raw, or leave the variable out of ema.variables"
            for name in SHAPES
        ]
    assert_values(restored(folder / "none", NETWORK, "ema_if_present", {}), none_averaged, [])


def under_a_scope(prefix: Path, scopes: Sequence[str]) -> Values:
    """Train with Adam and an average, both under a scope, as a program does that wraps its training in one."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.get_variable(name, shape) for name, shape in SHAPES.items()}
        global_step = tf.train.get_or_create_global_step()
        loss = tf.add_n([tf.reduce_sum(variable**2) for variable in variables.values()])
        for scope in scopes:
            with tf.variable_scope(scope):
                optimize = tf.train.AdamOptimizer(0.1).minimize(loss, global_step)
                with tf.control_dependencies([optimize]):
                    moved = tf.train.ExponentialMovingAverage(0.5).apply(list(variables.values()))
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(moved)
        tf.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)
    return checkpoint_values(prefix)


def test_emas_slots_and_counters_under_a_scope_are_restored(tmp_path: Path) -> None:
    wanted = under_a_scope(tmp_path / "model", ["train"])
    scoped = [name for name in wanted if name.startswith("train/")]
    assert f"train/body/kernel{EMA}" in scoped
    assert "train/beta1_power" in scoped
    assert "train/body/kernel/Adam_1" in scoped
    for weights in ("ema", "ema_if_present"):
        done = restored(tmp_path / "model", NETWORK, weights, {})
        for name in SHAPES:
            np.testing.assert_array_equal(done.values[name], wanted[f"train/{name}{EMA}"])
            assert done.values[name].tobytes() != wanted[name].tobytes()
    config = config_of(
        tmp_path / "data",
        network=NETWORK,
        optimizer={"kind": "adam", "learning_rate": 0.1},
        restore={"from": str(tmp_path / "model"), "optimizer": "restore"},
        ema={"enabled": False},
        train={"steps": 100},
    )
    values = restore_from(check(config)).values
    for name in ("beta1_power", "beta2_power", *(f"{name}/{slot}" for name in SHAPES for slot in ("Adam", "Adam_1"))):
        np.testing.assert_array_equal(values[name], wanted[f"train/{name}"])
    assert values["global_step"] == 3


def test_several_emas_of_a_variable_are_an_error_that_names_them(tmp_path: Path) -> None:
    under_a_scope(tmp_path / "model", ["one", "two"])
    with pytest.raises(CheckpointError) as caught:
        restored(tmp_path / "model", NETWORK, "ema_if_present", {})
    assert str(caught.value.problems[0]) == (
        f"restore: variable 'body/kernel' has several EMA in the checkpoint: one/body/kernel{EMA}, "
        f"two/body/kernel{EMA}; give the one to use by a rename rule: {{name: one/body/kernel{EMA}, to: body/kernel}}"
    )
