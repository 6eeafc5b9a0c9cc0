"""Metrics of the confusion of classes: ratios of numbers that each class has of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from expkit import tf1 as tf
from expkit.kinds.metrics import Metric, Statistics, class_or_one_hot_problem, predicted_and_labeled
from expkit.kinds.reduction import joined_weights
from expkit.kinds.weighting import ClassWeighted, Ignoring
from expkit.registry import NonNegative, register
from expkit.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["F1", "MeanIoU", "Precision", "Recall"]


def _distinct(classes: tuple[int, ...]) -> tuple[int, ...]:
    if repeated := [number for number in classes if classes.count(number) > 1]:
        raise ValueError(f"class {repeated[0]} is listed twice; list every class once")
    return classes


class ConfusionMetric(Metric, Ignoring, ClassWeighted):
    """A ratio of the numbers of predictions and labels that name a class."""

    best_mode = "max"
    label_forms = ("numbers", "rows")
    statistic_shapes = {"correct": (None,), "predicted": (None,), "labeled": (None,), "count": ()}

    classes: Annotated[tuple[NonNegative, ...], Field(min_length=1), AfterValidator(_distinct)] | None = None
    """Classes that count, such as ``[1]`` for one alone; ``null`` for all. One logit has classes 0 and 1."""

    @abstractmethod
    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numerators and denominators of classes."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor one-hot, or which class the output lacks."""
        if problem := class_or_one_hot_problem(output, labels):
            return problem
        number = max(2, (output.shape or (1,))[-1] or 0)
        lacking = [index for index in self.classes or () if index >= number]
        return f"classes: {lacking[0]} is no class of {output}; allowed: 0 to {number - 1}" if lacking else None

    def statistics(self, output: Any, labels: Any, weights: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the numbers of correct predictions, predictions and labels of each class; of one logit, of class 1.

        With weights these are sums of weights.
        """
        predicted, labeled = (
            tf.reshape(tf.cast(each, tf.int32), (-1,)) for each in predicted_and_labeled(output, labels)
        )
        binary = output.shape.rank == 1 or output.shape[-1] == 1
        size = 2 if binary else output.shape[-1]
        if weights:
            batch = tf.shape(weights[0])[0]
            one = tf.reshape(joined_weights(weights, batch, tf.size(labeled) // batch), (-1,))
            correct, count = one * tf.cast(tf.equal(predicted, labeled), tf.float32), tf.reduce_sum(one)
        else:
            correct, one, count = tf.cast(tf.equal(predicted, labeled), tf.int32), tf.ones_like(labeled), None
        counted = {"correct": (correct, labeled), "predicted": (one, predicted), "labeled": (one, labeled)}
        # Whole numbers: a sum of ones in float32 ends at 2 ** 24.
        sums = {name: tf.math.unsorted_segment_sum(ones, of, size) for name, (ones, of) in counted.items()}
        own = {name: value[1:] if binary else value for name, value in sums.items()}
        return {**own, "count": tf.size(labeled) if count is None else count}

    def averaged(self, sums: Statistics, average: Literal["macro", "micro"], binary: tuple[int, ...]) -> float:
        """Return the mean of the ratios of all classes, or the ratio of their sums; 0 / 0 is 0.

        Args:
            sums: summed statistics.
            average: ``macro`` or ``micro``.
            binary: classes of one logit, if none are given.
        """
        import numpy as np

        correct, predicted, labeled = (np.atleast_1d(sums[name]) for name in ("correct", "predicted", "labeled"))
        count, classes = sums["count"], self.classes
        if len(correct) == 1:
            classes = classes or binary
            both = predicted + labeled
            correct = np.concatenate([count - both + correct, correct])
            predicted, labeled = (np.concatenate([count - each, each]) for each in (predicted, labeled))
        chosen = slice(None) if classes is None else list(classes)
        correct, predicted, labeled = correct[chosen], predicted[chosen], labeled[chosen]
        above, below = self.ratios(correct, predicted, labeled)
        if average == "micro":
            above, below = above.sum(keepdims=True), below.sum(keepdims=True)
            present = np.array([True])
        else:
            present = predicted + labeled > 0
        values = np.divide(above, below, out=np.zeros_like(above), where=below > 0)[present]
        return float(values.mean()) if len(values) else 0.0


class AveragedMetric(ConfusionMetric):
    """A ratio of each class, averaged as configured.

    Labels are those of ``accuracy``: class numbers or one-hot rows, at every position; with one logit 0/1 labels.
    """

    average: Literal["macro", "micro"] = "macro"
    """``macro``: the mean of all classes that a label or a prediction names; ``micro``: the ratio of their sums.

    Of one logit class 1 alone counts unless ``classes`` are given.
    """

    def result(self, sums: Statistics) -> float:
        """Return the average; 0 where nothing is predicted or labeled."""
        return self.averaged(sums, self.average, binary=(1,))


@register
class Precision(AveragedMetric):
    """Fraction of the predictions of a class that are correct, 0 if there are none.

    Labels are those of ``accuracy``; every position counts.
    """

    kind: Literal["precision"] = "precision"

    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return correct predictions and predictions."""
        return correct, predicted


@register
class Recall(AveragedMetric):
    """Fraction of the labels of a class that are predicted, 0 if there are none.

    Labels are those of ``accuracy``; every position counts.
    """

    kind: Literal["recall"] = "recall"

    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return correct predictions and labels."""
        return correct, labeled


@register
class F1(AveragedMetric):
    """Harmonic mean of the precision and the recall of a class.

    Labels are those of ``accuracy``; every position counts.
    """

    kind: Literal["f1"] = "f1"

    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return twice the correct predictions, and predictions + labels."""
        return 2 * correct, predicted + labeled


@register
class MeanIoU(ConfusionMetric):
    """Intersection over union of the predictions and the labels of a class, mean over classes; of one logit, of both.

    A class that no label and no prediction names is left out. Labels are those of ``accuracy``; every position counts.
    """

    kind: Literal["mean_iou"] = "mean_iou"

    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return correct predictions, and what is predicted or labeled."""
        return correct, predicted + labeled - correct

    def result(self, sums: Statistics) -> float:
        """Return the mean over classes."""
        return self.averaged(sums, "macro", binary=(0, 1))
