"""NumPy as the oracle of layers: one line a case; and what differs between training and inference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.network.build import connect, create_variables
from expkit.network.layer import Call, Layer, TensorSpec
from expkit.registry import kinds
from networks import spec_of

Array = np.ndarray
DRAW = np.random.default_rng(0)


def some(*shape: int) -> Array:
    return DRAW.normal(size=shape).astype(np.float32)


def windows(x: Array, size: tuple[int, int], strides: tuple[int, int], padding: str, fill: float) -> Array:
    """Return [batch, rows, columns, height, width, channels]: what each place of a window sees."""
    places = []
    for axis in (0, 1):
        length = x.shape[1 + axis]
        if padding == "valid":
            places.append((-(-(length - size[axis] + 1) // strides[axis]), 0, 0))
        else:
            count = -(-length // strides[axis])
            missing = max((count - 1) * strides[axis] + size[axis] - length, 0)
            places.append((count, missing // 2, missing - missing // 2))
    (rows, top, bottom), (columns, left, right) = places
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    return np.stack(
        [
            np.stack(
                [
                    padded[:, r * strides[0] : r * strides[0] + size[0], c * strides[1] : c * strides[1] + size[1]]
                    for c in range(columns)
                ],
                axis=1,
            )
            for r in range(rows)
        ],
        axis=1,
    )


def convolved(x: Array, kernel: Array, strides: tuple[int, int], padding: str) -> Array:
    return np.einsum("brcijk,ijkf->brcf", windows(x, kernel.shape[:2], strides, padding, 0.0), kernel)


def mean_of_window(x: Array, size: tuple[int, int], strides: tuple[int, int], padding: str) -> Array:
    return np.nanmean(windows(x, size, strides, padding, np.nan), axis=(3, 4))


def max_of_window(x: Array, size: tuple[int, int], strides: tuple[int, int], padding: str) -> Array:
    return windows(x, size, strides, padding, -np.inf).max(axis=(3, 4))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def exponential(scale: float, alpha: float) -> Callable[[Array], Array]:
    return lambda x: scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


IMAGES, ROWS, CUBES = some(2, 5, 6, 3), some(4, 3), some(2, 4, 3)
KERNEL, BIAS = some(3, 2), some(2)
FILTER = some(3, 2, 3, 4)
TABLE = some(5, 2)
STATISTICS = {"gamma": some(3), "beta": some(3), "moving_mean": some(3), "moving_variance": np.abs(some(3)) + 0.5}


def normalized(x: Array, gamma: bool = True, beta: bool = True, epsilon: float = 0.001) -> Array:
    result = (x - STATISTICS["moving_mean"]) / np.sqrt(STATISTICS["moving_variance"] + epsilon)
    return result * (STATISTICS["gamma"] if gamma else 1) + (STATISTICS["beta"] if beta else 0)


def without(*names: str) -> dict[str, Array]:
    return {name: value for name, value in STATISTICS.items() if name not in names}


DENSE = {"kernel": KERNEL, "bias": BIAS}
CASES: list[tuple[str, dict[str, Any], list[Array], dict[str, Array], Array]] = [
    ("dense", {"units": 2}, [ROWS], DENSE, ROWS @ KERNEL + BIAS),
    ("dense", {"units": 2, "activation": "relu"}, [ROWS], DENSE, relu(ROWS @ KERNEL + BIAS)),
    ("dense", {"units": 2, "use_bias": False}, [ROWS], {"kernel": KERNEL}, ROWS @ KERNEL),
    ("dense", {"units": 2}, [CUBES], DENSE, CUBES @ KERNEL + BIAS),
    ("dense", {"units": 2}, [IMAGES], DENSE, IMAGES @ KERNEL + BIAS),
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "activation": "tanh"},
        [IMAGES],
        {"kernel": FILTER, "bias": np.arange(4, dtype=np.float32)},
        np.tanh(convolved(IMAGES, FILTER, (1, 1), "same") + np.arange(4)),
    ),
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "strides": (2, 3), "padding": "valid", "use_bias": False},
        [IMAGES],
        {"kernel": FILTER},
        convolved(IMAGES, FILTER, (2, 3), "valid"),
    ),
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "strides": 2, "use_bias": False},
        [IMAGES],
        {"kernel": FILTER},
        convolved(IMAGES, FILTER, (2, 2), "same"),
    ),
    ("max_pool", {}, [IMAGES], {}, max_of_window(IMAGES, (2, 2), (2, 2), "valid")),
    (
        "max_pool",
        {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"},
        [IMAGES],
        {},
        max_of_window(IMAGES, (3, 2), (2, 1), "same"),
    ),
    ("average_pool", {}, [IMAGES], {}, mean_of_window(IMAGES, (2, 2), (2, 2), "valid")),
    (
        "average_pool",
        {"pool_size": 3, "strides": 2, "padding": "same"},
        [IMAGES],
        {},
        mean_of_window(IMAGES, (3, 3), (2, 2), "same"),
    ),
    ("batch_norm", {}, [IMAGES], STATISTICS, normalized(IMAGES)),
    ("batch_norm", {"epsilon": 0.1}, [ROWS], STATISTICS, normalized(ROWS, epsilon=0.1)),
    ("batch_norm", {"scale": False}, [ROWS], without("gamma"), normalized(ROWS, gamma=False)),
    ("batch_norm", {"center": False}, [ROWS], without("beta"), normalized(ROWS, beta=False)),
    ("dropout", {"rate": 0.5}, [ROWS], {}, ROWS),
    (
        "embedding",
        {"input_dim": 5, "output_dim": 2},
        [np.array([[4, 0], [1, 1]], np.int32)],
        {"embeddings": TABLE},
        TABLE[[[4, 0], [1, 1]]],
    ),
    ("concat", {}, [CUBES, CUBES + 1], {}, np.concatenate([CUBES, CUBES + 1], axis=-1)),
    ("concat", {"axis": 1}, [CUBES, CUBES[:, :1]], {}, np.concatenate([CUBES, CUBES[:, :1]], axis=1)),
    ("add", {}, [ROWS, 2 * ROWS, ROWS * ROWS], {}, 3 * ROWS + ROWS * ROWS),
    ("multiply", {}, [ROWS, 2 * ROWS, ROWS], {}, 2 * ROWS**3),
    ("reshape", {"shape": (3, -1)}, [CUBES], {}, CUBES.reshape(2, 3, 4)),
    ("reshape", {"shape": ()}, [ROWS[:, :1]], {}, ROWS[:, 0]),
    ("flatten", {}, [IMAGES], {}, IMAGES.reshape(2, -1)),
    ("activation", {"function": "linear"}, [ROWS], {}, ROWS),
    ("activation", {"function": "relu"}, [ROWS], {}, relu(ROWS)),
    ("activation", {"function": "relu6"}, [9 * ROWS], {}, np.clip(9 * ROWS, 0, 6)),
    ("activation", {"function": "leaky_relu"}, [ROWS], {}, np.where(ROWS > 0, ROWS, 0.2 * ROWS)),
    ("activation", {"function": "elu"}, [ROWS], {}, exponential(1.0, 1.0)(ROWS)),
    ("activation", {"function": "selu"}, [ROWS], {}, exponential(1.05070098735548, 1.67326324235438)(ROWS)),
    ("activation", {"function": "gelu"}, [ROWS], {}, gelu(ROWS)),
    ("activation", {"function": "silu"}, [ROWS], {}, ROWS / (1 + np.exp(-ROWS))),
    ("activation", {"function": "sigmoid"}, [ROWS], {}, 1 / (1 + np.exp(-ROWS))),
    ("activation", {"function": "tanh"}, [ROWS], {}, np.tanh(ROWS)),
    ("activation", {"function": "softplus"}, [ROWS], {}, np.log1p(np.exp(ROWS))),
    ("activation", {"function": "softsign"}, [ROWS], {}, ROWS / (1 + np.abs(ROWS))),
    ("activation", {"function": "softmax"}, [ROWS], {}, softmax(ROWS)),
    ("activation", {"function": "log_softmax"}, [ROWS], {}, np.log(softmax(ROWS))),
]


def layer_of(kind: str, fields: dict[str, Any]) -> Layer:
    made = kinds("layer")[kind](**fields)
    assert isinstance(made, Layer)
    return made


@pytest.mark.parametrize(("kind", "fields", "inputs", "variables", "wanted"), CASES)
def test_a_layer_computes_what_numpy_does(
    kind: str, fields: dict[str, Any], inputs: list[Array], variables: dict[str, Array], wanted: Array
) -> None:
    layer = layer_of(kind, fields)
    specs = [TensorSpec(array.shape[1:], array.dtype.name) for array in inputs]
    assert {item.name: item.shape for item in layer.declare(specs)} == {n: v.shape for n, v in variables.items()}
    with tf.Graph().as_default(), tf.Session() as session:
        places = [tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in inputs]
        result = layer.apply({name: tf.constant(v) for name, v in variables.items()}, places, Call(training=False))
        got = session.run(result, dict(zip(places, inputs, strict=True)))
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)
    assert got.shape[1:] == layer.output_spec(specs).shape
    assert got.dtype.name == layer.output_spec(specs).dtype


def test_every_kind_is_in_the_table() -> None:
    assert {case[0] for case in CASES} | {"scope", "block", "constant", "variable"} == set(kinds("layer"))


def test_batch_norm_in_training_uses_the_batch_and_asks_to_move_its_statistics() -> None:
    layer = layer_of("batch_norm", {"momentum": 0.9})
    with tf.Graph().as_default(), tf.Session() as session:
        call = Call(training=True)
        variables = {name: tf.constant(value) for name, value in STATISTICS.items()}
        got = session.run(layer.apply(variables, [tf.constant(IMAGES)], call))
        moved = {id(update.variable): session.run(update.value) for update in call.updates}
        assert {update.momentum for update in call.updates} == {0.9}
    mean, variance = IMAGES.mean(axis=(0, 1, 2)), IMAGES.var(axis=(0, 1, 2))
    wanted = (IMAGES - mean) / np.sqrt(variance + 0.001) * STATISTICS["gamma"] + STATISTICS["beta"]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[id(variables["moving_mean"])], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved[id(variables["moving_variance"])], variance, rtol=1e-5, atol=1e-6)


FROZEN_NORMS = {
    "by the layer": "layers: {norm: {kind: batch_norm, trainable: false}}",
    "by its scope": "layers: {block: {kind: scope, trainable: false, layers: {norm: {kind: batch_norm}}}}",
}


@pytest.mark.parametrize("text", FROZEN_NORMS.values(), ids=FROZEN_NORMS)
def test_a_frozen_batch_norm_reads_its_moving_statistics_in_training_too(text: str) -> None:
    spec = spec_of(text)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec, 0)
        step = tf.constant(0, tf.int64)
        x = {"x": tf.constant(CUBES[:, 0] @ some(3, 4))}
        with tf.name_scope("training"):
            training = connect(spec, variables, x, training=True, step=step)
        with tf.name_scope("inference"):
            inference = connect(spec, variables, x)
        session.run(tf.global_variables_initializer())
        assert training.updates == ()
        np.testing.assert_array_equal(*session.run([training.outputs["out"], inference.outputs["out"]]))


DROPOUTS = "layers: {first: {kind: dropout, rate: 0.25}, second: {kind: dropout, input: x, rate: 0.25}}"


def masks(seed: int, step: int) -> tuple[Array, Array]:
    spec = spec_of(DROPOUTS)
    with tf.Graph().as_default(), tf.Session() as session:
        ones = tf.ones((500, 4))
        tensors = connect(spec, {}, {"x": ones}, training=True, seed=seed, step=tf.constant(step, tf.int64)).tensors
        return session.run(tensors["first"]), session.run(tensors["second"])


def test_dropout_in_training_drops_its_share_and_scales_the_rest() -> None:
    mask, _ = masks(0, 0)
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (mask == 0).mean() == pytest.approx(0.25, abs=0.04)
    assert mask.mean() == pytest.approx(1, abs=0.06)


def test_dropout_depends_on_seed_step_and_layer_alone() -> None:
    first, second = masks(3, 7)
    np.testing.assert_array_equal(first, masks(3, 7)[0])
    for other in (masks(3, 8)[0], masks(4, 7)[0], second):
        assert 0.2 < (first != other).mean() < 0.6


def test_dropout_outside_training_and_at_rate_0_changes_nothing() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        rows = tf.constant(ROWS)
        in_training = layer_of("dropout", {"rate": 0.0}).apply({}, [rows], Call(True, tf.constant([1, 2])))
        outside = layer_of("dropout", {"rate": 0.9}).apply({}, [rows], Call(False))
        for tensor in (in_training, outside):
            np.testing.assert_array_equal(session.run(tensor), ROWS)
