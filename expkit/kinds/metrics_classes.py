"""Metrics of the confusion of classes: ratios of numbers that each class has of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.kinds.metrics import Statistics, class_or_one_hot_problem, predicted_and_labeled
from expkit.kinds.of_classes import AveragedOverClasses, OfClasses
from expkit.kinds.reduction import joined_weights
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["F1", "ConfusionMetric", "MeanIoU", "Precision", "Recall", "labels_of_classes"]


class ConfusionMetric(OfClasses):
    """A ratio of the numbers of predictions and labels that name a class."""

    best_mode = "max"
    label_forms = ("numbers", "rows")
    statistic_shapes = {"correct": (None,), "predicted": (None,), "labeled": (None,), "count": ()}
    of_one_logit: ClassVar[tuple[int, ...]] = (1,)
    """Classes of one logit that count unless ``classes`` are given."""

    @abstractmethod
    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numerators and denominators of classes."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor one-hot."""
        return class_or_one_hot_problem(output, labels)

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

    def values_of_classes(self, sums: Statistics) -> np.ndarray:
        """Return the ratio of each class; 0 / 0 is 0."""
        return _divided(*self.ratios(*_of_all_classes(sums)))

    def averaged(self, sums: Statistics, average: Literal["macro", "micro", "weighted"]) -> float:
        """Return the average of the ratios of the classes that count, 0 if there are none; 0 / 0 is 0.

        Args:
            sums: summed statistics.
            average: ``macro``, ``micro`` or ``weighted``.
        """
        import numpy as np

        every = _of_all_classes(sums)
        one_logit = np.size(sums["correct"]) == 1
        chosen = list(self.of_one_logit) if one_logit and self.classes is None else self.numbers(len(every[0]))
        correct, predicted, labeled = (each[chosen] for each in every)
        above, below = self.ratios(correct, predicted, labeled)
        if average == "micro":
            return float(_divided(above.sum(), below.sum()))
        values = _divided(above, below)
        if average == "weighted":
            return float(_divided((values * labeled).sum(), labeled.sum()))
        present = predicted + labeled > 0
        return float(values[present].mean()) if present.any() else 0.0


def _of_all_classes(sums: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of correct predictions, predictions and labels of each class; of one logit, of both."""
    import numpy as np

    correct, predicted, labeled = (np.atleast_1d(sums[name]) for name in ("correct", "predicted", "labeled"))
    if len(correct) > 1:
        return correct, predicted, labeled
    count = sums["count"]
    of_zero = count - predicted - labeled + correct, count - predicted, count - labeled
    pairs = zip(of_zero, (correct, predicted, labeled), strict=True)
    correct, predicted, labeled = (np.concatenate(pair) for pair in pairs)
    return correct, predicted, labeled


def labels_of_classes(sums: Statistics) -> np.ndarray:
    """Return the number of labels of each class from summed statistics; of one logit of both."""
    return _of_all_classes(sums)[2]


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.asarray(np.divide(above, below, out=np.zeros_like(above, np.float64), where=below > 0))


class AveragedMetric(ConfusionMetric, AveragedOverClasses):
    """A ratio of each class, averaged as configured; of one logit class 1 alone counts unless ``classes`` are given.

    ``macro`` leaves out a class that no label and no prediction names, as scikit-learn does where no labels are given.
    """

    def result(self, sums: Statistics) -> float:
        """Return the average; 0 where nothing is predicted or labeled."""
        return self.averaged(sums, self.average)


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
    of_one_logit = (0, 1)

    def ratios(self, correct: np.ndarray, predicted: np.ndarray, labeled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return correct predictions, and what is predicted or labeled."""
        return correct, predicted + labeled - correct

    def result(self, sums: Statistics) -> float:
        """Return the mean over classes."""
        return self.averaged(sums, "macro")
