"""Optimizers of TensorFlow's, wrapped as a plugin does: the built-in ones are equal to them in every bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.config.sections.train import JitCompile
from expkit.errors import ConfigError
from expkit.kinds.wrapped_optimizer import WrappedOptimizer
from expkit.registry import kinds
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from support.experiments import CNN, Values, assert_same, config_of, loaded

pytestmark = pytest.mark.untraced

STEPS = 8
EVERYTHING = {"learning_rate": 0.05, "global_clipnorm": 0.4, "warmup_steps": 4}
EMBEDDING = {
    "inputs": {"ids": {"shape": [], "dtype": "int64"}},
    "layers": {
        "table": {"kind": "embedding", "input_dim": 9, "output_dim": 4},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}

CASES: list[tuple[str, dict[str, Any], Callable[[Any], Any]]] = [
    ("sgd", {}, lambda rate: tf.train.GradientDescentOptimizer(rate)),
    ("momentum", {}, lambda rate: tf.train.MomentumOptimizer(rate, 0.9)),
    ("momentum", {"nesterov": True}, lambda rate: tf.train.MomentumOptimizer(rate, 0.9, use_nesterov=True)),
    ("adam", {}, lambda rate: tf.train.AdamOptimizer(rate)),
    ("adamw", {"weight_decay": 0.1}, lambda rate: tf.train.AdamOptimizer(rate)),
    ("rmsprop", {"momentum": 0.5}, lambda rate: tf.train.RMSPropOptimizer(rate, momentum=0.5, epsilon=1e-7)),
    ("adagrad", {}, lambda rate: tf.train.AdagradOptimizer(rate)),
]


class Wrapped(WrappedOptimizer):
    """An optimizer of TensorFlow's under the names of a built-in one."""

    kind: Literal["wrapped"] = "wrapped"
    like: Any
    create: Any

    @property
    def slots(self) -> Mapping[str, float]:
        """Return the built-in one's."""
        return dict(self.like.slots)

    @property
    def scalars(self) -> Mapping[str, float]:
        """Return the built-in one's."""
        return dict(self.like.scalars)

    def decoupled_weight_decay(self) -> float:
        """Return the built-in one's."""
        return float(self.like.decoupled_weight_decay())

    def wrapped(self, rate: Any) -> Any:
        """Return the optimizer of TensorFlow's."""
        return self.create(rate)


def wrapped(config: Config, create: Callable[[Any], Any]) -> Config:
    """Return an experiment with an optimizer of TensorFlow's in place of a built-in one."""
    like = config.optimizer
    fields = {name: getattr(like, name) for name in ("learning_rate", "warmup_steps", "global_clipnorm")}
    optimizer = Wrapped.model_construct(like=like, create=create, **fields)
    return config.model_copy(update={"optimizer": optimizer})


def experiment(folder: Path, network: Any, optimizer: dict[str, Any]) -> Config:
    draw = np.random.default_rng(0)
    ids = {"ids": draw.integers(0, 7, size=60), "label": draw.integers(0, 3, size=60)}
    ema = {"enabled": True, "decay": 0.9}
    return config_of(folder, ids if network is EMBEDDING else None, network=network, optimizer=optimizer, ema=ema)


def trained(config: Config, jit_compile: JitCompile = False) -> Values:
    """Return all values after some steps."""
    built = train_graph(*loaded(config), Execution(STEPS, jit_compile=jit_compile))
    with Executor(built) as executor:
        executor.initialize()
        executor.run(STEPS)
        return executor.values(executor.names)


@pytest.mark.parametrize(("kind", "fields", "create"), CASES, ids=[f"{kind} {fields}" for kind, fields, _ in CASES])
@pytest.mark.parametrize("network", [CNN, EMBEDDING], ids=["dense", "sparse"])
def test_built_in_optimizers_equal_tensorflows_in_every_bit(
    tmp_path: Path, network: Any, kind: str, fields: dict[str, Any], create: Callable[[Any], Any]
) -> None:
    config = experiment(tmp_path, network, {"kind": kind, **EVERYTHING, **fields})
    assert_same(trained(config), trained(wrapped(config, create)))


def test_every_built_in_optimizer_is_compared() -> None:
    assert {case[0] for case in CASES} == set(kinds("optimizer"))


@pytest.mark.parametrize("jit_compile", ["update", True])
def test_a_wrapped_optimizer_trains_in_every_execution_mode(tmp_path: Path, jit_compile: JitCompile) -> None:
    config = experiment(tmp_path, CNN, {"kind": "adam", **EVERYTHING})
    config = wrapped(config, lambda rate: tf.train.AdamOptimizer(rate))
    plain, other = trained(config), trained(config, jit_compile)
    assert sorted(plain) == sorted(other)
    for name, value in plain.items():
        np.testing.assert_allclose(other[name], value, rtol=2e-3, atol=2e-4, err_msg=name)


def test_an_optimizer_that_overrides_apply_gradients_is_clipped_and_averaged_too(tmp_path: Path) -> None:
    class Own(tf.train.GradientDescentOptimizer):
        """Applies gradients itself."""

        def apply_gradients(self, pairs: Any, *rest: Any, **named: Any) -> Any:
            return tf.group([variable.assign_sub(gradient * 0.05, read_value=False) for gradient, variable in pairs])

    config = experiment(tmp_path, CNN, {"kind": "sgd", **EVERYTHING, "warmup_steps": 0})
    built_in, own = trained(config), trained(wrapped(config, lambda rate: Own(rate)))
    assert any(name.endswith("ExponentialMovingAverage") for name in own)
    for name, value in built_in.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_learning_rate_multipliers_of_a_wrapped_optimizer_are_refused(tmp_path: Path) -> None:
    layers = {**CNN["layers"], "logits": {"kind": "dense", "units": 3, "learning_rate_multiplier": 2.0}}
    config = experiment(tmp_path, {**CNN, "layers": layers}, {"kind": "sgd", **EVERYTHING})
    with pytest.raises(ConfigError) as caught:
        trained(wrapped(config, lambda rate: tf.train.GradientDescentOptimizer(rate)))
    assert str(caught.value) == (
        "optimizer.kind: 'wrapped' wraps an optimizer of TensorFlow's, which has one learning rate for all variables: "
        "leave out the learning_rate_multiplier of logits/kernel, logits/bias, or use another optimizer"
    )


def test_variables_of_a_wrapped_optimizer_that_are_not_declared_are_refused(tmp_path: Path) -> None:
    network = {**CNN, "layers": {"flat": {"kind": "flatten"}, "logits": {"kind": "dense", "units": 3}}}
    config = experiment(tmp_path, network, {"kind": "momentum", **EVERYTHING})
    with pytest.raises(ConfigError) as caught:
        trained(wrapped(config, lambda rate: tf.train.AdagradOptimizer(rate)))
    assert str(caught.value) == (
        "optimizer.kind: 'wrapped' declares other variables than it creates; "
        "only declared: logits/bias/Momentum, logits/kernel/Momentum; "
        "only created: logits/bias/Adagrad, logits/kernel/Adagrad; change its slots and scalars"
    )
