"""scikit-learn and NumPy as the references of metrics; batches add up to the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    jaccard_score,
    mean_absolute_error,
    mean_squared_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

import expkit.kinds.metrics_classes
import expkit.kinds.metrics_ranking
import expkit.kinds.metrics_regression  # noqa: F401  # registers the kinds
from expkit import tf1 as tf
from expkit.kinds.evaluated import Readable
from expkit.kinds.metrics import BaseMetric
from expkit.kinds.precision import widened
from expkit.registry import kinds
from expkit.tensor_spec import TensorSpec
from expkit.training.sessions import StatisticArrays
from expkit.training.sums import add_statistics, joined_rows
from support.edges import EDGES

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
MANY = (DRAW.uniform(size=(300, 7)) < 0.3).astype(int)

Reference = Callable[[np.ndarray, np.ndarray], float]


def of_largest(x: np.ndarray, y: np.ndarray) -> float:
    return float(accuracy_score((y.argmax(axis=-1) if y.ndim == x.ndim else y).ravel(), x.argmax(axis=-1).ravel()))


def of_signs(x: np.ndarray, y: np.ndarray) -> float:
    return float(accuracy_score(y.reshape(-1) > 0.5, x.reshape(-1) > 0))


def among(k: int) -> Reference:
    """Return the fraction of labels among the first ``k`` of ``tf.math.top_k``'s order: of equal logits the first."""
    return lambda x, y: float((np.argsort(-x, axis=-1, kind="stable")[..., :k] == y[..., None]).any(axis=-1).mean())


def of_ranks(x: np.ndarray, y: np.ndarray) -> float:
    return float(roc_auc_score(y.reshape(-1), x.reshape(-1) if x.size == y.size else x[:, 1] - x[:, 0]))


def ranked(score: Any, average: str, classes: Sequence[int] | None = None) -> Reference:
    """Return scikit-learn's score of probabilities against one-hot labels, or of independent logits."""

    def reference(x: np.ndarray, y: np.ndarray) -> float:
        several = y.ndim == x.ndim and y.shape == x.shape
        labels = y if several else np.eye(x.shape[1])[y.reshape(-1).astype(int)]
        scores = x.astype(np.float64)
        if not several:  # The order of softmax's probabilities, of which those near 1 round to the same value.
            others = [logsumexp(np.sort(np.delete(scores, number, axis=1)), axis=1) for number in range(x.shape[1])]
            scores = scores - np.stack(others, axis=1)
        chosen = list(range(x.shape[1])) if classes is None else list(classes)
        return float(score(labels[:, chosen], scores[:, chosen], average=average))

    return reference


def root(x: np.ndarray, y: np.ndarray) -> float:
    columns = (-1, x.shape[-1] if x.ndim > 1 else 1)
    return float(root_mean_squared_error(y.reshape(columns), x.reshape(columns).astype(np.float64)))


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(mean_absolute_error(y.reshape(-1), x.reshape(-1)))


def square(x: np.ndarray, y: np.ndarray) -> float:
    return float(mean_squared_error(y.reshape(-1), x.reshape(-1).astype(np.float64)))


def explained(x: np.ndarray, y: np.ndarray) -> float:
    columns = (-1, x.shape[-1] if x.ndim > 1 else 1)
    return float(r2_score(y.reshape(columns), x.reshape(columns).astype(np.float64)))


def surprise(x: np.ndarray, y: np.ndarray) -> float:
    log_p = np.take_along_axis(log_softmax(x.astype(np.float64), axis=-1), y[..., None].astype(int), axis=-1)
    with np.errstate(over="ignore"):
        return float(np.exp(-log_p.mean()))


def mean(x: np.ndarray, y: np.ndarray) -> float:
    return float(x.astype(np.float64).mean())


def classes_of(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return class numbers of labels and of predictions; 0 and 1 of a single logit."""
    if x.shape[-1] == 1 or x.ndim == 1:
        return y.reshape(-1) > 0.5, x.reshape(-1) > 0
    return (y.argmax(axis=-1) if y.ndim == x.ndim else y).ravel().astype(int), x.argmax(axis=-1).ravel()


def of_confusion(score: Any, **fields: Any) -> Reference:
    return lambda x, y: float(score(*classes_of(x, y), zero_division=0, **fields))


AVERAGED = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
MISSING = np.where(CLASSES == 5, 2, CLASSES)
"""Labels among which one class is absent."""

CASES: list[tuple[str, dict[str, Any], np.ndarray, np.ndarray, Reference]] = [
    ("accuracy", {}, LOGITS, CLASSES, of_largest),
    ("accuracy", {}, LOGITS, np.eye(7)[CLASSES], of_largest),
    ("accuracy", {}, ONE, BITS, of_signs),
    ("accuracy", {}, ONE, BITS[:, None].astype(np.float32), of_signs),
    ("accuracy", {}, ONE[:, 0], BITS, of_signs),
    ("accuracy", {}, ONE[:, 0], BITS[:, None], of_signs),
    ("accuracy", {}, WORDS, PLACES, of_largest),
    ("accuracy", {}, WORDS, np.eye(7)[PLACES], of_largest),
    ("top_k", {"k": 1}, LOGITS, CLASSES, of_largest),
    ("top_k", {"k": 2}, WORDS, PLACES, among(2)),
    ("top_k", {"k": 3}, LOGITS, CLASSES, among(3)),
    ("top_k", {"k": 9}, LOGITS, CLASSES, among(9)),
    ("auc", {}, ONE, BITS, of_ranks),
    ("auc", {}, ONE[:, 0], BITS, of_ranks),
    ("auc", {}, TWO, BITS[:, None].astype(np.float32), of_ranks),
    *(
        (kind, {"average": average}, *values, ranked(score, average))
        for kind, score in (("auc", roc_auc_score), ("average_precision", average_precision_score))
        for average in ("macro", "micro", "weighted")
        for values in ((LOGITS, CLASSES), (LOGITS, CLASSES[:, None].astype(np.float32)), (LOGITS, MANY))
    ),
    ("auc", {"classes": (2, 4)}, LOGITS, CLASSES, ranked(roc_auc_score, "macro", [2, 4])),
    ("average_precision", {"classes": (1,)}, TWO, BITS, ranked(average_precision_score, "macro", [1])),
    ("average_precision", {}, TWO, BITS, ranked(average_precision_score, "macro")),
    ("average_precision", {}, ONE, BITS, lambda x, y: float(average_precision_score(y.ravel(), x.ravel()))),
    ("mean_absolute_error", {}, NUMBERS, TRUTH, distance),
    ("mean_absolute_error", {}, ONE[:, 0], BITS, distance),
    ("mean_absolute_error", {}, ONE, BITS, distance),
    ("mean_squared_error", {}, NUMBERS, TRUTH, square),
    ("mean_squared_error", {}, ONE[:, 0], BITS, square),
    ("mean_squared_error", {}, ONE, BITS, square),
    ("root_mean_squared_error", {}, NUMBERS, TRUTH, root),
    ("root_mean_squared_error", {}, ONE[:, 0], BITS, root),
    ("root_mean_squared_error", {}, ONE, BITS, root),
    ("r2", {}, NUMBERS, TRUTH, explained),
    ("r2", {}, NUMBERS, NUMBERS + 0.1 * TRUTH, explained),
    ("r2", {}, ONE[:, 0], BITS, explained),
    ("r2", {}, ONE, BITS, explained),
    ("perplexity", {}, LOGITS, CLASSES, surprise),
    ("perplexity", {}, WORDS, PLACES.astype(np.float32), surprise),
    ("mean", {}, NUMBERS, BITS, mean),
    ("mean", {}, ONE[:, 0], BITS, mean),
    *(
        (kind, fields, output, labels, of_confusion(score, **asked))
        for kind, score in AVERAGED.items()
        for fields, output, labels, asked in (
            ({}, LOGITS, CLASSES, {"average": "macro"}),
            ({}, LOGITS, MISSING, {"average": "macro"}),
            ({"average": "weighted"}, LOGITS, MISSING, {"average": "weighted"}),
            ({"average": "weighted", "classes": (1, 4)}, WORDS, PLACES, {"average": "weighted", "labels": [1, 4]}),
            ({"average": "weighted", "classes": (0, 1)}, ONE, BITS, {"average": "weighted"}),
            ({}, LOGITS, np.eye(7)[CLASSES], {"average": "macro"}),
            ({"average": "micro"}, WORDS, PLACES.astype(np.float32), {"average": "micro"}),
            ({"classes": (1, 4)}, WORDS, PLACES, {"average": "macro", "labels": [1, 4]}),
            ({"classes": (1, 4), "average": "micro"}, WORDS, PLACES, {"average": "micro", "labels": [1, 4]}),
            ({"classes": (3,)}, LOGITS, CLASSES, {"average": "macro", "labels": [3]}),
            ({}, TWO, BITS, {"average": "macro"}),
            ({}, ONE, BITS, {}),
            ({"average": "micro"}, ONE[:, 0], BITS[:, None].astype(np.float32), {}),
            ({"classes": (0, 1)}, ONE, BITS, {"average": "macro"}),
        )
    ),
    ("mean_iou", {}, LOGITS, CLASSES, of_confusion(jaccard_score, average="macro")),
    ("mean_iou", {}, LOGITS, MISSING, of_confusion(jaccard_score, average="macro")),
    ("mean_iou", {}, WORDS, np.eye(7)[PLACES], of_confusion(jaccard_score, average="macro")),
    ("mean_iou", {"classes": (1, 4)}, WORDS, PLACES, of_confusion(jaccard_score, average="macro", labels=[1, 4])),
    ("mean_iou", {}, ONE, BITS, of_confusion(jaccard_score, average="macro")),
    ("mean_iou", {"classes": (1,)}, ONE[:, 0], BITS, of_confusion(jaccard_score)),
]
"""A line a case: kind, fields, output of the network, labels, reference. A new kind is one line more."""


def metric_of(kind: str, fields: dict[str, Any]) -> BaseMetric:
    metric = kinds("metric")[kind](**fields)
    assert isinstance(metric, BaseMetric)
    return metric


def summed(metric: BaseMetric, output: np.ndarray, labels: np.ndarray, batch: int) -> dict[str, np.ndarray]:
    """Return the metric's statistics, summed over batches as evaluation does."""
    total: StatisticArrays = {}
    with tf.Graph().as_default(), tf.Session() as session:
        placeholders = [tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in (output, labels)]
        labelled = {"labels": placeholders[1]} if metric.data_fields else {}
        statistics = metric.statistics(output=widened(placeholders[0]), **labelled)
        for start in range(0, len(output), batch):
            part = (output[start : start + batch], labels[start : start + batch])
            add_statistics(total, {"it": session.run(statistics, dict(zip(placeholders, part, strict=True)))})
    return joined_rows(total["it"])


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("kind", "fields", "plain", "labels", "reference"), CASES)
def test_a_metric_of_summed_batches_is_the_reference_of_all_examples(
    kind: str, fields: dict[str, Any], plain: np.ndarray, labels: np.ndarray, reference: Reference, edge: str
) -> None:
    metric, output = metric_of(kind, fields), EDGES[edge](plain)
    wide = output.astype(np.float32)
    expected = reference(wide, labels)
    for batch in (300, 77):
        assert metric.result(summed(metric, output, labels, batch)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_every_kind_is_in_the_table() -> None:
    others = {"edit_distance"}  # test_reading_losses.py
    assert {case[0] for case in CASES} | others == set(kinds("metric"))


ABSENT = np.zeros((300, 7), np.float32)
"""Logits that predict the first class alone."""


@pytest.mark.parametrize("kind", ["precision", "recall", "f1", "mean_iou"])
def test_a_class_that_nothing_names_is_left_out_of_the_mean_and_alone_is_0(kind: str) -> None:
    labels = np.zeros(300, int)
    assert metric_of(kind, {}).result(summed(metric_of(kind, {}), ABSENT, labels, 77)) == 1
    alone = metric_of(kind, {"classes": (4,)})
    assert alone.result(summed(alone, ABSENT, labels, 77)) == 0
    positive = metric_of(kind, {"classes": (1,)})
    assert positive.result(summed(positive, ABSENT[:, :1], labels, 77)) == 0


def test_a_class_listed_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="class 2 is listed twice; list every class once"):
        metric_of("f1", {"classes": (1, 2, 2)})


@pytest.mark.parametrize("place", [0.0, 1e4, -1e5])
def test_r2_is_that_of_labels_wherever_they_lie_and_does_not_depend_on_batches(place: float) -> None:
    labels = (np.round(4 * TRUTH) + place).astype(np.float32)
    output = (labels + np.round(NUMBERS)).astype(np.float32)
    metric = metric_of("r2", {})
    one, many, by_one = (metric.result(summed(metric, output, labels, batch)) for batch in (300, 77, 1))
    assert one == pytest.approx(explained(output, labels.astype(np.float64)), rel=1e-6)
    assert many == pytest.approx(one, rel=1e-9)
    assert by_one == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678])
def test_r2_of_constant_labels_is_1_if_all_are_met_and_else_0(value: float) -> None:
    labels = np.full((300, 1), value, np.float32)
    metric = metric_of("r2", {})
    assert metric.result(summed(metric, labels, labels, 77)) == 1
    assert metric.result(summed(metric, labels + ONE, labels, 77)) == 0


def test_perplexity_beyond_all_numbers_is_infinite() -> None:
    metric = metric_of("perplexity", {})
    assert metric.result({"sum": np.float64(1e6), "count": np.float64(10)}) == np.inf


def test_auc_of_one_class_alone_is_not_a_number() -> None:
    metric = metric_of("auc", {})
    assert np.isnan(metric.result(summed(metric, ONE, np.ones(300), 300)))


@pytest.mark.parametrize("place", [0.0, -9.5, 1e4, -1e-6])
def test_auc_of_perfect_and_of_reversed_scores_is_1_and_0_wherever_they_lie(place: float) -> None:
    metric = metric_of("auc", {})
    scores = np.where(BITS == 1, np.float32(place + 0.5), np.float32(place - 0.5))[:, None]
    assert metric.result(summed(metric, scores, BITS, 100)) == 1
    assert metric.result(summed(metric, -scores, BITS, 100)) == 0
    assert metric.result(summed(metric, 0 * scores + np.float32(place), BITS, 100)) == 0.5


def test_auc_of_a_score_that_is_not_a_number_is_none_either() -> None:
    metric, scores = metric_of("auc", {}), ONE.copy()
    scores[7] = np.nan
    assert np.isnan(metric.result(summed(metric, scores, BITS, 100)))


def test_a_dead_network_is_in_the_top_k_by_chance_alone() -> None:
    labels = np.arange(700) % 7
    got = summed(metric_of("top_k", {"k": 3}), np.zeros((700, 7), np.float32), labels, 100)
    assert got["sum"] / got["count"] == pytest.approx(3 / 7)


def test_a_logit_that_is_not_a_number_is_never_in_the_top_k() -> None:
    metric = metric_of("top_k", {"k": 5})
    assert metric.result(summed(metric, np.full((300, 7), np.nan, np.float32), CLASSES, 100)) == 0


def wrong_label(value: str, example: int, allowed: str) -> str:
    return (
        f"1 of 3 examples have a label that is not allowed, the first is {value} (example {example}); allowed: whole "
        f"numbers {allowed}"
    )


@pytest.mark.parametrize(
    ("kind", "output", "labels", "problem"),
    [
        (
            "auc",
            TensorSpec((2, 3)),
            BITS,
            "auc needs an output of shape [batch] or [batch, classes], got [batch, 2, 3] float32",
        ),
        ("auc", TensorSpec((3,)), np.zeros((3, 2)), "auc needs one label per example, or 3, got [2]"),
        (
            "average_precision",
            TensorSpec((3,)),
            np.array([0, 1, 3]),
            wrong_label("3", 2, "0 to 2, for 3 classes; change the last layer's units or the data"),
        ),
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
        *(
            (
                kind,
                TensorSpec((3,)),
                np.array([[0, 1, 0], [0.5, 0.5, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]]),
                "2 of 5 examples are labeled with several classes, the first is example 2; it compares one class: give "
                "each label an output of one logit, or use auc or average_precision",
            )
            for kind in ("accuracy", "precision", "recall", "f1", "mean_iou")
        ),
        (
            "top_k",
            TensorSpec((2, 5)),
            np.zeros((3, 1), np.int64),
            "needs whole numbers of shape [2] per example for an output [batch, 2, 5] float32, got int64 of shape [1]",
        ),
        *(
            (kind, TensorSpec((2,)), np.zeros((3, 4)), "needs labels shaped like the output, [2] per example, got [4]")
            for kind in ("mean_absolute_error", "mean_squared_error", "r2")
        ),
        (
            "perplexity",
            TensorSpec((5,)),
            np.array([4, 7, 1]),
            wrong_label("7", 1, "0 to 4, for 5 classes; change the last layer's units or the data"),
        ),
        *(
            case
            for kind in ("precision", "recall", "f1", "mean_iou")
            for case in (
                (
                    kind,
                    TensorSpec((5,)),
                    np.array([4.0, 1, -0.5]),
                    wrong_label("-0.5", 2, "0 to 4, for 5 classes; change the last layer's units or the data"),
                ),
                (
                    kind,
                    TensorSpec((5,)),
                    np.zeros((3, 4)),
                    "needs labels of shape [] (class numbers) or [5] (one-hot) per example, got [4]",
                ),
            )
        ),
    ],
)
def test_a_metric_says_what_keeps_labels_from_fitting(
    kind: str, output: TensorSpec, labels: np.ndarray, problem: str
) -> None:
    assert metric_of(kind, {}).problem(output, labels) == problem


@pytest.mark.parametrize(
    ("output", "allowed"), [(TensorSpec((5,)), "4"), (TensorSpec((1,)), "1"), (TensorSpec(()), "1")]
)
def test_a_class_that_the_output_lacks_is_named(output: TensorSpec, allowed: str) -> None:
    readable = Readable(outputs={"logits": output}, fields={"label": np.array([0, 1, 1])}, variables={})
    problem = f"classes: 5 is not a class of 'logits', {output}; allowed: 0 to {allowed}"
    assert metric_of("f1", {"classes": (0, 5)}).data_problem(readable) == problem
    assert metric_of("auc", {"classes": (0, 5)}).network_problem(readable) == problem


@pytest.mark.parametrize(("kind", "output", "labels"), [(case[0], case[2], case[3]) for case in CASES])
def test_labels_that_fit_are_no_problem(kind: str, output: np.ndarray, labels: np.ndarray) -> None:
    assert metric_of(kind, {}).problem(TensorSpec(output.shape[1:]), labels) is None
