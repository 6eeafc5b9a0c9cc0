"""Weights, ignored labels, class weights, smoothing and reductions: against scikit-learn, Keras, and written out."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
)

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.config.sections.train import TrainConfig
from expkit.kinds.evaluated import Readable
from expkit.training.state import StatisticArrays
from expkit.training.step import loss_and_statistics
from expkit.training.sums import add_statistics, results

pytestmark = pytest.mark.untraced

DRAW = np.random.default_rng(0)
CLASSES = 4
VALUES = {
    "logits": (2 * DRAW.normal(size=(12, 3, CLASSES))).astype(np.float32),
    "label": DRAW.integers(0, CLASSES, (12, 3)),
    "soft": DRAW.dirichlet(np.ones(CLASSES), (12, 3)).astype(np.float32),
    "bits": DRAW.integers(0, 2, (12, 3, CLASSES)),
    "word": DRAW.normal(size=(12, CLASSES)).astype(np.float32),
    "class": DRAW.integers(0, CLASSES, 12),
    "one": DRAW.normal(size=(12, 1)).astype(np.float32),
    "bit": np.array([0, 1] * 6),
    "weights": DRAW.uniform(0.25, 2, (12, 3)),
    "by_example": DRAW.uniform(0.25, 2, 12),
}
OUTPUTS = {"logits", "word", "one"}
BY_POSITION = {
    "sparse_softmax_cross_entropy": "label",
    "softmax_cross_entropy": "soft",
    "sigmoid_cross_entropy": "bits",
    "mean_squared_error": "soft",
    "absolute_error": "soft",
    "huber": "soft",
    "poisson": "soft",
    "hinge": "bits",
    "focal": "label",
    "kl_divergence": "soft",
    "cosine": "soft",
}
"""Losses whose value at a position depends on it alone, and their labels."""
METRICS = {
    "accuracy": "label",
    "top_k": "label",
    "perplexity": "label",
    "precision": "label",
    "recall": "label",
    "f1": "label",
    "mean_iou": "label",
    "mean_absolute_error": "soft",
    "mean_squared_error": "soft",
    "r2": "soft",
}


class Numbers:
    """Losses and metrics of arrays, computed as an evaluation does, from a graph that is built once."""

    def __init__(
        self,
        losses: Mapping[str, Mapping[str, Any]],
        metrics: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        batch_size: int = 4,
        trains: bool = False,
    ) -> None:
        train = {
            "steps": 1,
            "batch_size": batch_size,
            "losses": {**losses, "other": {"kind": "value", "output": "one", "weight": 0}},
            "metrics": metrics or {},
        }
        self.config = cast(Config, SimpleNamespace(train=TrainConfig.model_validate(train)))
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.placeholders = {
                name: tf.placeholder(array.dtype, (None, *array.shape[1:])) for name, array in VALUES.items()
            }
            outputs = {name: self.placeholders[name] for name in OUTPUTS}
            readable = Readable(outputs=outputs, fields=self.placeholders, variables={})
            objective = loss_and_statistics(self.config, readable, tf.constant(0.25), tf.constant(3, tf.int64))
            self.statistics = objective.statistics
            self.slopes = {
                name: tf.convert_to_tensor(tf.gradients(mean, outputs["logits"])[0])
                for name, mean in objective.means.items()
                if name.startswith("slope")
            }
        self.session = tf.Session(graph=self.graph)

    def feed(self, arrays: Mapping[str, np.ndarray]) -> dict[Any, np.ndarray]:
        return {self.placeholders[name]: array for name, array in arrays.items()}

    def of(self, arrays: Mapping[str, np.ndarray], batch: int = 100) -> dict[str, float]:
        total: StatisticArrays = {}
        for start in range(0, len(arrays["one"]), batch):
            part = {name: array[start : start + batch] for name, array in arrays.items()}
            add_statistics(total, self.session.run(dict(self.statistics), self.feed(part)))
        return results(self.config, total)


def everything(**fields: Any) -> Numbers:
    """Return all kinds by position, with fields of their own."""
    return Numbers(
        {f"{kind}": {"kind": kind, "labels": labels, **fields} for kind, labels in BY_POSITION.items()},
        {kind: {"kind": kind, "labels": labels, **fields} for kind, labels in METRICS.items()},
    )


@pytest.fixture(scope="module")
def plain() -> Numbers:
    return everything()


@pytest.fixture(scope="module")
def weighted() -> Numbers:
    return everything(weights="weights")


@pytest.fixture(scope="module")
def by_example() -> Numbers:
    kinds = {
        "dice": {"kind": "dice", "labels": "label"},
        "dice of bits": {"kind": "dice", "output": "one", "labels": "bit"},
        "value": {"kind": "value", "output": "logits"},
    }
    metrics = {
        "auc": {"kind": "auc", "output": "one", "labels": "bit"},
        "mean": {"kind": "mean", "output": "one"},
        "f1 of bits": {"kind": "f1", "output": "one", "labels": "bit"},
    }
    return Numbers(
        {name: {**item, "weights": "by_example"} for name, item in kinds.items()},
        {name: {**item, "weights": "by_example"} for name, item in metrics.items()},
    )


@settings(max_examples=12, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=36, max_size=36).filter(any), st.sampled_from([5, 100]))
def test_a_weight_is_the_number_of_times_that_a_position_counts(
    plain: Numbers, weighted: Numbers, counts: list[int], batch: int
) -> None:
    weights = np.array(counts).reshape(12, 3)
    got = weighted.of(VALUES | {"weights": weights}, batch)
    flat = {name: VALUES[name].reshape(36, 1, *VALUES[name].shape[2:]) for name in ("logits", "label", "soft", "bits")}
    rest = {name: np.repeat(VALUES[name], 3, axis=0) for name in set(VALUES) - set(flat) - {"weights", "by_example"}}
    tiled = {name: np.repeat(array, counts, axis=0) for name, array in {**flat, **rest}.items()}
    three = {
        name: np.tile(array, (1, 3) + (1,) * (array.ndim - 2)) if name in flat else array
        for name, array in tiled.items()
    }
    expected = plain.of(three | {"weights": np.ones((sum(counts), 3)), "by_example": np.ones(sum(counts))})
    names = [*(f"loss/{kind}" for kind in BY_POSITION), *METRICS]
    assert {name: got[name] for name in names} == pytest.approx({name: expected[name] for name in names}, 1e-5, 1e-6)
    assert got["loss"] == pytest.approx(0.25 + sum(got[f"loss/{kind}"] for kind in BY_POSITION), 1e-6)


@settings(max_examples=8, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2]), min_size=12, max_size=12).filter(any), st.sampled_from([5, 100]))
def test_a_weight_is_the_number_of_times_that_an_example_counts(
    by_example: Numbers, counts: list[int], batch: int
) -> None:
    got = by_example.of(VALUES | {"by_example": np.array(counts, float)}, batch)
    repeated = {name: np.repeat(array, counts, axis=0) for name, array in VALUES.items()}
    expected = by_example.of(repeated | {"by_example": np.ones(sum(counts))})
    for numbers in (got, expected):
        numbers.pop("loss/other")
    assert got == pytest.approx(expected, 1e-5, 1e-6, nan_ok=True)


def test_metrics_with_weights_are_those_of_scikit_learn(weighted: Numbers, by_example: Numbers) -> None:
    got = weighted.of(VALUES, 5) | by_example.of(VALUES, 5)
    truth, found, weights = VALUES["label"].ravel(), VALUES["logits"].argmax(axis=-1).ravel(), VALUES["weights"].ravel()
    probability = np.exp(log_softmax(VALUES["logits"].reshape(36, CLASSES).astype(float), axis=-1))
    rows = VALUES["soft"].reshape(36, CLASSES), VALUES["logits"].reshape(36, CLASSES).astype(float)
    entropy = log_loss(truth, probability, sample_weight=weights)
    averaged = {"average": "macro", "sample_weight": weights}
    bits = VALUES["bit"], VALUES["one"][:, 0]
    expected = {
        "accuracy": accuracy_score(truth, found, sample_weight=weights),
        "perplexity": np.exp(entropy),
        "loss/sparse_softmax_cross_entropy": entropy,
        "precision": precision_score(truth, found, zero_division=0, **averaged),
        "recall": recall_score(truth, found, **averaged),
        "f1": f1_score(truth, found, **averaged),
        "mean_iou": jaccard_score(truth, found, **averaged),
        "mean_absolute_error": mean_absolute_error(*rows, sample_weight=weights),
        "mean_squared_error": mean_squared_error(*rows, sample_weight=weights),
        "r2": r2_score(*rows, sample_weight=weights),
        "auc": roc_auc_score(*bits, sample_weight=VALUES["by_example"]),
        "f1 of bits": f1_score(bits[0], bits[1] > 0, sample_weight=VALUES["by_example"]),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, 1e-6)


def test_ignored_positions_count_as_absent_whatever_they_hold(plain: Numbers) -> None:
    kinds = {"sparse_softmax_cross_entropy", "focal"}
    fields = {"ignore": -1}
    ignoring = Numbers(
        {kind: {"kind": kind, "labels": "label", **fields} for kind in kinds},
        {kind: {"kind": kind, "labels": "label", **fields} for kind, labels in METRICS.items() if labels == "label"},
    )
    mask = DRAW.uniform(size=(12, 3)) < 0.6
    broken = np.where(mask[..., None], VALUES["logits"], np.float32(np.nan))
    got = ignoring.of(VALUES | {"label": np.where(mask, VALUES["label"], -1)}, 5)
    named = {f"loss/{kind}" for kind in kinds} | {kind for kind in METRICS if METRICS[kind] == "label"}
    weighted = everything(weights="weights").of(VALUES | {"weights": mask}, 5)
    assert {name: got[name] for name in named} == pytest.approx({name: weighted[name] for name in named}, 1e-6)
    nothing = ignoring.of(VALUES | {"label": np.where(mask, VALUES["label"], -1), "logits": broken}, 5)
    assert {name: nothing[name] for name in ("loss/focal", "perplexity")} == pytest.approx(
        {name: got[name] for name in ("loss/focal", "perplexity")}, 1e-6
    )


def test_ignored_bits_are_left_out_of_the_mean_of_values() -> None:
    mask = DRAW.uniform(size=(12, 3, CLASSES)) < 0.5
    losses = {kind: {"kind": kind, "labels": "bits", "ignore": -1} for kind in ("sigmoid_cross_entropy", "hinge")}
    got = Numbers(losses).of(VALUES | {"bits": np.where(mask, VALUES["bits"], -1)}, 5)
    x, y = VALUES["logits"][mask].astype(float), VALUES["bits"][mask]
    expected = {
        "loss/sigmoid_cross_entropy": np.mean(np.logaddexp(0, x) - x * y),
        "loss/hinge": np.mean(np.maximum(0, 1 - (2 * y - 1) * x)),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, 1e-6)


def test_class_weights_are_the_weights_of_the_labels() -> None:
    by_class = np.array([0.5, 1, 3, 0])
    numbers = Numbers(
        {
            "list": {"kind": "sparse_softmax_cross_entropy", "class_weights": by_class.tolist()},
            "mapping": {"kind": "sparse_softmax_cross_entropy", "class_weights": {0: 0.5, 2: 3, 3: 0}},
            "rows": {"kind": "softmax_cross_entropy", "labels": "soft", "class_weights": by_class.tolist()},
            "bits": {"kind": "sigmoid_cross_entropy", "labels": "bits", "class_weights": [1, 4]},
            "both": {
                "kind": "sparse_softmax_cross_entropy",
                "class_weights": by_class.tolist(),
                "weights": "by_example",
                "ignore": 1,
            },
        },
        {"accuracy": {"kind": "accuracy", "class_weights": by_class.tolist()}},
    )
    got = numbers.of(VALUES, 5)
    label, bits = VALUES["label"], VALUES["bits"]
    entropy = -log_softmax(VALUES["logits"].astype(float), axis=-1)
    own = np.take_along_axis(entropy, label[..., None], axis=-1)[..., 0]
    weights, rows = by_class[label], (VALUES["soft"] * by_class).sum(axis=-1)
    joined = weights * VALUES["by_example"][:, None] * (label != 1)
    x = VALUES["logits"].astype(float)
    expected = {
        "loss/list": np.average(own, weights=weights),
        "loss/mapping": np.average(own, weights=weights),
        "loss/rows": np.average((VALUES["soft"] * entropy).sum(axis=-1), weights=rows),
        "loss/bits": np.average(np.logaddexp(0, x) - x * bits, weights=np.array([1, 4])[bits]),
        "loss/both": np.average(own, weights=joined),
        "accuracy": accuracy_score(
            label.ravel(), VALUES["logits"].argmax(axis=-1).ravel(), sample_weight=weights.ravel()
        ),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, 1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.75])
def test_smoothed_labels_are_those_of_keras(smoothing: float) -> None:
    fields = {"label_smoothing": smoothing}
    got = Numbers(
        {
            "numbers": {"kind": "sparse_softmax_cross_entropy", **fields},
            "rows": {"kind": "softmax_cross_entropy", "labels": "soft", **fields},
            "bits": {"kind": "sigmoid_cross_entropy", "labels": "bits", **fields},
        }
    ).of(VALUES)
    softmax = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    sigmoid = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    hot = np.eye(CLASSES, dtype=np.float32)[VALUES["label"]]
    expected = {
        "loss/numbers": float(softmax(hot, VALUES["logits"])),
        "loss/rows": float(softmax(VALUES["soft"], VALUES["logits"])),
        "loss/bits": float(sigmoid(VALUES["bits"].astype(np.float32), VALUES["logits"])),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, 1e-6)


def test_reductions_are_what_they_say() -> None:
    reductions = ("mean", "mean_over_positions", "sum_over_positions", "sum")
    kind = {"kind": "sparse_softmax_cross_entropy"}
    numbers = Numbers(
        {
            **{f"plain {name}": {**kind, "reduction": name} for name in reductions},
            **{f"masked {name}": {**kind, "reduction": name, "weights": "weights"} for name in reductions},
            **{f"example {name}": {**kind, "reduction": name, "weights": "by_example"} for name in reductions},
        },
        {"accuracy": {"kind": "accuracy", "weights": "weights", "reduction": "mean_over_positions"}},
    )
    mask = DRAW.uniform(size=(12, 3)) < 0.5
    mask[4] = 0
    got = numbers.of(VALUES | {"weights": mask}, 5)
    own = np.take_along_axis(
        -log_softmax(VALUES["logits"].astype(float), axis=-1), VALUES["label"][..., None], axis=-1
    )[..., 0]
    right = VALUES["logits"].argmax(axis=-1) == VALUES["label"]
    some, weights = mask.any(axis=1), VALUES["by_example"]
    expected = {
        "loss/plain mean": own.mean(),
        "loss/plain mean_over_positions": own.mean(),
        "loss/plain sum_over_positions": own.sum() / 12,
        "loss/plain sum": own.sum() / 12 * 4,
        "loss/masked mean": own[mask].mean(),
        "loss/masked mean_over_positions": np.mean([own[i][mask[i]].mean() for i in np.flatnonzero(some)]),
        "loss/masked sum_over_positions": (own * mask).sum() / some.sum(),
        "loss/masked sum": (own * mask).sum() / 12 * 4,
        "loss/example mean": np.average(own.mean(axis=1), weights=weights),
        "loss/example mean_over_positions": np.average(own.mean(axis=1), weights=weights),
        "loss/example sum_over_positions": np.average(own.sum(axis=1), weights=weights),
        "loss/example sum": (own.sum(axis=1) * weights).sum() / 12 * 4,
        "accuracy": np.mean([right[i][mask[i]].mean() for i in np.flatnonzero(some)]),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected, 1e-6)
    assert got["loss"] == pytest.approx(
        0.25 + sum(value for name, value in got.items() if "/" in name) - got["loss/other"]
    )


def test_the_dice_of_a_mask_is_that_of_the_positions_it_leaves() -> None:
    masked = Numbers({"masked": {"kind": "dice", "weights": "weights"}, "ignoring": {"kind": "dice", "ignore": -1}})
    mask = np.array([[1, 1, 0]] * 12)
    got = masked.of(VALUES | {"weights": mask})["loss/masked"]
    ignored = masked.of(VALUES | {"label": np.where(mask, VALUES["label"], -1)})["loss/ignoring"]
    probability = np.exp(log_softmax(VALUES["logits"][:, :2].astype(float), axis=-1))
    hot = np.eye(CLASSES)[VALUES["label"][:, :2]]
    both = hot.sum(axis=1) + probability.sum(axis=1)
    expected = np.mean(1 - (2 * (hot * probability).sum(axis=1) + 1) / (both + 1))
    assert (got, ignored) == (pytest.approx(expected, 1e-6), pytest.approx(expected, 1e-6))


def test_gradients_with_weights_are_finite_differences() -> None:
    fields = {"weights": "weights", "reduction": "mean_over_positions"}
    numbers = Numbers(
        {
            "slope 1": {"kind": "sparse_softmax_cross_entropy", "label_smoothing": 0.2, "ignore": 3, **fields},
            "slope 2": {"kind": "dice", "weights": "weights", "ignore": 1},
            "slope 3": {"kind": "focal", "class_weights": [1, 2, 3, 4], **fields},
        }
    )
    direction = DRAW.normal(size=VALUES["logits"].shape)
    got = numbers.session.run(numbers.slopes, numbers.feed(VALUES))
    step = 1e-2
    sides = [numbers.of(VALUES | {"logits": VALUES["logits"] + sign * step * direction}) for sign in (1, -1)]
    for name, slope in got.items():
        difference = (sides[0][f"loss/{name}"] - sides[1][f"loss/{name}"]) / (2 * step)
        assert (slope * direction).sum() == pytest.approx(difference, 2e-3), name
