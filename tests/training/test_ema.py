"""TensorFlow's moving average, in a program of its own, as the oracle of averages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.writer import write_values
from expkit.config.sections.ema import EmaConfig
from expkit.errors import ConfigError
from expkit.network.ema import ema_variables
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import MLP, Values, checkpoint_values, config_of, loaded
from support.networks import spec_of

STEPS = 30
SHADOW = "/ExponentialMovingAverage"


def trajectory(folder: Path, ema: dict[str, Any]) -> list[Values]:
    """Return all values before training and after each of 30 steps."""
    config = config_of(folder, network=MLP, ema=ema, optimizer={"kind": "sgd", "learning_rate": 0.5})
    checked, data = loaded(config)
    built = train_graph(checked, data)
    with Executor(built) as executor:
        executor.initialize()
        values = [executor.values(built.variables)]
        for _ in range(STEPS):
            executor.run(1)
            values.append(executor.values(built.variables))
        write_values(str(folder / "model"), executor.values(executor.names))
    return values


def averages_of(values: list[np.ndarray], decay: float, num_updates: bool) -> list[np.ndarray]:
    """Return what ``tf.train.ExponentialMovingAverage`` makes of a variable that takes these values."""
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable("v", initializer=values[0])
        updates = tf.placeholder(tf.int64, ())
        average = tf.train.ExponentialMovingAverage(decay, num_updates=updates if num_updates else None)
        apply = average.apply([variable])
        session.run(tf.global_variables_initializer())
        seen = [session.run(average.average(variable))]
        for step, value in enumerate(values[1:]):
            variable.load(value, session)
            session.run(apply, {updates: step + 1})
            seen.append(session.run(average.average(variable)))
        assert average.average(variable).op.name == f"v{SHADOW}"
        return seen


@pytest.mark.parametrize("num_updates", [True, False])
def test_averages_over_30_steps_equal_tensorflows(tmp_path: Path, num_updates: bool) -> None:
    seen = trajectory(tmp_path, {"decay": 0.9, "num_updates": num_updates})
    for name in ("hidden/kernel", "hidden/bias", "logits/kernel", "logits/bias"):
        expected = averages_of([values[name] for values in seen], 0.9, num_updates)
        for values, average in zip(seen, expected, strict=True):
            np.testing.assert_allclose(values[name + SHADOW], average, rtol=1e-6, atol=1e-7)
        assert np.abs(seen[-1][name] - seen[-1][name + SHADOW]).max() > 1e-3


def test_num_updates_lets_early_averages_move_faster(tmp_path: Path) -> None:
    fast = trajectory(tmp_path / "fast", {"decay": 0.99, "num_updates": True})
    slow = trajectory(tmp_path / "slow", {"decay": 0.99, "num_updates": False})
    name = "logits/kernel"
    np.testing.assert_array_equal(fast[-1][name], slow[-1][name])
    first = fast[0][name]
    assert np.abs(fast[-1][name + SHADOW] - first).sum() > 1.5 * np.abs(slow[-1][name + SHADOW] - first).sum()


def test_averages_are_the_variables_until_start_step(tmp_path: Path) -> None:
    seen = trajectory(tmp_path, {"decay": 0.9, "num_updates": False, "start_step": 10})
    name = "logits/kernel"
    for values in seen[:11]:
        np.testing.assert_array_equal(values[name], values[name + SHADOW])
    average = seen[10][name].astype(np.float64)
    for values in seen[11:]:
        average = 0.9 * average + 0.1 * values[name]
        np.testing.assert_allclose(values[name + SHADOW], average, rtol=1e-5, atol=1e-6)


def test_averages_are_saved_in_the_checkpoint_of_the_variables_asked_for(tmp_path: Path) -> None:
    seen = trajectory(tmp_path, {"variables": ".*/kernel"})
    saved = checkpoint_values(tmp_path / "model")
    assert {name for name in saved if name.endswith(SHADOW)} == {f"hidden/kernel{SHADOW}", f"logits/kernel{SHADOW}"}
    for name, value in saved.items():
        np.testing.assert_array_equal(value, seen[-1][name])


NETWORK = "layers: {a: {kind: dense, units: 2}, n: {kind: batch_norm}, b: {kind: dense, units: 2, trainable: false}}"


@pytest.mark.parametrize(
    ("ema", "names"),
    [
        ({}, ("a/kernel", "a/bias", "n/gamma", "n/beta")),
        ({"variables": "a/.*"}, ("a/kernel", "a/bias")),
        ({"variables": "a/(kernel|bias)|n/beta"}, ("a/kernel", "a/bias", "n/beta")),
        ({"enabled": False}, ()),
    ],
)
def test_trained_variables_whose_whole_name_matches_are_averaged(ema: dict[str, Any], names: tuple[str, ...]) -> None:
    assert ema_variables(EmaConfig(**ema), spec_of(NETWORK)) == names


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (
            "kernel",
            "ema.variables: 'kernel' matches no trained variable; variables: a/kernel, a/bias, n/gamma, n/beta; "
            "use ema=none for no EMA",
        ),
        ("a/(", "ema.variables: 'a/(' is not a regular expression: missing ), unterminated subpattern at position 2"),
    ],
)
def test_a_pattern_that_averages_nothing_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ema_variables(EmaConfig(variables=pattern), spec_of(NETWORK))
    assert str(caught.value) == problem
