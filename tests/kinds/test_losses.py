"""SciPy and NumPy in float64 as the reference of losses, of their gradients too; and labels that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax, xlogy

import expkit.kinds.losses_classes
import expkit.kinds.losses_regression  # noqa: F401  # registers the kinds
from expkit import tf1 as tf
from expkit.kinds.losses import BaseLoss
from expkit.kinds.precision import widened
from expkit.kinds.reduction import per_example as reduced
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
absolute = per_example(lambda x, y: abs(x - y))
poisson = per_example(lambda x, y: np.exp(x) - y * x)
hinge = per_example(lambda x, y: np.maximum(1 - np.where(y == 1, 1, -1) * x, 0))
divergence = per_example(lambda x, y: (xlogy(y, y) - y * log_softmax(x, axis=-1)).sum(axis=-1))
cosine = per_example(
    lambda x, y: 1 - (x * y).sum(axis=-1) / np.sqrt((x**2).sum(axis=-1)) / np.sqrt((y**2).sum(axis=-1))
)


def huber_of(delta: float) -> Reference:
    def huber(x: np.ndarray, y: np.ndarray) -> Any:
        away = abs(x - y)
        return np.where(away <= delta, away**2 / 2, delta * (away - np.longdouble(delta) / 2))

    return per_example(huber)


def focal(gamma: float, alpha: float | None = None) -> Reference:
    def of_bits(x: np.ndarray, y: np.ndarray) -> Any:
        entropy = -(y * log_expit(x) + (1 - y) * log_expit(-x))
        factor = 1 if alpha is None else y * alpha + (1 - y) * (1 - alpha)
        return factor * (y * expit(-x) + (1 - y) * expit(x)) ** gamma * entropy

    return per_example(of_bits)


def focal_of_classes(gamma: float, alpha: float = 1) -> Reference:
    def focal(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        log_p = np.take_along_axis(log_softmax(x, axis=-1), y[..., None].astype(int), axis=-1).reshape(len(x), -1)
        return np.asarray((alpha * (-np.expm1(log_p)) ** gamma * -log_p).mean(axis=1))

    return focal


def coefficient(y: np.ndarray, p: np.ndarray, smooth: float) -> np.ndarray:
    """Return the Dice coefficient over the second dimension."""
    return np.asarray((2 * (y * p).sum(axis=1) + smooth) / (y.sum(axis=1) + p.sum(axis=1) + smooth))


def dice(smooth: float) -> Reference:
    return lambda x, y: 1 - coefficient(y.reshape(len(x), -1), expit(x).reshape(len(x), -1), smooth)


def dice_of_classes(smooth: float) -> Reference:
    def of_each(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shape = (len(x), -1, x.shape[-1])
        hot, probability = np.eye(x.shape[-1])[y].reshape(shape), softmax(x, axis=-1).reshape(shape)
        return np.asarray(1 - coefficient(hot, probability, smooth).mean(axis=1))

    return of_each


CASES: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray, Reference]] = [
    ("sparse_softmax_cross_entropy", {}, LOGITS, CLASSES, of_classes),
    ("sparse_softmax_cross_entropy", {}, LOGITS, CLASSES.astype(np.uint8), of_classes),
    ("sparse_softmax_cross_entropy", {}, GRID, PLACES, of_classes),
    ("softmax_cross_entropy", {}, LOGITS, np.eye(4)[CLASSES], soft),
    ("softmax_cross_entropy", {}, LOGITS, SOFT, soft),
    ("softmax_cross_entropy", {}, LOGITS, WEIGHED, soft),
    ("softmax_cross_entropy", {}, GRID, SOFT_GRID, soft),
    ("sigmoid_cross_entropy", {}, ONE, BITS, sigmoid),
    ("sigmoid_cross_entropy", {}, ONE, BITS[:, None], sigmoid),
    ("sigmoid_cross_entropy", {}, LOGITS, SOFT, sigmoid),
    ("sigmoid_cross_entropy", {}, ONE[:, 0], BITS, sigmoid),
    ("sigmoid_cross_entropy", {}, ONE[:, 0], BITS[:, None], sigmoid),
    ("mean_squared_error", {}, ONE[:, 0], CLASSES, squared),
    ("mean_squared_error", {}, ONE, CLASSES, squared),
    ("mean_squared_error", {}, GRID, SOFT_GRID, squared),
    ("absolute_error", {}, ONE[:, 0], CLASSES, absolute),
    ("absolute_error", {}, GRID, SOFT_GRID, absolute),
    ("huber", {}, ONE, CLASSES, huber_of(1)),
    ("huber", {"delta": 0.3}, GRID, SOFT_GRID, huber_of(0.3)),
    ("poisson", {}, ONE[:, 0], CLASSES, poisson),
    ("poisson", {}, GRID, SOFT_GRID, poisson),
    ("cosine", {}, LOGITS, SOFT, cosine),
    ("cosine", {}, GRID, SOFT_GRID - 0.5, cosine),
    ("hinge", {}, ONE, BITS, hinge),
    ("hinge", {}, ONE[:, 0], BITS.astype(bool), hinge),
    ("hinge", {}, LOGITS, np.eye(4)[CLASSES], hinge),
    ("focal", {"gamma": 0.0}, LOGITS, CLASSES, of_classes),
    ("focal", {}, LOGITS, CLASSES, focal_of_classes(2)),
    ("focal", {"gamma": 0.5, "alpha": 0.25}, GRID, PLACES.astype(np.float32), focal_of_classes(0.5, 0.25)),
    ("focal", {"gamma": 0.0}, ONE, BITS, sigmoid),
    ("focal", {}, ONE, BITS, focal(2)),
    ("focal", {"gamma": 0.5, "alpha": 0.25}, ONE[:, 0], BITS[:, None], focal(0.5, 0.25)),
    ("focal", {"gamma": 1.5, "alpha": 0.75}, LOGITS, SOFT, focal(1.5, 0.75)),
    ("focal", {}, GRID[:, :, :1], BITS[:, None] * np.ones((6, 2)), focal(2)),
    ("kl_divergence", {}, LOGITS, SOFT, divergence),
    ("kl_divergence", {}, LOGITS, np.eye(4)[CLASSES], divergence),
    ("kl_divergence", {}, GRID, SOFT_GRID, divergence),
    ("dice", {}, ONE, BITS, dice(1)),
    ("dice", {"smooth": 0.01}, GRID, SOFT_GRID, dice(0.01)),
    ("dice", {}, GRID, PLACES, dice_of_classes(1)),
    ("value", {}, ONE[:, 0], BITS, per_example(lambda x, y: x)),
    ("value", {}, GRID, SOFT_GRID, per_example(lambda x, y: x)),
    ("dice", {"smooth": 1e-7}, LOGITS, CLASSES, dice_of_classes(1e-7)),
]
"""A line a case: kind, fields, output of the network, labels, reference. A new kind is one line more."""


def loss_of(kind: str, **fields: Any) -> BaseLoss:
    loss = kinds("loss")[kind](**fields)
    assert isinstance(loss, BaseLoss)
    return loss


def means(loss: BaseLoss, output: Any, labels: Any) -> Any:
    """Return the mean loss of every example."""
    return reduced(loss.values(output=output, **({"labels": labels} if loss.data_fields else {})), "mean", 1)


def slopes(reference: Reference, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of the sum of a reference before and after each value, by differences of extended precision.

    They differ where the reference has a corner.
    """
    sides = np.zeros((2, *x.shape), x.dtype)
    step = 1e-4 * min(1, abs(x).max() or 1)
    here = reference(x, y)
    for index in np.ndindex(*x.shape):
        for side, change in zip(sides, (-step, step), strict=True):
            moved = x.copy()
            moved[index] += change
            side[index] = (reference(moved, y)[index[0]] - here[index[0]]) / change
    return sides[0], sides[1]


def loss_and_gradient(loss: BaseLoss, output: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with tf.Graph().as_default(), tf.Session() as session:
        x, y = (tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in (output, labels))
        wide = widened(x)
        result = means(loss, wide, y)
        got, slope = session.run([result, tf.gradients(tf.reduce_sum(result), wide)[0]], {x: output, y: labels})
    return got, slope


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("kind", "fields", "plain", "labels", "reference"), CASES)
def test_a_loss_and_its_gradient_are_the_references(
    kind: str, fields: dict[str, Any], plain: np.ndarray, labels: np.ndarray, reference: Reference, edge: str
) -> None:
    if kind == "cosine" and edge == "tied":
        pytest.skip("the angle of a row of zeros is not a number; it has a test of its own")
    loss, output = loss_of(kind, **fields), EDGES[edge](plain)
    assert loss.problem(output=TensorSpec(output.shape[1:]), labels=labels) is None
    got, slope = loss_and_gradient(loss, output, labels)
    exact = output.astype(np.longdouble)
    with np.errstate(over="ignore", invalid="ignore"):  # exp of poisson
        expected, (before, after) = reference(exact, labels), slopes(reference, exact, labels)
        inside = np.isfinite(expected.astype(np.float32))
    assert got.dtype == np.float32
    # Logits of 1e4 have four digits after the point, so has their difference.
    allowed = 1e-6 + 2e-7 * np.abs(exact).max()
    np.testing.assert_allclose(got[inside], expected[inside], rtol=2e-6, atol=allowed)
    assert (got[~inside] == np.inf).all()
    slope, before, after = slope[inside], before[inside], after[inside]
    corner = abs(after - before) > 0.01 * np.maximum(abs(before), abs(after))
    middle = (before + after) / 2
    nearest = np.where(corner, np.clip(slope, np.minimum(before, after), np.maximum(before, after)), middle)
    np.testing.assert_allclose(slope, nearest, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(middle).max(initial=0)))


def test_a_row_of_zeros_has_a_cosine_distance_of_1_and_no_gradient() -> None:
    for output, labels in ((np.zeros((6, 4), np.float32), SOFT), (LOGITS, 0 * SOFT)):
        got, slope = loss_and_gradient(loss_of("cosine"), output, labels)
        np.testing.assert_array_equal(got, np.ones(6))
        np.testing.assert_array_equal(slope, np.zeros((6, 4)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_cosine_distance_does_not_depend_on_the_length_of_rows(scale: float) -> None:
    got, slope = loss_and_gradient(loss_of("cosine"), LOGITS * np.float32(scale), SOFT)
    np.testing.assert_allclose(got, cosine(LOGITS.astype(np.float64), SOFT), atol=1e-6)
    assert np.isfinite(slope).all()


def test_a_class_that_an_image_lacks_costs_nothing_where_nothing_is_predicted() -> None:
    logits = 1e4 * np.eye(3, dtype=np.float32)[np.zeros((2, 5), int)]
    got, _ = loss_and_gradient(loss_of("dice"), logits, np.zeros((2, 5), np.int64))
    np.testing.assert_array_equal(got, np.zeros(2))


def test_padding_by_rows_of_zeros_moves_nothing() -> None:
    labels = np.zeros((6, 4), np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(LOGITS)
        result = means(loss_of("softmax_cross_entropy"), x, tf.constant(labels))
        values, slope = session.run([result, tf.gradients(result, x)[0]])
    np.testing.assert_array_equal(values, np.zeros(6))
    np.testing.assert_array_equal(slope, np.zeros((6, 4)))


def test_every_kind_is_in_the_table() -> None:
    others = {"triplet", "contrastive", "info_nce", "ctc", "sampled_softmax", "nce"}  # test_reading_losses.py
    assert {case[0] for case in CASES} | others == set(kinds("loss"))


FIVE = TensorSpec((5,))
OTHER_SHAPE = "needs labels shaped like the output, [5] per example, got [4]"
ONE_WRONG = "1 of 3 examples have a label that is not allowed, the first is {}"
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
        ("absolute_error", FIVE, np.zeros((2, 4)), OTHER_SHAPE),
        ("huber", FIVE, np.zeros((2, 4)), OTHER_SHAPE),
        ("poisson", FIVE, np.zeros((2, 4)), OTHER_SHAPE),
        ("poisson", TensorSpec((1,)), np.array([0, 7.5, -1]), ONE_WRONG.format("-1.0 (example 2); allowed: 0 to inf")),
        ("cosine", FIVE, np.zeros((2, 4)), OTHER_SHAPE),
        (
            "cosine",
            TensorSpec(()),
            np.zeros(3),
            "needs an output of shape [batch, ..., values], got [batch] float32",
        ),
        ("hinge", FIVE, np.zeros((2, 4)), OTHER_SHAPE),
        (
            "hinge",
            TensorSpec((1,)),
            np.array([1, -1, 0]),
            ONE_WRONG.format("-1 (example 1); allowed: whole numbers 0 to 1"),
        ),
        ("kl_divergence", FIVE, np.zeros((2, 4)), OTHER_SHAPE),
        (
            "kl_divergence",
            TensorSpec(()),
            np.zeros(3),
            "needs an output of shape [batch, ..., classes], got [batch] float32",
        ),
        (
            "kl_divergence",
            TensorSpec((2,)),
            np.array([[0.5, 0.5], [1.25, 0], [0, 0]]),
            ONE_WRONG.format("1.25 (example 1); allowed: 0 to 1"),
        ),
        *(
            (kind, output, labels, problem)
            for kind in ("focal", "dice")
            for output, labels, problem in (
                (
                    FIVE,
                    np.array([0, 5, 1]),
                    ONE_WRONG.format("5 (example 1); allowed: whole numbers 0 to 4, for 5 classes; change the last ")
                    + "layer's units or the data",
                ),
                (TensorSpec((1,)), np.array([0, 2, 1]), ONE_WRONG.format("2 (example 1); allowed: 0 to 1")),
                (TensorSpec(()), np.array([0, 2, 1]), ONE_WRONG.format("2 (example 1); allowed: 0 to 1")),
                (
                    TensorSpec((2,)),
                    np.array([[0, 1], [0.5, -0.5], [0, 0]]),
                    ONE_WRONG.format("-0.5 (example 1); allowed: 0 to 1"),
                ),
                (
                    TensorSpec((2, 5)),
                    np.zeros((3, 5)),
                    "needs labels of shape [2] (class numbers) or [2, 5] (0 to 1 per logit) per example, got [5]",
                ),
                (
                    TensorSpec((2, 1)),
                    np.zeros((3, 5)),
                    "needs labels of shape [2, 1] (0 to 1 per logit) per example, got [5]",
                ),
            )
        ),
    ],
)
def test_a_loss_says_what_keeps_labels_from_fitting(
    kind: str, output: TensorSpec, labels: np.ndarray, problem: str
) -> None:
    assert loss_of(kind).problem(output, labels) == problem


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_dtype_are_class_labels(dtype: Any) -> None:
    assert loss_of("sparse_softmax_cross_entropy").problem(FIVE, np.array([0, 4, 2]).astype(dtype)) is None
