"""Metrics, each computed from statistics that add up over batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.losses import class_labels_problem, class_numbers_problem, label_values_problem, same_shape_problem
from expkit.registry import Kind, register
from expkit.tensor_spec import TensorSpec, fits, sizes_text

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Metric", "usual_mode"]

Statistics = Mapping[str, Any]


def usual_mode(kind: str | None) -> Literal["max", "min"]:
    """Return whether the best value of a kind of metric is its maximum or minimum; ``None`` stands for a loss."""
    return "min" if kind is None or kind.endswith("_error") else "max"


class Metric(Kind):
    """A number reported beside the loss."""

    family: ClassVar[str] = "metric"

    statistic_shapes: ClassVar[Mapping[str, tuple[int, ...]]] = {"sum": (), "count": ()}
    """Shapes of the statistics, by name."""

    output: str = "logits"
    """Output of the network to evaluate."""
    labels: str = "label"
    """Field of the data that holds the targets."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why these labels do not fit this output, or ``None`` if they do."""
        return None

    @abstractmethod
    def statistics(self, output: Any, labels: Any) -> dict[str, Any]:
        """Return float32 tensors whose sums over batches determine the metric."""

    @abstractmethod
    def result(self, sums: Statistics) -> float:
        """Return the metric from summed statistics."""


class MeanMetric(Metric):
    """A metric that is the mean of values."""

    @abstractmethod
    def values(self, output: Any, labels: Any) -> Any:
        """Return the values to average, in float32."""

    def statistics(self, output: Any, labels: Any) -> dict[str, Any]:
        """Return the sum of the values and their number."""
        values = self.values(output, labels)
        return {"sum": tf.reduce_sum(values), "count": tf.cast(tf.size(values), tf.float32)}

    def result(self, sums: Statistics) -> float:
        """Return sum / count."""
        return float(sums["sum"] / sums["count"])


@register
class Accuracy(MeanMetric):
    """Fraction of examples whose largest logit is the label; with one logit, whose sign agrees with the 0/1 label.

    Labels are class numbers [batch] or one-hot rows [batch, classes]. An example may have several positions, such as
    the words of a text: logits [batch, ..., classes], labels [batch, ...]; every position counts.
    """

    kind: Literal["accuracy"] = "accuracy"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor rows of the output's shape."""
        got, shape = labels.shape[1:], output.shape or (1,)
        if fits(shape, got) or fits(shape[:-1], got):
            if shape[-1] == 1:
                return label_values_problem(labels, 0, 1, whole=False)
            return None if fits(shape, got) or shape[-1] is None else class_numbers_problem(shape[-1], labels)
        return (
            f"needs labels of shape {sizes_text(shape[:-1])} (class numbers) or {sizes_text(shape)} (one-hot) per "
            f"example, got {list(got)}"
        )

    def values(self, output: Any, labels: Any) -> Any:
        """Return 1 for correct examples, 0 for others."""
        if output.shape.rank == 1 or output.shape[-1] == 1:
            correct = tf.equal(tf.reshape(output, (-1,)) > 0, tf.reshape(tf.cast(labels, tf.float32), (-1,)) > 0.5)
        else:
            target = tf.argmax(labels, -1) if labels.shape.rank == output.shape.rank else tf.cast(labels, tf.int64)
            correct = tf.equal(tf.argmax(output, -1), target)
        return tf.cast(correct, tf.float32)


@register
class TopK(MeanMetric):
    """Fraction of examples whose label is among the ``k`` largest logits."""

    kind: Literal["top_k"] = "top_k"
    k: int = Field(default=5, gt=0)
    """Number of largest logits to look among."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are no class numbers."""
        return class_labels_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return 1 for correct examples, 0 for others."""
        output, labels = tf.reshape(output, (-1, output.shape[-1])), tf.reshape(labels, (-1,))
        among = tf.math.in_top_k(predictions=output, targets=tf.cast(labels, tf.int32), k=self.k)
        return tf.cast(among, tf.float32)


@register
class AUC(Metric):
    """Area under the ROC curve of 0/1 labels, from a histogram of 2,000 probabilities (error below 0.001)."""

    kind: Literal["auc"] = "auc"
    buckets: ClassVar[int] = 2000
    statistic_shapes = {"positive": (2000,), "negative": (2000,)}

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not two classes."""
        if output.shape not in ((), (1,), (2,)):
            return f"auc needs one logit or two per example, got {output}"
        if labels.shape[1:] not in ((), (1,)):
            return f"auc needs one label per example, got {list(labels.shape[1:])}"
        return label_values_problem(labels, 0, 1, whole=True)

    def statistics(self, output: Any, labels: Any) -> dict[str, Any]:
        """Return histograms of the positive and the negative examples' probabilities."""
        output = tf.reshape(output, (-1, 1)) if output.shape.rank == 1 else output
        positive = output[:, 0] if output.shape[-1] == 1 else output[:, 1] - output[:, 0]
        bucket = tf.cast(tf.sigmoid(positive) * self.buckets, tf.int32)
        buckets = tf.one_hot(tf.minimum(bucket, self.buckets - 1), self.buckets)
        target = tf.reshape(tf.cast(labels, tf.float32), (-1, 1))
        return {"positive": tf.reduce_sum(buckets * target, 0), "negative": tf.reduce_sum(buckets * (1 - target), 0)}

    def result(self, sums: Statistics) -> float:
        """Return the area by the trapezoidal rule; ``nan`` if a class is absent."""
        import numpy as np

        positive = np.asarray(sums["positive"], np.float64)
        negative = np.asarray(sums["negative"], np.float64)
        pairs = positive.sum() * negative.sum()
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


@register
class MeanAbsoluteError(MeanMetric):
    """Absolute difference from labels of the same shape, mean over all values."""

    kind: Literal["mean_absolute_error"] = "mean_absolute_error"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the absolute differences."""
        return tf.abs(output - tf.reshape(tf.cast(labels, output.dtype), tf.shape(output)))
