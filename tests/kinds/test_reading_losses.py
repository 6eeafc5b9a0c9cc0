"""Losses and metrics that read several outputs, lengths or variables: against NumPy and TensorFlow's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

import expkit.kinds.losses_embeddings
import expkit.kinds.losses_sampled
import expkit.kinds.losses_sequences
import expkit.kinds.metrics_sequences  # noqa: F401  # registers the kinds
from expkit import tf1 as tf
from expkit.kinds.layers.base import Call
from expkit.registry import kinds

pytestmark = pytest.mark.untraced

DRAW = np.random.default_rng(0)
ROWS = {name: DRAW.normal(size=(6, 5)).astype(np.float32) for name in ("output", "positive", "negative", "other")}
BITS = np.array([0, 1, 1, 0, 1, 0])


def values_and_slopes(loss: Any, read: dict[str, np.ndarray | None], **more: Any) -> tuple[Any, Any, Any]:
    """Return values, gradients by the first thing read along a direction, and the same by differences."""
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = {
            name: None if array is None else tf.placeholder(array.dtype, array.shape) for name, array in read.items()
        }
        value = loss.values(**tensors, **more)
        (slope,) = tf.gradients(value, tensors["output"])
        feed = {tensors[name]: array for name, array in read.items() if array is not None}
        got, found = session.run([value, slope], feed)
        output = read["output"]
        assert output is not None
        direction, step = DRAW.normal(size=output.shape).astype(np.float32), 1e-2
        ends = [
            session.run(value, feed | {tensors["output"]: output + sign * step * direction}).sum(dtype=np.float64)
            for sign in (1, -1)
        ]
    return got, (found * direction).sum(), (ends[0] - ends[1]) / (2 * step)


def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(a.astype(float) - b.astype(float), axis=-1))


def partners(a: np.ndarray, b: np.ndarray, temperature: float) -> np.ndarray:
    a, b = (rows.astype(float) / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (a, b))
    similar = a @ b.T / temperature
    return np.asarray(logsumexp(similar, axis=1) - np.diag(similar))


A, P, N = ROWS["output"], ROWS["positive"], ROWS["negative"]
PAIRS: list[tuple[str, dict[str, Any], dict[str, Any], Callable[[], np.ndarray]]] = [
    (
        "triplet",
        {"positive": "p", "negative": "n"},
        {"positive": P, "negative": N},
        lambda: np.maximum(0, euclidean(A, P) - euclidean(A, N) + 1),
    ),
    (
        "triplet",
        {"positive": "p", "negative": "n", "distance": "squared_euclidean", "margin": 3.0},
        {"positive": P, "negative": N},
        lambda: np.maximum(0, euclidean(A, P) ** 2 - euclidean(A, N) ** 2 + 3),
    ),
    (
        "contrastive",
        {"other": "p", "margin": 4.0},
        {"other": P, "labels": BITS},
        lambda: np.where(BITS, euclidean(A, P) ** 2, np.maximum(0, 4 - euclidean(A, P)) ** 2),
    ),
    ("info_nce", {"other": "p"}, {"other": P}, lambda: partners(A, P, 0.1)),
    (
        "info_nce",
        {"other": "p", "symmetric": True, "temperature": 0.5},
        {"other": P},
        lambda: (partners(A, P, 0.5) + partners(P, A, 0.5)) / 2,
    ),
]


@pytest.mark.parametrize(("kind", "fields", "read", "reference"), PAIRS)
def test_losses_of_rows_are_their_formulas(
    kind: str, fields: dict[str, Any], read: dict[str, Any], reference: Callable[[], np.ndarray]
) -> None:
    got, slope, difference = values_and_slopes(kinds("loss")[kind](**fields), {"output": A, **read})
    np.testing.assert_allclose(got, reference(), rtol=1e-5, atol=1e-6)
    assert slope == pytest.approx(difference, rel=5e-3, abs=5e-3)


def test_equal_rows_have_a_finite_gradient() -> None:
    loss = kinds("loss")["triplet"](positive="p", negative="n")
    got, slope, _ = values_and_slopes(loss, {"output": A, "positive": A, "negative": A})
    assert (got == 1).all()
    assert np.isfinite(slope)


def test_an_example_of_weight_0_is_no_partner() -> None:
    loss, kept = kinds("loss")["info_nce"](other="p", symmetric=True), np.array([0, 2, 3])
    counted = np.isin(np.arange(6), kept)
    got, *_ = values_and_slopes(loss, {"output": A, "other": P}, counted=counted)
    alone, *_ = values_and_slopes(loss, {"output": A[kept], "other": P[kept]})
    np.testing.assert_allclose(got[kept], alone, rtol=1e-6)


def alignments(log_p: np.ndarray, labels: list[int], blank: int) -> float:
    """Return the log probability of labels: the sum over all paths, one by one."""
    total = []
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        short = [label for label, _ in itertools.groupby(path) if label != blank]
        if short == labels:
            total.append(log_p[np.arange(len(path)), path].sum())
    return float(logsumexp(total))


@pytest.mark.parametrize("blank", [0, -1])
def test_ctc_is_the_sum_over_all_alignments(blank: int) -> None:
    logits = DRAW.normal(size=(5, 5, 3)).astype(np.float32)
    first = 1 if blank == 0 else 0
    labels = first + np.array([[0, 1, 0], [1, 1, 9], [0, 9, 9], [1, 0, 1], [9, 9, 9]])
    lengths, label_lengths = np.array([5, 4, 3, 5, 2]), np.array([3, 2, 1, 3, 0])
    loss = kinds("loss")["ctc"](blank=blank, lengths="n", label_lengths="m")
    read = {"output": logits, "labels": labels, "lengths": lengths, "label_lengths": label_lengths}
    got, slope, difference = values_and_slopes(loss, read)
    expected = [
        -alignments(log_softmax(x[:n].astype(float), axis=-1), list(y[:m]), blank % 3)
        for x, y, n, m in zip(logits, labels, lengths, label_lengths, strict=True)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert slope == pytest.approx(difference, rel=5e-3)
    everything, *_ = values_and_slopes(
        kinds("loss")["ctc"](blank=blank),
        {**read, "labels": labels[:1].repeat(5, 0), "lengths": None, "label_lengths": None},
    )
    assert everything[0] == pytest.approx(got[0], rel=1e-6)


CLASSES, SAMPLES = 40, 8
KERNEL, BIAS = DRAW.normal(size=(5, CLASSES)).astype(np.float32), DRAW.normal(size=CLASSES).astype(np.float32)
LABELS = np.array([0, 3, 39, 7, 3, 1])


@pytest.mark.parametrize("kind", ["sampled_softmax", "nce"])
@pytest.mark.parametrize("candidates", ["log_uniform", "uniform"])
@pytest.mark.parametrize("transpose", [False, True])
def test_sampled_losses_are_those_of_tensorflow_for_what_is_drawn(kind: str, candidates: str, transpose: bool) -> None:
    fields = {"output": "x", "kernel": "k", "bias": "b", "samples": SAMPLES, "candidates": candidates}
    loss: Any = kinds("loss")[kind](**fields, transpose=transpose)
    kernel = KERNEL.T.copy() if transpose else KERNEL
    own = {"sampled_softmax": "sampled_softmax_loss", "nce": "nce_loss"}[kind]
    with tf.Graph().as_default(), tf.Session() as session:
        call = Call(training=True, key=77, step=tf.constant(5, tf.int64))
        drawn, _ = loss._drawn(CLASSES, call)
        got = loss.values(tf.constant(A), tf.constant(LABELS), tf.constant(kernel), tf.constant(BIAS), call)
        rank = np.arange(CLASSES)
        rate = np.log((rank + 2) / (rank + 1)) / np.log(CLASSES + 1) if candidates == "log_uniform" else 1 / CLASSES
        expected = (SAMPLES * rate * np.ones(CLASSES)).astype(np.float32)
        reference = getattr(tf.nn, own)(
            tf.constant(KERNEL.T.copy()),
            tf.constant(BIAS),
            tf.constant(LABELS[:, None]),
            tf.constant(A),
            SAMPLES,
            CLASSES,
            sampled_values=(
                tf.cast(drawn, tf.int64),
                tf.constant(expected[LABELS][:, None]),
                tf.gather(tf.constant(expected), drawn),
            ),
            remove_accidental_hits=kind == "sampled_softmax",
        )
        logits = A.astype(float) @ KERNEL + BIAS
        evaluated = loss.values(
            tf.constant(A), tf.constant(LABELS), tf.constant(kernel), tf.constant(BIAS), Call(training=False)
        )
        ours, theirs, all_logits, numbers = session.run([got, reference, evaluated, drawn])
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    assert numbers.min() >= 0
    assert numbers.max() < CLASSES
    if kind == "sampled_softmax":
        full = -log_softmax(logits, axis=-1)[np.arange(6), LABELS]
    else:
        full = np.logaddexp(0, logits).sum(axis=1) - logits[np.arange(6), LABELS]
    np.testing.assert_allclose(all_logits, full, rtol=1e-5)


def test_classes_are_drawn_as_often_as_the_loss_assumes() -> None:
    loss: Any = kinds("loss")["sampled_softmax"](output="x", kernel="k", samples=20000)
    with tf.Graph().as_default(), tf.Session() as session:
        drawn, log_rate = session.run(loss._drawn(10, Call(training=True, key=1, step=tf.constant(0, tf.int64))))
    np.testing.assert_allclose(np.bincount(drawn, minlength=10), np.exp(log_rate), rtol=0.1)


def levenshtein(a: list[int], b: list[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@pytest.mark.parametrize("blank", [None, 0])
@pytest.mark.parametrize("logits", [False, True])
def test_the_edit_distance_is_that_of_what_is_predicted(blank: int | None, logits: bool) -> None:
    predicted, labels = DRAW.integers(0, 4, (9, 7)), DRAW.integers(1, 4, (9, 5))
    lengths, label_lengths = DRAW.integers(0, 8, 9), DRAW.integers(0, 6, 9)
    weights = np.array([1, 2, 0, 1, 1, 3, 1, 0, 1])
    output = np.eye(4, dtype=np.float32)[predicted] if logits else predicted
    metric: Any = kinds("metric")["edit_distance"](blank=blank, lengths="n", label_lengths="m")
    with tf.Graph().as_default(), tf.Session() as session:
        read = (tf.constant(each) for each in (output, labels, lengths, label_lengths))
        sums = session.run(metric.statistics(*read, weights=[tf.constant(weights, tf.float32)]))
    distances = []
    for row, label, n, m in zip(predicted, labels, lengths, label_lengths, strict=True):
        found = list(row[:n])
        if blank is not None:
            found = [one for one, _ in itertools.groupby(found) if one != blank]
        distances.append(levenshtein(found, list(label[:m])))
    expected = (np.array(distances) * weights).sum() / (label_lengths * weights).sum()
    assert metric.result(sums) == pytest.approx(expected, 1e-6)
