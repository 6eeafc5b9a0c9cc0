"""Initial values: a pure function of seed and name, with the statistics their names promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, norm, truncnorm, uniform

from expkit import tf1 as tf
from expkit.kinds.initializers import Initializer
from expkit.network.build import create_variables
from expkit.registry import kinds
from support.networks import spec_of

pytestmark = pytest.mark.untraced

SHAPE = (300, 200)
FIXED = {"zeros": ({}, 0.0), "ones": ({}, 1.0), "constant": ({"value": -2.5}, -2.5)}
# Kind: fields, mean, variance, largest distance from the mean.
RANDOM: dict[str, tuple[dict[str, float], float, float, float]] = {
    "random_uniform": ({"minval": -1.0, "maxval": 3.0}, 1.0, 16 / 12, 2.0),
    "random_normal": ({"mean": 0.5, "stddev": 2.0}, 0.5, 4.0, np.inf),
    "truncated_normal": ({"mean": 0.5, "stddev": 2.0}, 0.5, 4.0 * 0.8796256610342398**2, 4.0),
    "glorot_uniform": ({}, 0.0, 2 / 500, np.sqrt(6 / 500)),
    "glorot_normal": ({}, 0.0, 2 / 500, 2 * np.sqrt(2 / 500) / 0.8796256610342398),
    "he_uniform": ({}, 0.0, 2 / 300, np.sqrt(6 / 300)),
    "he_normal": ({}, 0.0, 2 / 300, 2 * np.sqrt(2 / 300) / 0.8796256610342398),
    "lecun_normal": ({}, 0.0, 1 / 300, 2 * np.sqrt(1 / 300) / 0.8796256610342398),
}


def drawn(kind: str, fields: dict[str, float], seed: tuple[int, int] = (0, 1), shape: Any = SHAPE) -> np.ndarray:
    initializer = kinds("initializer")[kind](**fields)
    assert isinstance(initializer, Initializer)
    with tf.Graph().as_default(), tf.Session() as session:
        return np.asarray(session.run(initializer.initial(shape, "float32", seed)))


def initial_values(text: str, seed: int = 0) -> dict[str, np.ndarray]:
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec_of(text), seed)
        session.run(tf.global_variables_initializer())
        return dict(session.run(variables))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("seed", [(0, 1), (3, 2**32 - 1)])
def test_random_numbers_are_those_of_tensorflows_stateless_functions(dtype: str, seed: tuple[int, int]) -> None:
    shape, table, random = (7, 5), kinds("initializer"), tf.random
    limit = (3 / 6) ** 0.5
    pairs: list[tuple[Any, Any]] = [
        (table["random_uniform"](minval=-0.3, maxval=1.7), (random.stateless_uniform, -0.3, 1.7)),
        (table["random_normal"](mean=0.1, stddev=0.7), (random.stateless_normal, 0.1, 0.7)),
        (table["truncated_normal"](mean=0.1, stddev=0.7), (random.stateless_truncated_normal, 0.1, 0.7)),
        (table["glorot_uniform"](), (random.stateless_uniform, -limit, limit)),
        (table["he_normal"](), (random.stateless_truncated_normal, 0.0, (2 / 7) ** 0.5 / 0.87962566103423978)),
    ]
    with tf.Graph().as_default(), tf.plain_session(tf.get_default_graph()) as session:
        for initializer, (function, *numbers) in pairs:
            expected = function(shape, seed, *numbers, dtype, alg="philox")
            got, oracle = session.run([initializer.initial(shape, dtype, seed), expected])
            np.testing.assert_array_equal(got, oracle)


def test_every_kind_is_in_a_table() -> None:
    assert {*FIXED, *RANDOM} == set(kinds("initializer"))


@pytest.mark.parametrize("kind", FIXED)
def test_fixed_initializers_fill_with_one_value(kind: str) -> None:
    fields, value = FIXED[kind]
    got = drawn(kind, fields)
    assert (got.shape, got.dtype) == (SHAPE, np.float32)
    assert (got == value).all()


@pytest.mark.parametrize("kind", RANDOM)
def test_random_initializers_have_the_mean_variance_and_limit_they_promise(kind: str) -> None:
    fields, mean, variance, limit = RANDOM[kind]
    got = drawn(kind, fields).astype(np.float64)
    assert got.mean() == pytest.approx(mean, abs=6 * np.sqrt(variance / got.size))
    assert got.var() == pytest.approx(variance, rel=0.03)
    assert np.abs(got - mean).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize("kind", RANDOM)
def test_random_initializers_have_the_distribution_that_scipy_gives_them(kind: str) -> None:
    fields, mean, variance, limit = RANDOM[kind]
    got = drawn(kind, fields).astype(np.float64).ravel()
    if kind.endswith("uniform"):
        reference = uniform(mean - limit, 2 * limit)
    elif np.isinf(limit):
        reference = norm(mean, np.sqrt(variance))
    else:
        reference = truncnorm(-2, 2, mean, limit / 2)
    assert kstest(got, reference.cdf).statistic < 1.95 / np.sqrt(got.size)  # Seldom above by chance: 1 in 1,000.


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (1, 1, 1, 1), (2, 3, 5, 7, 11)])
def test_an_initializer_fills_any_shape(kind: str, shape: tuple[int, ...]) -> None:
    got = drawn(kind, RANDOM[kind][0], shape=shape)
    assert (got.shape, got.dtype) == (shape, np.float32)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("kind", RANDOM)
def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(kind: str) -> None:
    fields = RANDOM[kind][0]
    first = drawn(kind, fields, (3, 4))
    np.testing.assert_array_equal(first, drawn(kind, fields, (3, 4)))
    for other in ((3, 5), (2, 4)):
        assert (first != drawn(kind, fields, other)).mean() > 0.99


def test_the_fan_of_a_convolution_counts_its_window() -> None:
    got = drawn("he_normal", {}, shape=(3, 3, 16, 64))
    assert got.var() == pytest.approx(2 / (9 * 16), rel=0.05)


def test_initial_values_depend_on_seed_and_name_and_not_on_other_layers() -> None:
    alone = initial_values("layers: {a: {kind: dense, units: 4}}")
    among = initial_values(
        "layers: {first: {kind: dense, units: 4}, b: {kind: dense, units: 4}, a: {kind: dense, units: 4}}"
    )
    np.testing.assert_array_equal(alone["a/kernel"], among["a/kernel"])
    assert (among["a/kernel"] != among["b/kernel"]).all()
    assert (alone["a/kernel"] != initial_values("layers: {a: {kind: dense, units: 4}}", seed=1)["a/kernel"]).all()


def test_a_layer_chooses_the_initializer_of_each_variable() -> None:
    text = (
        "layers: {a: {kind: dense, units: 3, initializer: {kernel: {kind: ones}, bias: {kind: constant, value: 7.0}}}}"
    )
    values = initial_values(text)
    np.testing.assert_array_equal(values["a/kernel"], np.ones((4, 3)))
    np.testing.assert_array_equal(values["a/bias"], [7, 7, 7])
