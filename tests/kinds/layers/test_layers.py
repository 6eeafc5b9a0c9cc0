"""NumPy as the oracle of layers, a line a case in ``layer_tables``; and what differs between training and inference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import kstest, norm

from expkit import tf1 as tf
from expkit.export.operations import PURE, operations_of
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.random import normal, uniform
from expkit.network.build import TrainingCall, connect, create_variables
from expkit.registry import kinds
from expkit.tensor_spec import ShapeError, TensorSpec
from expkit.training.policy import traits, uses_workspace
from support.edges import EDGES
from support.layer_tables import Array, Case, basic, functions, norms, sequences, shapes, some, windows
from support.layer_tables.basic import CUBES, ROWS
from support.layer_tables.norms import IMAGES, STATISTICS, without
from support.networks import plain_and_compiled, spec_of

CASES = [case for family in (basic, functions, windows, norms, shapes, sequences) for case in family.CASES]


def layer_of(kind: str, fields: dict[str, Any]) -> Layer:
    results = kinds("layer")[kind](**fields)
    assert isinstance(results, Layer)
    return results


def titled(case: Case) -> str:
    return " ".join([case[0], *(f"{name}={value}" for name, value in case[1].items())])


def computed(case: Case, unknown: int) -> None:
    """Compare a layer with NumPy; sizes of the first ``unknown`` dimensions are not known (the batch, and one more)."""
    kind, fields, given, variables, expected = case
    layer, arrays = layer_of(kind, fields), given if isinstance(given, Inputs) else Inputs(given)

    def shape_of(array: Array) -> tuple[int | None, ...]:
        free = unknown if array.ndim > 2 else 1
        return (*(None,) * free, *array.shape[free:])

    specs, places = (
        Inputs(map(make, arrays), {name: make(array) for name, array in arrays.named.items()})
        for make in (
            lambda array: TensorSpec(shape_of(array)[1:], array.dtype.name),
            lambda array: tf.placeholder(array.dtype, shape_of(array)),
        )
    )
    assert {item.name: (item.shape, item.dtype) for item in layer.declare(specs)} == {
        name: (value.shape, value.dtype.name) for name, value in variables.items()
    }
    outputs = layer.output_spec(specs)
    result = layer.apply({name: tf.constant(value) for name, value in variables.items()}, places, Call(training=False))
    feed = dict(zip((*places, *places.named.values()), (*arrays, *arrays.named.values()), strict=True))
    with tf.Session() as session:
        got = session.run(result, feed)
    assert isinstance(got, Mapping) == isinstance(expected, Mapping) == isinstance(outputs, Mapping)
    for name, array in (expected if isinstance(expected, Mapping) else {"": expected}).items():
        value = got[name] if isinstance(got, Mapping) else got
        np.testing.assert_allclose(value, array, rtol=2e-5, atol=2e-5)
        spec = outputs[name] if isinstance(outputs, Mapping) else outputs
        assert value.dtype.name == spec.dtype
        assert len(spec.shape) == value.ndim - 1
        assert all(size in (None, real) for size, real in zip(spec.shape, value.shape[1:], strict=True))
        assert unknown > 1 or None not in spec.shape or layer.couples_examples


@pytest.mark.parametrize("case", CASES, ids=map(titled, CASES))
def test_a_layer_computes_what_numpy_does(case: Case) -> None:
    with tf.Graph().as_default() as graph:
        computed(case, unknown=1)
        assert uses_workspace(graph) == traits(case[0]).uses_workspace
        assert operations_of(graph.as_graph_def()) <= PURE


UNKNOWN = [case for case in CASES if case[0] != "flatten" and any(array.ndim > 2 for array in case[2])]


@pytest.mark.parametrize("case", UNKNOWN, ids=map(titled, UNKNOWN))
def test_a_layer_computes_the_same_if_a_size_is_unknown(case: Case) -> None:
    with tf.Graph().as_default():
        computed(case, unknown=2)


SHARDABLE = [case for case in CASES if traits(case[0]).shardable != "never" and len(case[2][0]) > 1]


@pytest.mark.parametrize("case", SHARDABLE, ids=map(titled, SHARDABLE))
def test_a_layer_computes_the_same_from_shards_of_a_batch(case: Case) -> None:
    kind, fields, given, variables, expected = case
    arrays, layer = given if isinstance(given, Inputs) else Inputs(given), layer_of(kind, fields)
    results = []
    with tf.Graph().as_default(), tf.Session() as session:
        for rows in (slice(None, 1), slice(1, None)):
            named = {name: tf.constant(array[rows]) for name, array in arrays.named.items()}
            read = Inputs((tf.constant(array[rows]) for array in arrays), named)
            bound = {name: tf.constant(value) for name, value in variables.items()}
            results.append(session.run(layer.apply(bound, read, Call(training=True))))
    for name, array in (expected if isinstance(expected, Mapping) else {"": expected}).items():
        shards = [shard[name] if isinstance(shard, Mapping) else shard for shard in results]
        np.testing.assert_allclose(np.concatenate(shards), array, rtol=2e-5, atol=2e-5)


def test_every_shardable_layer_has_a_case() -> None:
    tried = {case[0] for case in SHARDABLE}
    assert tried == {name for name in kinds("layer") if traits(name).shardable != "never"}


STOPPING = ("argmax", "compare", "stop_gradient")
"""Kinds through which no gradient passes."""


@pytest.mark.parametrize("case", CASES, ids=map(titled, CASES))
def test_a_layer_compiles_with_its_gradients_to_the_same_numbers(case: Case) -> None:
    kind, fields, given, variables, _ = case
    layer, arrays = layer_of(kind, fields), given if isinstance(given, Inputs) else Inputs(given)

    def connected(inputs: Inputs[Any], named: dict[str, Any], variables: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        call = Call(training=True, key=3, step=tf.constant(5, tf.int64))
        outputs = tf.nest.flatten(layer.apply(variables, Inputs(inputs, named), call))
        loss = tf.add_n(
            [tf.constant(0.0), *(tf.cast(tf.reduce_sum(tf.sin(y)), tf.float32) for y in outputs if floats(y))]
        )
        read = [x for x in (*inputs, *named.values(), *variables.values()) if floats(x)]
        gradients = tf.gradients(loss, read) if read else []
        return outputs, [tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]

    def floats(tensor: Any) -> bool:
        return bool(tensor.dtype.is_floating)

    held = (tuple(arrays), dict(arrays.named), variables)
    (expected, expected_slopes), (got, slopes) = plain_and_compiled(connected, *held)
    floating = sum(array.dtype.kind == "f" for array in tf.nest.flatten(held))
    stops = kind in STOPPING or fields.get("function") == "floor"
    assert len(slopes) == (0 if stops else floating - 2 if kind == "batch_norm" else floating)
    for one, other in zip([*got, *slopes], [*expected, *expected_slopes], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5 * max(1, np.abs(other).max(initial=0)))


LAYER_EDGES = ("plain", "tiny", "large", "shifted up", "tied", "of mixed scales")
NARROW = [case for case in CASES if any(array.dtype == np.float32 for array in case[2]) and case[0] != "cast"]
SUMS = {
    ("activation", "softmax"), ("activation", "log_softmax"), ("reduce", "mean"), ("reduce", "sum"),
    ("reduce", "logsumexp"), "attention", "average", "average_pool", "batch_norm", "cumsum", "dot",
    "global_average_pool", "group_norm", "layer_norm", "local_response_norm", "rms_norm",
}  # fmt: skip
"""Kinds whose sums over many values are of float32 where the values have 16 bits."""


@pytest.mark.parametrize("case", NARROW, ids=map(titled, NARROW))
def test_a_layer_of_16_bits_computes_what_one_of_32_bits_does(case: Case) -> None:
    kind, fields, given, variables, _ = case
    sums = kind in SUMS or (kind, fields.get("function")) in SUMS
    arrays, layer = given if isinstance(given, Inputs) else Inputs(given), layer_of(kind, fields)
    larger = sums and kind != "attention"  # Their squares are beyond float16; of attention the table has larger ones.
    for factor in (1, 300) if larger else (1,):
        results = {}
        for dtype in (np.float32, np.float16):

            def rounded(array: Array, dtype: Any = dtype, factor: float = factor) -> Any:
                if array.dtype != np.float32:
                    return tf.constant(array)
                return tf.constant((array * np.float32(factor)).astype(np.float16).astype(dtype))

            with tf.Graph().as_default(), tf.Session() as session:
                read = Inputs(map(rounded, arrays), {name: rounded(array) for name, array in arrays.named.items()})
                bound = {name: rounded(value, factor=1) for name, value in variables.items()}
                results[dtype] = tf.nest.flatten(
                    session.run(layer.apply(bound, read, Call(training=kind == "batch_norm")))
                )
        for wide, narrow in zip(results[np.float32], results[np.float16], strict=True):
            if wide.dtype == np.float32:
                assert narrow.dtype == np.float16
                largest = np.abs(wide).max()
                tolerance = 1e-3 if larger else 2e-2
                with np.errstate(over="ignore"):
                    expected = wide.astype(np.float16)
                np.testing.assert_allclose(narrow, expected, rtol=tolerance, atol=tolerance * min(largest, 65504))


def in_64_bits(case: Case) -> bool:
    """Return whether a layer takes float64; the others are convolutions and poolings."""
    kind, fields, given, _, _ = case
    arrays = given if isinstance(given, Inputs) else Inputs(given)
    specs = [
        TensorSpec(array.shape[1:], "float64" if array.dtype == np.float32 else array.dtype.name) for array in arrays
    ]
    named = {name: TensorSpec(array.shape[1:], array.dtype.name) for name, array in arrays.named.items()}
    try:
        layer_of(kind, fields).output_spec(Inputs(specs, named))
    except ShapeError:
        return False
    return True


WIDE = [case for case in NARROW if case[0] not in ("embedding", "one_hot") and in_64_bits(case)]


@pytest.mark.parametrize("case", WIDE, ids=map(titled, WIDE))
def test_a_layer_computes_on_edge_data_what_it_does_in_64_bits(case: Case) -> None:
    kind, fields, given, variables, _ = case
    arrays, layer = given if isinstance(given, Inputs) else Inputs(given), layer_of(kind, fields)
    results: dict[Any, list[list[Array]]] = {}
    for dtype in (np.float32, np.float64):

        def held(array: Array, dtype: Any = dtype) -> Any:
            wide = array.dtype == np.float32
            return tf.placeholder(dtype if wide else array.dtype, (None, *array.shape[1:]))

        with tf.Graph().as_default(), tf.Session() as session:
            read = Inputs(map(held, arrays), {name: held(array) for name, array in arrays.named.items()})
            bound = {name: tf.constant(value.astype(dtype)) for name, value in variables.items()}
            outputs = tf.nest.flatten(layer.apply(bound, read, Call(training=kind == "batch_norm")))
            run = session.make_callable(outputs, [*read, *read.named.values()])
            named = list(arrays.named.values())
            results[dtype] = [
                run(*(EDGES[edge](array) if array.dtype == np.float32 else array for array in arrays), *named)
                for edge in LAYER_EDGES
            ]
    for edge, narrow, wide in zip(LAYER_EDGES, *results.values(), strict=True):
        for one, exact in zip(narrow, wide, strict=True):
            other = exact
            if one.dtype != np.float32:
                np.testing.assert_array_equal(one, other, edge)
            else:
                # A value of 10,000 has three digits after the point, and so has what is left of it about its mean.
                with np.errstate(over="ignore"):
                    other = exact.astype(np.float32)
                largest = np.abs(other[np.isfinite(other)]).max(initial=1e-3)  # elu is exp(x) - 1 near 0 as well.
                tolerance = 5e-3 if edge == "shifted up" else 2e-4
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * largest, err_msg=edge)


def test_every_kind_is_in_the_table() -> None:
    assert {case[0] for case in CASES} | {
        "scope",
        "block",
        "scan",
        "decode",
        "ema_of",
        "constant",
        "random",
        "variable",
    } == set(kinds("layer"))


def test_batch_norm_in_training_uses_the_batch_and_updates_its_moving_statistics() -> None:
    layer = layer_of("batch_norm", {"momentum": 0.9})
    with tf.Graph().as_default(), tf.Session() as session:
        call = Call(training=True)
        variables = {name: tf.constant(value) for name, value in STATISTICS.items()}
        got = session.run(layer.apply(variables, [tf.constant(IMAGES)], call))
        moved = {id(update.variable): session.run(update.value) for update in call.updates}
        assert {update.momentum for update in call.updates} == {0.9}
    mean, variance = IMAGES.mean(axis=(0, 1, 2)), IMAGES.var(axis=(0, 1, 2))
    expected = (IMAGES - mean) / np.sqrt(variance + 0.001) * STATISTICS["gamma"] + STATISTICS["beta"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[id(variables["moving_mean"])], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved[id(variables["moving_variance"])], variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("x", [IMAGES, IMAGES[:, :, 0], IMAGES[:, 0, 0]], ids=["images", "sequences", "rows"])
def test_batch_norm_can_average_the_unbiased_variance_as_fused_batch_norm_does(x: Array) -> None:
    axes, count = tuple(range(x.ndim - 1)), x.size // 3
    with tf.Graph().as_default(), tf.Session() as session:
        moved = {}
        for unbiased in (False, True):
            layer, call = layer_of("batch_norm", {"unbiased_variance": unbiased, "scale": False}), Call(training=True)
            result = layer.apply(without("gamma"), Inputs([tf.placeholder_with_default(x, (2, *x.shape[1:]))]), call)
            got, moved[unbiased] = session.run([result, call.updates[1].value])
            expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 0.001) + STATISTICS["beta"]
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved[False], x.var(axes), rtol=1e-5)
    np.testing.assert_allclose(moved[True], x.var(axes) * count / (count - 1), rtol=1e-5)


@pytest.mark.parametrize("unbiased", [False, True])
def test_batch_norm_of_one_value_has_no_variance(unbiased: bool) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        for x in (IMAGES[:1, :1, :1], ROWS[:1]):
            call = Call(training=True)
            layer = layer_of("batch_norm", {"unbiased_variance": unbiased})
            got = session.run(layer.apply(STATISTICS, Inputs([tf.constant(x)]), call))
            np.testing.assert_allclose(got, np.broadcast_to(STATISTICS["beta"], x.shape), rtol=1e-5)
            np.testing.assert_array_equal(session.run(call.updates[1].value), np.zeros(3))


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
            training = connect(spec, variables, x, training=TrainingCall(0, step))
        with tf.name_scope("inference"):
            inference = connect(spec, variables, x)
        session.run(tf.global_variables_initializer())
        assert training.updates == ()
        np.testing.assert_array_equal(*session.run([training.outputs["out"], inference.outputs["out"]]))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 0.0])
def test_the_gradient_of_a_volumes_maximum_goes_to_one_value_without_onednn_too(scale: float) -> None:
    """Run eagerly, where TensorFlow computes it without oneDNN; its own operation gave it to all within 1e-5."""
    values = scale * np.array([3, 1, 4, 1, 5, 9, 2, 6], np.float32).reshape(1, 2, 2, 2, 1)
    x = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer_of("max_pool", {}).apply({}, Inputs([x]), Call(training=True))
    expected = np.zeros(8, np.float32)
    expected[values.argmax()] = 1
    np.testing.assert_array_equal(tape.gradient(y, x).numpy().ravel(), expected)


DROPOUTS = "layers: {first: {kind: dropout, rate: 0.25}, second: {kind: dropout, input: x, rate: 0.25}}"


def masks(seed: int, step: int) -> tuple[Array, Array]:
    spec = spec_of(DROPOUTS)
    with tf.Graph().as_default(), tf.Session() as session:
        ones = tf.ones((500, 4))
        training = TrainingCall(seed, tf.constant(step, tf.int64))
        tensors = connect(spec, {}, {"x": ones}, training=training).tensors
        return session.run(tensors["first"]), session.run(tensors["second"])


def test_dropout_in_training_drops_its_fraction_and_scales_the_rest() -> None:
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
        in_training = layer_of("dropout", {"rate": 0.0}).apply({}, [rows], Call(training=True, key=1))
        outside = layer_of("dropout", {"rate": 0.9}).apply({}, [rows], Call(training=False))
        for tensor in (in_training, outside):
            np.testing.assert_array_equal(session.run(tensor), ROWS)


def test_drop_path_drops_whole_examples_in_training_and_scales_the_rest() -> None:
    spec = spec_of("layers: {first: {kind: drop_path, rate: 0.25}, second: {kind: drop_path, input: x, rate: 0.25}}")

    def connected(x: Any, step: Any) -> Any:
        tensors = connect(spec, {}, {"x": x}, training=TrainingCall(3, step)).tensors
        return tensors["first"], tensors["second"]

    ones = np.ones((4000, 4), np.float32)
    (first, second), compiled = plain_and_compiled(connected, ones, np.int64(7))
    np.testing.assert_array_equal((first, second), compiled)
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (first == first[:, :1]).all()
    assert (first[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.02)
    (other, _), _ = plain_and_compiled(connected, ones, np.int64(8))
    for drawn in (second, other):
        assert 0.33 < (first[:, 0] != drawn[:, 0]).mean() < 0.42, "each layer and step draws its own"
    (few, _), _ = plain_and_compiled(connected, ones[:50], np.int64(7))
    np.testing.assert_array_equal(few, first[:50], "those of an example do not depend on the others")


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_distances_of_equal_examples_are_0_and_have_gradients(offset: float) -> None:
    rows = (ROWS + offset).astype(np.float32)[[0, 1, 0, 2]]
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(rows)
        distances = layer_of("similarity", {"function": "euclidean"}).apply({}, Inputs([x]), Call(training=True))
        got, slope = session.run([distances, tf.gradients(tf.reduce_sum(distances), x)[0]])
    exact = cdist(rows.astype(np.float64), rows.astype(np.float64))
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=0)
    assert (got[0, 2], got[2, 0], *np.diag(got)) == (0,) * 6
    assert np.isfinite(slope).all()


NOISES = "layers: {first: {kind: gaussian_noise, stddev: 2.0}, second: {kind: gaussian_noise, input: x, stddev: 2.0}}"


def noises(seed: int, step: int) -> Array:
    spec = spec_of(NOISES)

    def connected(x: Any, step: Any) -> Any:
        tensors = connect(spec, {}, {"x": x}, training=TrainingCall(seed, step)).tensors
        return tensors["first"], tensors["second"]

    (first, second), compiled = plain_and_compiled(connected, np.zeros((5000, 4), np.float32), np.int64(step))
    np.testing.assert_array_equal((first, second), compiled)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03, "each layer draws its own"
    return np.asarray(first)


@pytest.mark.parametrize(("key", "step"), [(0, 0), (12345, 3), (2**32 - 1, 10**6)])
def test_normal_numbers_have_the_distribution_of_the_normal_one_far_out_too(key: int, step: int) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        drawn = session.run(normal([2**21], key, tf.constant(step, tf.int64))).astype(np.float64)
    assert kstest(drawn, "norm").statistic < 1.95 / math.sqrt(drawn.size)  # Seldom above by chance: 1 in 1,000.
    for limit in (1, 2, 3, 3.5, 4, 4.5):
        expected = 2 * norm.sf(limit) * drawn.size
        assert abs((np.abs(drawn) > limit).sum() - expected) < 4.5 * math.sqrt(expected) + 1, f"beyond {limit}"


def test_the_random_numbers_of_a_step_are_never_those_of_another_shifted() -> None:
    """Positions were once added to a number of the step: for this key those of steps 5894 and 14875 differed by 3."""
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, ())
        numbers = uniform([4096], 7, step)
        drawn = {at: session.run(numbers, {step: at}) for at in (5894, 14875, 19466, 27996, 0, 1, 2)}
    for (one, a), (other, b) in itertools.combinations(drawn.items(), 2):
        _, left, right = np.intersect1d(a, b, return_indices=True)
        _, counts = np.unique(left - right, return_counts=True)
        assert counts.max(initial=0) < 4, f"steps {one} and {other}"


def test_gaussian_noise_depends_on_seed_and_step_alone_whatever_compiles_it() -> None:
    drawn = noises(3, 7)
    np.testing.assert_array_equal(drawn, noises(3, 7))
    for other in (noises(3, 8), noises(4, 7)):
        assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 0.03


def test_gaussian_noise_outside_training_and_with_stddev_0_changes_nothing() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        rows = tf.constant(ROWS)
        in_training = layer_of("gaussian_noise", {"stddev": 0.0}).apply({}, Inputs([rows]), Call(training=True, key=1))
        np.testing.assert_array_equal(session.run(in_training), ROWS)


@pytest.mark.parametrize(
    ("kind", "fields", "factor"),
    [("scale_gradient", {"scale": scale}, scale) for scale in (-1.0, 0.25, 3.0)]
    + [("scale_gradient", {"scale": 0.0}, None), ("stop_gradient", {}, None)],
)
def test_a_gradient_is_scaled_or_stopped_and_the_value_passes_bit_for_bit(
    kind: str, fields: dict[str, Any], factor: float | None
) -> None:
    values = np.array([[0.1, -3e38, np.inf, 1e-40]], np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(values)
        y = layer_of(kind, fields).apply({}, Inputs([x]), Call(training=True))
        (slope,) = tf.gradients(y * 7.0, [x])
        np.testing.assert_array_equal(session.run(y), values)
        assert (slope is None) == (factor is None)
        if factor is not None:
            np.testing.assert_array_equal(session.run(slope), np.full_like(values, 7 * factor))
        assert layer_of(kind, fields).apply({}, Inputs([x]), Call(training=False)) is x


def test_clip_has_no_gradient_outside_its_range() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant([[-2.0, 0.5, 2.0]])
        y = layer_of("clip", {"minimum": -1, "maximum": 1}).apply({}, Inputs([x]), Call(training=True))
        np.testing.assert_array_equal(session.run(tf.gradients(y, [x])[0]), [[0, 1, 0]])


def test_attention_in_training_drops_weights_and_scales_the_rest() -> None:
    fields = {"num_heads": 1, "key_dim": 6, "dropout": 0.25}
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: np.zeros_like(value) for name, value in sequences.SELF.items()}
        variables["value/bias"] = np.ones(6, np.float32)
        ones = tf.constant(np.ones((50, 40, 4), np.float32))
        step = tf.constant(3, tf.int64)
        got, again, later = session.run(
            [
                layer_of("attention", fields).apply(variables, Inputs([ones]), Call(training=True, key=5, step=at))
                for at in (step, step, step + 1)
            ]
        )
    # Every query weighs 40 equal values; what is left of them is a mean of 40 draws of 0 and 1 / 0.75.
    assert np.unique(np.round(got * 40 * 0.75, 3)).size > 5
    assert got.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(got, again)
    assert (got != later).mean() > 0.5


def test_grouped_convolution_has_the_gradients_of_its_groups() -> None:
    kernel = some(3, 2, 2, 4)
    images = some(2, 5, 6, 4)
    with tf.Graph().as_default(), tf.Session() as session:
        x, variables = tf.constant(images), {"kernel": tf.constant(kernel)}
        fields = {"filters": 4, "kernel_size": (3, 2), "groups": 2, "use_bias": False}
        whole = layer_of("conv2d", fields).apply(variables, Inputs([x]), Call(training=True))
        parts = [
            layer_of("conv2d", {**fields, "filters": 2, "groups": 1}).apply(
                {"kernel": own}, Inputs([part]), Call(training=True)
            )
            for part, own in zip(tf.split(x, 2, -1), tf.split(variables["kernel"], 2, -1), strict=True)
        ]
        got, expected = session.run(
            [tf.gradients(tf.reduce_sum(y**2), [x, variables["kernel"]]) for y in (whole, tf.concat(parts, -1))]
        )
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
