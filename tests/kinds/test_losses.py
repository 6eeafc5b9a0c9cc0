"""SciPy and NumPy in float64 as the reference of losses, of their gradients too; and labels that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import log_expit, log_softmax

from expkit import tf1 as tf
from expkit.kinds.losses import Loss
from expkit.kinds.precision import widened
from expkit.registry import kinds
from expkit.tensor_spec import TensorSpec
from support.edges import EDGES

pytestmark = pytest.mark.untraced

DRAW = np.random.default_rng(0)
LOGITS = (3 * DRAW.normal(size=(6, 4))).astype(np.float32)
ONE = LOGITS[:, :1]
GRID = (3 * DRAW.normal(size=(6, 2, 4))).astype(np.float32)
CLASSES = np.array([0, 3, 1, 2, 2, 0])
PLACES = np.array([[0, 3], [1, 1], [2, 0], [3, 3], [1, 2], [0, 0]])
BITS = np.array([0, 1, 1, 0, 1, 0])
SOFT = DRAW.dirichlet(np.ones(4), size=6).astype(np.float32)
SOFT_GRID = DRAW.dirichlet(np.ones(4), size=(6, 2)).astype(np.float32)
WEIGHED = np.eye(4, dtype=np.float32)[CLASSES] * np.array([1, 0, 2.5, 0.25, 0, 3], np.float32)[:, None]
"""One-hot rows times a weight, among them padding: rows of zeros."""

Reference = Callable[[np.ndarray, np.ndarray], np.ndarray]


def per_example(reference: Reference) -> Reference:
    """Return the mean over all but the first dimension; labels take the output's shape."""
    return lambda x, y: reference(x, y.reshape(x.shape)).reshape(len(x), -1).mean(axis=1)


def of_classes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    places = np.take_along_axis(-log_softmax(x, axis=-1), y[..., None].astype(int), axis=-1)
    return np.asarray(places.reshape(len(x), -1).mean(axis=1))


soft = per_example(lambda x, y: -(y * log_softmax(x, axis=-1)).sum(axis=-1))
sigmoid = per_example(lambda x, y: -(y * log_expit(x) + (1 - y) * log_expit(-x)))
squared = per_example(lambda x, y: (x - y) ** 2)

CASES: list[tuple[str, np.ndarray, np.ndarray, Reference]] = [
    ("sparse_softmax_cross_entropy", LOGITS, CLASSES, of_classes),
    ("sparse_softmax_cross_entropy", LOGITS, CLASSES.astype(np.uint8), of_classes),
    ("sparse_softmax_cross_entropy", GRID, PLACES, of_classes),
    ("softmax_cross_entropy", LOGITS, np.eye(4)[CLASSES], soft),
    ("softmax_cross_entropy", LOGITS, SOFT, soft),
    ("softmax_cross_entropy", LOGITS, WEIGHED, soft),
    ("softmax_cross_entropy", GRID, SOFT_GRID, soft),
    ("sigmoid_cross_entropy", ONE, BITS, sigmoid),
    ("sigmoid_cross_entropy", ONE, BITS[:, None], sigmoid),
    ("sigmoid_cross_entropy", LOGITS, SOFT, sigmoid),
    ("sigmoid_cross_entropy", ONE[:, 0], BITS, sigmoid),
    ("sigmoid_cross_entropy", ONE[:, 0], BITS[:, None], sigmoid),
    ("mean_squared_error", ONE[:, 0], CLASSES, squared),
    ("mean_squared_error", ONE, CLASSES, squared),
    ("mean_squared_error", GRID, SOFT_GRID, squared),
]
"""A line a case: kind, output of the network, labels, reference. A new kind is one line more."""


def loss_of(kind: str, **fields: Any) -> Loss:
    loss = kinds("loss")[kind](**fields)
    assert isinstance(loss, Loss)
    return loss


def slopes(reference: Reference, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of the sum of a reference, by differences of extended precision."""
    result = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        ends = []
        for step in (1e-4, -1e-4):
            moved = x.copy()
            moved[index] += step
            ends.append(reference(moved, y)[index[0]])
        result[index] = (ends[0] - ends[1]) / 2e-4
    return result


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("kind", "plain", "labels", "reference"), CASES)
def test_a_loss_and_its_gradient_are_the_references(
    kind: str, plain: np.ndarray, labels: np.ndarray, reference: Reference, edge: str
) -> None:
    loss, output = loss_of(kind), EDGES[edge](plain)
    assert loss.problem(TensorSpec(output.shape[1:]), labels) is None
    with tf.Graph().as_default(), tf.Session() as session:
        x, y = (tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in (output, labels))
        wide = widened(x)
        result = loss.per_example(wide, y)
        got, slope = session.run([result, tf.gradients(tf.reduce_sum(result), wide)[0]], {x: output, y: labels})
    exact = output.astype(np.longdouble)
    expected, expected_slope = reference(exact, labels), slopes(reference, exact, labels)
    assert got.dtype == np.float32
    # Logits of 1e4 have four digits after the point, so has their difference.
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=1e-6 + 2e-7 * np.abs(exact).max())
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(expected_slope).max()))


def test_padding_by_rows_of_zeros_moves_nothing() -> None:
    labels = np.zeros((6, 4), np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(LOGITS)
        result = loss_of("softmax_cross_entropy").per_example(x, tf.constant(labels))
        values, slope = session.run([result, tf.gradients(result, x)[0]])
    np.testing.assert_array_equal(values, np.zeros(6))
    np.testing.assert_array_equal(slope, np.zeros((6, 4)))


def test_every_kind_is_in_the_table() -> None:
    assert {case[0] for case in CASES} == set(kinds("loss"))


FIVE = TensorSpec((5,))
SIGMOID_LABELS = "2 of 4 examples have a label that is not allowed, the first is 2.0 (example 2); allowed: 0 to 1"


@pytest.mark.parametrize(
    ("kind", "output", "labels", "problem"),
    [
        (
            "sparse_softmax_cross_entropy",
            FIVE,
            np.array([0, 5, 6]),
            "2 of 3 examples have a label that is not allowed, the first is 5 (example 1); allowed: whole numbers 0 to "
            "4, for 5 classes; change the last layer's units or the data",
        ),
        (
            "sparse_softmax_cross_entropy",
            FIVE,
            np.array([-1, 2]),
            "1 of 2 examples have a label that is not allowed, the first is -1 (example 0); allowed: whole numbers 0 "
            "to 4, for 5 classes; change the last layer's units or the data",
        ),
        (
            "sparse_softmax_cross_entropy",
            FIVE,
            np.array([1, 0.5, np.nan, 1.5]),
            "3 of 4 examples have a label that is not allowed, the first is 0.5 (example 1); allowed: whole numbers 0 "
            "to 4, for 5 classes; change the last layer's units or the data",
        ),
        (
            "sparse_softmax_cross_entropy",
            FIVE,
            np.array([3, 2**53 + 1], np.uint64),
            "1 of 2 examples have a label that is not allowed, the first is 9007199254740993 (example 1); allowed: "
            "whole numbers 0 to 4, for 5 classes; change the last layer's units or the data",
        ),
        (
            "sparse_softmax_cross_entropy",
            FIVE,
            np.array([True]),
            "needs one whole number per example, got bool of shape [1]",
        ),
        (
            "sparse_softmax_cross_entropy",
            FIVE,
            np.zeros((2, 5), np.int64),
            "needs one whole number per example, got int64 of shape [2, 5]",
        ),
        (
            "sparse_softmax_cross_entropy",
            TensorSpec((2, 5)),
            np.array([0]),
            "needs whole numbers of shape [2] per example for an output [batch, 2, 5] float32, got int64 of shape []",
        ),
        (
            "sparse_softmax_cross_entropy",
            TensorSpec((None, 5)),
            np.zeros((3, 2, 2), np.int64),
            "needs whole numbers of shape [?] per example for an output [batch, ?, 5] float32, got int64 "
            "of shape [2, 2]",
        ),
        (
            "sparse_softmax_cross_entropy",
            TensorSpec((2, 5)),
            np.array([[0, 5]]),
            "1 of 1 examples have a label that is not allowed, the first is 5 (example 0); allowed: whole numbers 0 to "
            "4, for 5 classes; change the last layer's units or the data",
        ),
        (
            "sparse_softmax_cross_entropy",
            TensorSpec(()),
            np.array([0]),
            "class labels need an output of shape [batch, ..., classes], got [batch] float32",
        ),
        (
            "sparse_softmax_cross_entropy",
            TensorSpec((None,)),
            np.array([0]),
            "class labels need an output of shape [batch, ..., classes], got [batch, ?] float32",
        ),
        (
            "softmax_cross_entropy",
            TensorSpec(()),
            np.array([0.0]),
            "needs an output of shape [batch, ..., classes], got [batch] float32",
        ),
        (
            "mean_squared_error",
            TensorSpec((None, 3)),
            np.zeros((2, 4)),
            "needs labels shaped like the output, [?, 3] per example, got [4]",
        ),
        (
            "mean_squared_error",
            TensorSpec(()),
            np.zeros((2, 4)),
            "needs labels shaped like the output, [] per example, got [4]",
        ),
        (
            "softmax_cross_entropy",
            FIVE,
            np.zeros((2, 4)),
            "needs labels shaped like the output, [5] per example, got [4]",
        ),
        ("mean_squared_error", FIVE, np.zeros(2), "needs labels shaped like the output, [5] per example, got []"),
        (
            "sigmoid_cross_entropy",
            FIVE,
            np.zeros((2, 4)),
            "needs labels shaped like the output, [5] per example, got [4]",
        ),
        ("sigmoid_cross_entropy", TensorSpec((1,)), np.array([0, 0.5, 2, np.nan]), SIGMOID_LABELS),
    ],
)
def test_a_loss_says_what_keeps_labels_from_fitting(
    kind: str, output: TensorSpec, labels: np.ndarray, problem: str
) -> None:
    assert loss_of(kind).problem(output, labels) == problem


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_dtype_are_class_labels(dtype: Any) -> None:
    assert loss_of("sparse_softmax_cross_entropy").problem(FIVE, np.array([0, 4, 2]).astype(dtype)) is None
