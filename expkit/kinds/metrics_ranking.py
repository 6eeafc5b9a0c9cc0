"""Metrics of the order in which a network ranks examples, of one class or of many."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from expkit import tf1 as tf
from expkit.kinds.losses import class_numbers_problem, label_values_problem
from expkit.kinds.metrics import ROWS, Statistics
from expkit.kinds.of_classes import AveragedOverClasses
from expkit.kinds.reduction import joined_weights
from expkit.kinds.weighting import LabelForm
from expkit.registry import register
from expkit.tensor_spec import Shape, TensorSpec, fits

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AUC", "AveragePrecision"]


SOFTMAX = "softmax"
"""Statistic above 0 if the scores are the softmax of the logits that rows hold."""


class RankingMetric(AveragedOverClasses):
    """A metric of the scores of all examples: of each class against the rest, then the average of classes.

    Labels are one 0/1 label of one logit; or class numbers of logits [batch, classes], whose softmax scores the
    classes; or 0/1 labels of the shape of independent logits [batch, classes], each of which scores itself. A class of
    which no example counts, or too few, has no value (``nan``), and averages leave it out; they are ``nan`` where no
    class has a value, which is never the best.
    """

    best_mode = "max"
    label_forms = ("numbers", "bits")
    statistic_shapes = {ROWS: (2, None), SOFTMAX: ()}

    @abstractmethod
    def of_scores(self, positive: np.ndarray, negative: np.ndarray) -> float:
        """Return the metric of one class, ``nan`` if it has none.

        Args:
            positive: sum of the weights of the class's examples at each score, scores ascending.
            negative: the same of the other examples.
        """

    def form(self, output: Shape, labels: Shape) -> LabelForm:
        """Return the form of labels; shapes are those of an example."""
        one = output[-1:] in ((), (1,))
        return "bits" if one or (len(labels) == len(output) and labels != (1,)) else "numbers"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor 0/1."""
        if len(output.shape) > 1:
            return f"{self.kind} needs an output of shape [batch] or [batch, classes], got {output}"
        got, bits = labels.shape[1:], self.form(output.shape, labels.shape[1:]) == "bits"
        several = bool(output.shape) and output.shape[-1] != 1
        if got not in ((), (1,)) and not (several and fits(output.shape, got)):
            each = f", or {output.shape[-1]}" if several else ""
            return f"{self.kind} needs one label per example{each}, got {list(got)}"
        if bits:
            return label_values_problem(labels, 1, whole=True)
        assert output.shape[-1] is not None, "checked with the network"
        return class_numbers_problem(output.shape[-1], labels)

    def statistics(self, output: Any, labels: Any, weights: Sequence[Any] = ()) -> dict[str, Any]:
        """Return for each example the logits of classes, and its weights, negated where it is not of the class."""
        form = self.form(tuple(output.shape[1:]), tuple(labels.shape[1:]))
        output = tf.reshape(output, (-1, 1)) if output.shape.rank == 1 else output
        classes = output.shape[-1]
        if form == "numbers":
            label = tf.one_hot(tf.reshape(tf.cast(labels, tf.int32), (-1,)), classes)
        else:
            label = tf.reshape(tf.cast(labels, tf.float32), (-1, classes))
        output, weight = tf.cast(output, tf.float32), 2 * label - 1
        if weights:
            own = joined_weights(weights, tf.shape(output)[0], classes if form == "bits" else 1)
            output, weight = tf.where_v2(own > 0, output, tf.zeros_like(output)), weight * own
        return {ROWS: tf.stack([output, weight], axis=1), SOFTMAX: tf.constant(float(form == "numbers"))}

    def values_of_classes(self, sums: Statistics) -> np.ndarray:
        """Return the value of each class, ``nan`` where it has none; of one logit, of class 0 and 1."""
        import numpy as np

        score, weight = _scores(sums)
        if score.shape[1] == 1:
            score, weight = np.concatenate([-score, score], axis=1), np.concatenate([-weight, weight], axis=1)
        return np.array([self._of_one(*pair) for pair in zip(score.T, weight.T, strict=True)])

    def result(self, sums: Statistics) -> float:
        """Return the average; ``nan`` if no class has a value, or a score is not a number."""
        import numpy as np

        score, weight = _scores(sums)
        one_logit = score.shape[1] == 1
        if np.isnan(score).any():
            return float("nan")
        if one_logit and self.classes is None:
            return self._of_one(score[:, 0], weight[:, 0])
        chosen = self.numbers(max(2, score.shape[1]))
        if self.average == "micro" and not one_logit:
            return self._of_one(score[:, chosen].ravel(), weight[:, chosen].ravel())
        values = self.values_of_classes(sums)[chosen]
        known = ~np.isnan(values)
        if not known.any():
            return float("nan")
        if self.average == "weighted" and not one_logit:
            return float(np.average(values[known], weights=np.maximum(weight[:, chosen], 0).sum(axis=0)[known]))
        return float(values[known].mean())

    def _of_one(self, score: np.ndarray, weight: np.ndarray) -> float:
        import numpy as np

        score, weight = score[weight != 0], weight[weight != 0]
        if np.isnan(score).any():
            return float("nan")
        _, ranks = np.unique(score, return_inverse=True)
        return self.of_scores(np.bincount(ranks, np.maximum(weight, 0)), np.bincount(ranks, np.maximum(-weight, 0)))


def _scores(sums: Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and the weights of classes, [examples, classes] each."""
    logits, weight = sums[ROWS][:, 0], sums[ROWS][:, 1]
    return (_log_odds(logits) if sums[SOFTMAX] else logits), weight


def _log_odds(logits: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of the softmax of float64 logits [examples, classes].

    It orders examples as p does, but p near 1 rounds to the same value. Terms are added in ascending order: rows of the
    same logits in another order tie exactly.
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
        terms, every = np.exp(shifted), np.arange(len(logits))
        top = shifted.argmax(axis=1) if len(logits) else every
        odds = shifted - np.log(np.sort(terms).sum(axis=1, keepdims=True) - terms)
        shifted[every, top] = -np.inf
        second = shifted.max(axis=1, keepdims=True, initial=-np.inf)
        of_others = np.log(np.sort(np.exp(shifted - second)).sum(axis=1)) + second[:, 0]
        odds[every, top] = np.where(second[:, 0] < 0, -of_others, odds[every, top])
    return np.asarray(odds)


@register
class AUC(RankingMetric):
    """Area under the ROC curve: exact, from the scores of all examples; a tie counts one half.

    A class needs an example of its own and one of another class.
    """

    kind: Literal["auc"] = "auc"

    def of_scores(self, positive: np.ndarray, negative: np.ndarray) -> float:
        """Return the area by the trapezoidal rule."""
        import numpy as np

        pairs = positive.sum() * negative.sum()
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


@register
class AveragePrecision(RankingMetric):
    """Average precision: the mean of the precisions at each score, by the rise of recall there, as scikit-learn's.

    Its ``macro`` average is the mean average precision (mAP). A class needs an example of its own.
    """

    kind: Literal["average_precision"] = "average_precision"

    def of_scores(self, positive: np.ndarray, negative: np.ndarray) -> float:
        """Return the sum of precision times the rise of recall, from the highest score down."""
        import numpy as np

        total = positive.sum()
        if not total:
            return float("nan")
        correct, predicted = np.cumsum(positive[::-1]), np.cumsum((positive + negative)[::-1])
        return float((correct / predicted * positive[::-1]).sum() / total)
