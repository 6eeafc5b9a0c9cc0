"""Every loss in float64 against its reference, its gradients by finite differences; every kind under weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.config.sections.train import TrainConfig
from expkit.kinds.evaluated import Readable
from expkit.kinds.layers.base import Call
from expkit.network.build import TrainingCall, connect, create_variables, placeholders
from expkit.registry import kinds
from expkit.training.step import loss_and_statistics
from expkit.training.sums import add_statistics, results
from kinds.test_losses import CASES as OF_LABELS
from kinds.test_losses import loss_of
from kinds.test_metrics import CASES as METRIC_CASES
from kinds.test_metrics import metric_of, summed
from kinds.test_reading_losses import PAIRS, alignments
from support.networks import spec_of

pytestmark = pytest.mark.untraced

Arrays = dict[str, np.ndarray]
Row = tuple[str, dict[str, Any], Arrays, Callable[[Arrays], np.ndarray]]
"""Kind, fields, what the loss reads, and the values that a reference computes of that."""

DRAW = np.random.default_rng(3)
ANCHORS = np.asarray(PAIRS[0][3].__globals__["A"])
FEATURES, KERNEL, BIAS = DRAW.normal(size=(6, 5)), DRAW.normal(size=(5, 30)), DRAW.normal(size=30)
LABELS = np.array([0, 3, 29, 7, 3, 1])
FRAMES = DRAW.normal(size=(4, 5, 3))
SYMBOLS = np.array([[1, 2], [2, 2], [1, 0], [0, 0]])
FRAME_COUNTS, SYMBOL_COUNTS = np.array([5, 4, 3, 2]), np.array([2, 2, 1, 0])
STEP = 5
RANK = np.arange(30)
RATES = {"log_uniform": np.log((RANK + 2) / (RANK + 1)) / np.log(31), "uniform": np.full(30, 1 / 30)}


def drawn_classes(candidates: str) -> np.ndarray:
    """Return the classes that a loss draws, a function of seed and step."""
    loss: Any = loss_of("nce", output="x", kernel="k", samples=7, candidates=candidates)
    with tf.Graph().as_default(), tf.Session() as session:
        return np.asarray(session.run(loss._drawn(30, drawing())[0]))


def drawing() -> Call:
    return Call(training=True, key=77, step=tf.constant(STEP, tf.int64))


def sampled(kind: str, candidates: str, transpose: bool) -> Callable[[Arrays], np.ndarray]:
    def reference(read: Arrays) -> np.ndarray:
        drawn, rate = drawn_classes(candidates), np.log(7 * RATES[candidates])
        kernel = read["kernel"].T if transpose else read["kernel"]
        logits = read["output"] @ kernel + read["bias"] - rate
        own, others = logits[np.arange(6), LABELS], logits[:, drawn]
        if kind == "nce":
            return np.asarray(np.logaddexp(0, -own) + np.logaddexp(0, others).sum(axis=1))
        others = np.where(drawn == LABELS[:, None], -np.inf, others)
        return np.asarray(logsumexp(np.concatenate([own[:, None], others], axis=1), axis=1) - own)

    return reference


def of_alignments(read: Arrays) -> np.ndarray:
    every = zip(read["output"], SYMBOLS, FRAME_COUNTS, SYMBOL_COUNTS, strict=True)
    return np.array([-alignments(log_softmax(x[:n], axis=-1), list(y[:m]), 0) for x, y, n, m in every])


ROWS: list[Row] = [
    *(
        (kind, fields, {"output": output, "labels": labels}, lambda read, by=by: by(read["output"], read["labels"]))
        for kind, fields, output, labels, by in OF_LABELS
    ),
    *((kind, fields, {"output": ANCHORS, **read}, lambda read, by=by: by()) for kind, fields, read, by in PAIRS),
    *(
        (
            kind,
            {"output": "x", "kernel": "k", "bias": "b", "samples": 7, "candidates": candidates, "transpose": transpose},
            {"output": FEATURES, "labels": LABELS, "kernel": KERNEL.T if transpose else KERNEL, "bias": BIAS},
            sampled(kind, candidates, transpose),
        )
        for kind in ("sampled_softmax", "nce")
        for candidates, transpose in (("log_uniform", False), ("uniform", True))
    ),
    (
        "ctc",
        {"lengths": "n", "label_lengths": "m"},
        {"output": FRAMES, "labels": SYMBOLS, "lengths": FRAME_COUNTS, "label_lengths": SYMBOL_COUNTS},
        of_alignments,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_loss_in_64_bits_is_its_reference_and_its_gradients_are_finite_differences(row: Row) -> None:
    kind, fields, given_arrays, reference = row
    loss = loss_of(kind, **fields)
    floats = (*loss.reads_outputs, *loss.reads_variables)
    read = {name: np.asarray(array, np.float64) if name in floats else array for name, array in given_arrays.items()}
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = {name: tf.placeholder(array.dtype, (None, *array.shape[1:])) for name, array in read.items()}
        for name in loss.reads_variables:
            tensors[name].set_shape(read[name].shape)
        named = {name: tensors.get(name) for name in ("lengths", "label_lengths") if name in loss.reads_fields}
        used = {name: tensors[name] for name in (*floats, *loss.reads_fields) if name in tensors} | named
        values = loss.values(**used, **({"call": drawing()} if loss.draws else {}))
        shown = session.run(values, {tensors[name]: array for name, array in read.items()})
        # TensorFlow's CTC computes in float32 alone, whose differences have four digits.
        exact, step, allowed = (shown.dtype == np.float64, 1e-5, 1e-6) if kind != "ctc" else (True, 1e-2, 3e-4)
        assert exact
        by_example = shown.reshape(len(shown), -1).mean(axis=1)
        np.testing.assert_allclose(by_example, reference(read), rtol=1e-6, atol=1e-6)
        weights = DRAW.normal(size=shown.shape)
        total = tf.reduce_sum(values * weights)
        by = tf.gradients(total, [tensors[name] for name in floats])
        run = session.make_callable([total, [tf.convert_to_tensor(slope) for slope in by]], [*tensors.values()])
        _, slopes = run(*read.values())
        for name, slope in zip(floats, slopes, strict=True):
            direction = DRAW.normal(size=read[name].shape)
            ends = [
                run(*(array + sign * step * direction if key == name else array for key, array in read.items()))[0]
                for sign in (1, -1)
            ]
            difference = (ends[0] - ends[1]) / (2 * step)
            assert (slope * direction).sum() == pytest.approx(difference, rel=allowed, abs=allowed), name


@pytest.mark.parametrize("case", METRIC_CASES, ids=lambda case: case[0])
def test_a_metric_in_64_bits_is_its_reference(case: Any) -> None:
    kind, fields, output, labels, reference = case
    metric = metric_of(kind, fields)
    wide = output.astype(np.float64)
    assert metric.result(summed(metric, wide, labels, 77)) == pytest.approx(reference(wide, labels), rel=1e-6, abs=1e-6)


EXAMPLES = 8
VALUES: Arrays = {
    **{name: DRAW.normal(size=(EXAMPLES, 5)).astype(np.float32) for name in ("rows", "near", "far")},
    "one": DRAW.normal(size=(EXAMPLES, 1)).astype(np.float32),
    "frames": DRAW.normal(size=(EXAMPLES, 6, 3)).astype(np.float32),
    "label": DRAW.integers(0, 5, EXAMPLES),
    "soft": DRAW.dirichlet(np.ones(5), EXAMPLES).astype(np.float32),
    "hot": np.eye(5, dtype=np.float32)[DRAW.integers(0, 5, EXAMPLES)],
    "bit": np.array([0, 1] * 4),
    "symbols": DRAW.integers(1, 3, (EXAMPLES, 2)),
    "many": DRAW.integers(4, 7, EXAMPLES),
    "few": DRAW.integers(1, 3, EXAMPLES),
    "weights": np.ones(EXAMPLES, np.float32),
}
OUTPUTS = ("rows", "near", "far", "one", "frames")
SEQUENCE = {"output": "frames", "labels": "symbols", "lengths": "many", "label_lengths": "few"}
LAST = {"output": "rows", "kernel": "kernel", "samples": 4}
LOSSES: dict[str, dict[str, Any]] = {
    **{key: {"output": "rows"} for key in ("sparse_softmax_cross_entropy", "focal", "dice")},
    **{key: {"labels": "soft"} for key in ("softmax_cross_entropy", "kl_divergence", "mean_squared_error")},
    **{key: {"labels": "soft"} for key in ("absolute_error", "huber", "poisson", "cosine")},
    **{key: {"labels": "hot"} for key in ("sigmoid_cross_entropy", "hinge")},
    "value": {"output": "one"},
    "triplet": {"positive": "near", "negative": "far"},
    "contrastive": {"other": "near", "labels": "bit", "margin": 4.0},
    "info_nce": {"other": "near", "weight": 0},  # in no sum: its values depend on the batch, see below
    "ctc": SEQUENCE,
    "sampled_softmax": LAST,
    "nce": LAST,
}
METRICS: dict[str, dict[str, Any]] = {
    **{key: {"output": "rows"} for key in ("accuracy", "perplexity", "precision", "recall", "f1", "mean_iou")},
    "top_k": {"k": 2},
    **{
        key: {"labels": "soft"}
        for key in ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2")
    },
    **{key: {"output": "one", "labels": "bit"} for key in ("auc", "average_precision")},
    "mean": {"output": "one"},
    "edit_distance": {**SEQUENCE, "blank": 0},
}


def test_every_kind_has_a_reference_a_gradient_and_laws_of_weights() -> None:
    """A new kind is a row of ``ROWS`` or of the table of test_metrics.py, and one of LOSSES or METRICS here."""
    assert {row[0] for row in ROWS} == set(LOSSES) == set(kinds("loss"))
    of_metrics = {case[0] for case in METRIC_CASES} | {"edit_distance"}  # test_reading_losses.py has its reference
    assert of_metrics == set(METRICS) == set(kinds("metric"))


class Weighed:
    """All losses and metrics of one batch in training, and the gradient of the sum of the losses, built once."""

    def __init__(self) -> None:
        given_losses = {
            kind: {"kind": kind, "output": "rows", "weights": "weights", **own} for kind, own in LOSSES.items()
        }
        given_metrics = {
            kind: {"kind": kind, "output": "rows", "weights": "weights", **own} for kind, own in METRICS.items()
        }
        section = {"steps": 1, "batch_size": 4, "losses": given_losses, "metrics": given_metrics}
        self.config = cast(Config, SimpleNamespace(train=TrainConfig.model_validate(section)))
        with tf.Graph().as_default() as graph:
            self.fed = {name: tf.placeholder(array.dtype, (None, *array.shape[1:])) for name, array in VALUES.items()}
            variables = {"kernel": tf.constant(KERNEL[:, :5].astype(np.float32))}
            readable = Readable(
                outputs={name: self.fed[name] for name in OUTPUTS}, fields=self.fed, variables=variables
            )
            step = tf.constant(STEP, tf.int64)
            objective = loss_and_statistics(self.config, readable, 0.0, step, TrainingCall(3, step))
            slopes = tf.gradients(objective.total, [self.fed[name] for name in OUTPUTS])
        self.fetched = [dict(objective.statistics), dict(zip(OUTPUTS, slopes, strict=True))]
        self.session = tf.Session(graph=graph)

    def of(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, float], Arrays]:
        """Return losses and metrics by name, and the gradients by the outputs."""
        statistics, slopes = self.session.run(self.fetched, {self.fed[name]: array for name, array in arrays.items()})
        total: dict[str, dict[str, np.ndarray]] = {}
        add_statistics(total, statistics)
        return results(self.config, total), slopes


@pytest.fixture(scope="module")
def weighed() -> Weighed:
    return Weighed()


@settings(max_examples=15, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=EXAMPLES, max_size=EXAMPLES).filter(any))
def test_weight_2_is_the_example_twice_and_weight_0_its_absence(weighed: Weighed, counts: list[int]) -> None:
    got, slopes = weighed.of(VALUES | {"weights": np.array(counts, np.float32)})
    repeated = {name: np.repeat(array, counts, axis=0) for name, array in VALUES.items()}
    expected, parts = weighed.of(repeated)
    assert got.keys() == expected.keys() == {"loss", *(f"loss/{kind}" for kind in LOSSES), *METRICS}
    del got["loss/info_nce"], expected["loss/info_nce"]
    # Sums of up to 24 float32 values in another order; 1e-6 of a loss is about what their rounding leaves.
    assert got == pytest.approx(expected, rel=2e-6, abs=1e-6, nan_ok=True)
    owner = np.repeat(np.arange(EXAMPLES), counts)
    for name, slope in slopes.items():
        joined = np.zeros_like(slope, np.float64)
        np.add.at(joined, owner, parts[name])
        np.testing.assert_allclose(slope, joined, rtol=1e-4, atol=2e-6, err_msg=name)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=EXAMPLES, max_size=EXAMPLES).filter(any))
def test_weights_of_info_nce_count_an_examples_own_term_and_0_is_its_absence(
    weighed: Weighed, counts: list[int]
) -> None:
    kept = np.flatnonzero(counts)
    rows, near = (VALUES[name][kept].astype(float) for name in ("rows", "near"))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, near))
    similar = a @ b.T / 0.1
    own = logsumexp(similar, axis=1) - np.diag(similar)
    got, _ = weighed.of(VALUES | {"weights": np.array(counts, np.float32)})
    assert got["loss/info_nce"] == pytest.approx(np.average(own, weights=np.array(counts)[kept]), rel=2e-6, abs=1e-6)


LAYERS = """
inputs:
  logits: {shape: [3, 4]}
  label: {shape: [3], dtype: int32}
  mask: {shape: [3]}
layers:
  logs: {kind: activation, input: logits, function: log_softmax}
  hot: {kind: one_hot, input: label, depth: 4}
  of_label: {kind: multiply, input: [logs, hot]}
  likelihood: {kind: reduce, function: sum, axis: -1}
  entropy: {kind: math, function: negative}
  masked: {kind: multiply, input: [entropy, mask]}
  masked_sum: {kind: reduce, function: sum, axis: 1}
  masks: {kind: reduce, input: mask, function: sum, axis: 1}
  of_mask: {kind: divide, input: [masked_sum, masks]}
  by_class: {kind: constant, value: [0.5, 1, 3, 2], batch_of: logits}
  class_row: {kind: reshape, shape: [1, 4]}
  classed: {kind: multiply, input: [hot, class_row]}
  weight: {kind: reduce, function: sum, axis: -1}
  weighed: {kind: multiply, input: [entropy, weight]}
  weighed_sum: {kind: reduce, function: sum, axis: 1}
  weight_sum: {kind: reduce, input: weight, function: sum, axis: 1}
  of_classes: {kind: divide, input: [weighed_sum, weight_sum]}
  most: {kind: constant, value: 0.9, batch_of: logits}
  most_row: {kind: reshape, shape: [1, 1]}
  kept: {kind: multiply, input: [hot, most_row]}
  rest: {kind: constant, value: 0.025, batch_of: logits}
  rest_row: {kind: reshape, shape: [1, 1]}
  smooth: {kind: add, input: [kept, rest_row]}
  terms: {kind: multiply, input: [logs, smooth]}
  sums: {kind: reduce, function: sum, axis: -1}
  costs: {kind: math, function: negative}
  of_smoothed: {kind: reduce, function: mean, axis: 1}
outputs: {of_mask: of_mask, of_classes: of_classes, of_smoothed: of_smoothed}
"""


def test_masks_class_weights_and_smoothing_are_the_same_written_by_layers() -> None:
    item = {"kind": "sparse_softmax_cross_entropy", "reduction": "mean_over_positions"}
    pairs: dict[str, dict[str, Any]] = {
        "mask": {"weights": "mask"},
        "classes": {"class_weights": [0.5, 1, 3, 2]},
        "smoothed": {"label_smoothing": 0.1},
    }
    losses = {
        **{name: {**item, **fields} for name, fields in pairs.items()},
        **{f"layers {name}": {"kind": "value", "output": f"of_{name}"} for name in pairs},
    }
    config = cast(
        Config,
        SimpleNamespace(
            train=TrainConfig.model_validate({"steps": 1, "batch_size": 4, "losses": losses, "metrics": {}})
        ),
    )
    spec = spec_of(LAYERS)
    mask = (DRAW.random((9, 3)) < 0.5).astype(np.float32)
    mask[:, 0] = 1
    fed = {
        "logits": (3 * DRAW.normal(size=(9, 3, 4))).astype(np.float32),
        "label": DRAW.integers(0, 4, (9, 3)).astype(np.int32),
        "mask": mask,
    }
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = placeholders(spec)
        outputs = connect(spec, create_variables(spec, 1), inputs).outputs
        readable = Readable(outputs={**outputs, "logits": inputs["logits"]}, fields=inputs, variables={})
        means = loss_and_statistics(config, readable, 0.0, tf.constant(0, tf.int64)).means
        slopes = {name: tf.gradients(mean, inputs["logits"])[0] for name, mean in means.items()}
        numbers, gradients = session.run([means, slopes], {inputs[name]: array for name, array in fed.items()})
    for name in pairs:
        # TensorFlow's kernel of the cross-entropy rounds otherwise than a sum of products: by one unit of float32.
        assert numbers[name] == pytest.approx(numbers[f"layers {name}"], rel=2.5e-7), name
        np.testing.assert_allclose(gradients[name], gradients[f"layers {name}"], rtol=1e-5, atol=1e-8, err_msg=name)
