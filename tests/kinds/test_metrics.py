"""scikit-learn and NumPy as the oracles of metrics; batches add up to the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

from expkit import tf1 as tf
from expkit.kinds.metrics import Metric
from expkit.registry import kinds
from expkit.tensor_spec import TensorSpec
from expkit.training.sessions import StatisticArrays, add_statistics

pytestmark = pytest.mark.untraced

DRAW = np.random.default_rng(0)
CLASSES = DRAW.integers(0, 7, 300)
LOGITS = (DRAW.normal(size=(300, 7)) + 1.5 * np.eye(7)[CLASSES]).astype(np.float32)
BITS = DRAW.integers(0, 2, 300)
ONE = (DRAW.normal(size=(300, 1)) + 1.2 * BITS[:, None]).astype(np.float32)
TWO = np.concatenate([0.3 * ONE, 1.3 * ONE], axis=1)
PLACES = DRAW.integers(0, 7, (300, 3))
WORDS = DRAW.normal(size=(300, 3, 7)).astype(np.float32)
NUMBERS = DRAW.normal(size=(300, 2, 3)).astype(np.float32)
TRUTH = DRAW.normal(size=(300, 2, 3))

CASES: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray, float, float]] = [
    ("accuracy", {}, LOGITS, CLASSES, (LOGITS.argmax(axis=1) == CLASSES).mean(), 1e-6),
    ("accuracy", {}, LOGITS, np.eye(7)[CLASSES], (LOGITS.argmax(axis=1) == CLASSES).mean(), 1e-6),
    ("accuracy", {}, ONE, BITS, ((ONE[:, 0] > 0) == BITS).mean(), 1e-6),
    ("accuracy", {}, ONE, BITS[:, None].astype(np.float32), ((ONE[:, 0] > 0) == BITS).mean(), 1e-6),
    ("accuracy", {}, ONE[:, 0], BITS, ((ONE[:, 0] > 0) == BITS).mean(), 1e-6),
    ("accuracy", {}, ONE[:, 0], BITS[:, None], ((ONE[:, 0] > 0) == BITS).mean(), 1e-6),
    ("accuracy", {}, WORDS, PLACES, (WORDS.argmax(axis=-1) == PLACES).mean(), 1e-6),
    ("accuracy", {}, WORDS, np.eye(7)[PLACES], (WORDS.argmax(axis=-1) == PLACES).mean(), 1e-6),
    ("top_k", {"k": 2}, WORDS, PLACES, top_k_accuracy_score(PLACES.ravel(), WORDS.reshape(900, 7), k=2), 1e-6),
    ("top_k", {"k": 1}, LOGITS, CLASSES, (LOGITS.argmax(axis=1) == CLASSES).mean(), 1e-6),
    ("top_k", {"k": 3}, LOGITS, CLASSES, top_k_accuracy_score(CLASSES, LOGITS, k=3), 1e-6),
    ("auc", {}, ONE, BITS, roc_auc_score(BITS, ONE[:, 0]), 1e-3),
    ("auc", {}, ONE[:, 0], BITS, roc_auc_score(BITS, ONE[:, 0]), 1e-3),
    ("auc", {}, TWO, BITS, roc_auc_score(BITS, TWO[:, 1] - TWO[:, 0]), 1e-3),
    ("auc", {}, np.zeros((300, 1), np.float32), BITS, 0.5, 1e-9),
    ("mean_absolute_error", {}, NUMBERS, TRUTH, np.abs(NUMBERS - TRUTH).mean(), 1e-6),
    ("mean_absolute_error", {}, ONE[:, 0], BITS, np.abs(ONE[:, 0] - BITS).mean(), 1e-6),
    ("mean_absolute_error", {}, ONE, BITS, np.abs(ONE[:, 0] - BITS).mean(), 1e-6),
]


def metric_of(kind: str, fields: dict[str, Any]) -> Metric:
    metric = kinds("metric")[kind](**fields)
    assert isinstance(metric, Metric)
    return metric


def summed(metric: Metric, output: np.ndarray, labels: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    """Return the metric's statistics, summed over batches as evaluation does."""
    total: StatisticArrays = {}
    with tf.Graph().as_default(), tf.Session() as session:
        placeholders = [tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in (output, labels)]
        statistics = metric.statistics(*placeholders)
        for start in range(0, len(output), batch):
            part = (output[start : start + batch], labels[start : start + batch])
            add_statistics(total, {"it": session.run(statistics, dict(zip(placeholders, part, strict=True)))})
    return total["it"]


@pytest.mark.parametrize(("kind", "fields", "output", "labels", "expected", "tolerance"), CASES)
def test_a_metric_of_summed_batches_is_the_oracles_of_all_examples(
    kind: str, fields: dict[str, Any], output: np.ndarray, labels: np.ndarray, expected: float, tolerance: float
) -> None:
    metric = metric_of(kind, fields)
    for batch in (300, 77):
        assert metric.result(summed(metric, output, labels, batch)) == pytest.approx(expected, abs=tolerance)


def test_every_kind_is_in_the_table() -> None:
    assert {case[0] for case in CASES} == set(kinds("metric"))


def test_auc_of_one_class_alone_is_not_a_number() -> None:
    metric = metric_of("auc", {})
    assert np.isnan(metric.result(summed(metric, ONE, np.ones(300), 300)))


def test_auc_of_perfect_and_of_reversed_scores_is_1_and_0() -> None:
    metric = metric_of("auc", {})
    scores = np.where(BITS == 1, 2.0, -2.0).astype(np.float32)[:, None]
    assert metric.result(summed(metric, scores, BITS, 100)) == 1
    assert metric.result(summed(metric, -scores, BITS, 100)) == 0


def wrong_label(value: str, example: int, allowed: str) -> str:
    return (
        f"1 of 3 examples have a label that is not allowed, the first is {value} (example {example}); allowed: whole "
        f"numbers {allowed}"
    )


@pytest.mark.parametrize(
    ("kind", "output", "labels", "problem"),
    [
        ("auc", TensorSpec((3,)), BITS, "auc needs one logit or two per example, got [batch, 3] float32"),
        ("auc", TensorSpec((1,)), np.array([0, 1, 2]), wrong_label("2", 2, "0 to 1")),
        ("auc", TensorSpec((1,)), np.array([0, 1, 0.5]), wrong_label("0.5", 2, "0 to 1")),
        ("auc", TensorSpec((1,)), np.zeros((3, 2)), "auc needs one label per example, got [2]"),
        (
            "top_k",
            TensorSpec((5,)),
            np.array([4, 7, 1]),
            wrong_label("7", 1, "0 to 4, for 5 classes; change the last layer's units or the data"),
        ),
        (
            "accuracy",
            TensorSpec((5,)),
            np.array([4.0, 1, -0.5]),
            wrong_label("-0.5", 2, "0 to 4, for 5 classes; change the last layer's units or the data"),
        ),
        (
            "accuracy",
            TensorSpec((2, 5)),
            np.array([[4, 1], [0, 5], [1, 1]]),
            wrong_label("5", 1, "0 to 4, for 5 classes; change the last layer's units or the data"),
        ),
        (
            "accuracy",
            TensorSpec((1,)),
            np.array([0, 1, 7]),
            wrong_label("7", 2, "0 to 1").replace("whole numbers ", ""),
        ),
        (
            "accuracy",
            TensorSpec((5,)),
            np.zeros((3, 4)),
            "needs labels of shape [] (class numbers) or [5] (one-hot) per example, got [4]",
        ),
        (
            "accuracy",
            TensorSpec((2, 5)),
            np.zeros((3, 5)),
            "needs labels of shape [2] (class numbers) or [2, 5] (one-hot) per example, got [5]",
        ),
        (
            "accuracy",
            TensorSpec(()),
            np.zeros((3, 4)),
            "needs labels of shape [] (class numbers) or [1] (one-hot) per example, got [4]",
        ),
        (
            "top_k",
            TensorSpec((2, 5)),
            np.zeros((3, 1), np.int64),
            "needs whole numbers of shape [2] per example for an output [batch, 2, 5] float32, got int64 of shape [1]",
        ),
        (
            "mean_absolute_error",
            TensorSpec((2,)),
            np.zeros((3, 4)),
            "needs labels shaped like the output, [2] per example, got [4]",
        ),
    ],
)
def test_a_metric_says_what_keeps_labels_from_fitting(
    kind: str, output: TensorSpec, labels: np.ndarray, problem: str
) -> None:
    assert metric_of(kind, {}).problem(output, labels) == problem


@pytest.mark.parametrize(("kind", "output", "labels"), [(case[0], case[2], case[3]) for case in CASES])
def test_labels_that_fit_are_no_problem(kind: str, output: np.ndarray, labels: np.ndarray) -> None:
    assert metric_of(kind, {}).problem(TensorSpec(output.shape[1:]), labels) is None
