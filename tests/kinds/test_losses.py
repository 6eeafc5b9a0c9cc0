"""NumPy as the oracle of losses; and what they say of labels that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.kinds.losses import Loss
from expkit.registry import kinds
from expkit.tensor_spec import TensorSpec
from support.experiments import numpy_cross_entropy

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


def soft_cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return -(target * (shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))).sum(axis=-1)


def sigmoid_cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


CASES: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = [
    ("sparse_softmax_cross_entropy", LOGITS, CLASSES, numpy_cross_entropy(LOGITS, CLASSES)),
    ("sparse_softmax_cross_entropy", LOGITS, CLASSES.astype(np.uint8), numpy_cross_entropy(LOGITS, CLASSES)),
    ("sparse_softmax_cross_entropy", 1000 * LOGITS, CLASSES, numpy_cross_entropy(1000 * LOGITS, CLASSES)),
    (
        "sparse_softmax_cross_entropy",
        GRID,
        PLACES,
        numpy_cross_entropy(GRID.reshape(12, 4), PLACES.ravel()).reshape(6, 2).mean(1),
    ),
    ("softmax_cross_entropy", LOGITS, np.eye(4)[CLASSES], numpy_cross_entropy(LOGITS, CLASSES)),
    ("softmax_cross_entropy", LOGITS, SOFT, soft_cross_entropy(LOGITS, SOFT)),
    ("softmax_cross_entropy", GRID, SOFT_GRID, soft_cross_entropy(GRID, SOFT_GRID).mean(axis=1)),
    ("sigmoid_cross_entropy", ONE, BITS, sigmoid_cross_entropy(ONE[:, 0], BITS)),
    ("sigmoid_cross_entropy", ONE, BITS[:, None], sigmoid_cross_entropy(ONE[:, 0], BITS)),
    ("sigmoid_cross_entropy", LOGITS, SOFT, sigmoid_cross_entropy(LOGITS, SOFT).mean(axis=1)),
    ("sigmoid_cross_entropy", ONE[:, 0], BITS, sigmoid_cross_entropy(ONE[:, 0], BITS)),
    ("sigmoid_cross_entropy", ONE[:, 0], BITS[:, None], sigmoid_cross_entropy(ONE[:, 0], BITS)),
    ("mean_squared_error", ONE[:, 0], CLASSES, (ONE[:, 0] - CLASSES) ** 2),
    ("mean_squared_error", ONE, CLASSES, (ONE[:, 0] - CLASSES) ** 2),
    ("mean_squared_error", GRID, SOFT_GRID, ((GRID - SOFT_GRID) ** 2).mean(axis=(1, 2))),
]


def loss_of(kind: str, **fields: Any) -> Loss:
    loss = kinds("loss")[kind](**fields)
    assert isinstance(loss, Loss)
    return loss


@pytest.mark.parametrize(("kind", "output", "labels", "expected"), CASES)
def test_a_loss_is_what_numpy_computes_per_example(
    kind: str, output: np.ndarray, labels: np.ndarray, expected: np.ndarray
) -> None:
    loss = loss_of(kind)
    assert loss.problem(TensorSpec(output.shape[1:]), labels) is None
    with tf.Graph().as_default(), tf.Session() as session:
        placeholders = [tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in (output, labels)]
        got = session.run(loss.per_example(*placeholders), dict(zip(placeholders, (output, labels), strict=True)))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


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
