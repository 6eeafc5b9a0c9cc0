"""Metrics, each computed from statistics that add up over batches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.class_weights import ClassWeighted
from expkit.kinds.evaluated import Evaluated, Labeled
from expkit.kinds.losses import (
    class_labels_problem,
    class_numbers_problem,
    label_values_problem,
    labels_like,
    same_shape_problem,
)
from expkit.kinds.reduction import weighted_sums
from expkit.kinds.weighting import Ignoring, Weighted
from expkit.metric_names import EMA, LOSS
from expkit.registry import kinds, register
from expkit.tensor_spec import Shape, TensorSpec, fits, sizes_text

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ROWS",
    "BaseMeanMetric",
    "BaseMetric",
    "MeanMetric",
    "Metric",
    "Mode",
    "Statistics",
    "class_or_one_hot_problem",
    "mode_of_metric",
    "predicted_and_labeled",
]

Statistics = Mapping[str, Any]

ROWS = "rows"
"""Statistic with one row per example: the rows of batches are joined, where other statistics are added."""


Mode = Literal["max", "min"]
"""``max`` where larger values are better, ``min`` where smaller ones are."""


def mode_of_metric(recorded: str, kind_of: Callable[[str], str | None]) -> Mode | None:
    """Return the mode of a loss or metric; ``None`` if its kind declares none.

    Args:
        recorded: its name in a run's records, ``SPLIT/NAME`` or, of the EMA network, ``SPLIT/NAME/ema``.
        kind_of: returns the kind of the metric with a name.
    """
    name = recorded.partition("/")[2].removesuffix(f"/{EMA}")
    if name.partition("/")[0] == LOSS:
        return "min"
    kind = kind_of(name) or kind_of(name.rpartition("/")[0])  # of a class: f1/setosa
    cls = kinds("metric").get(kind or "")
    return cls.best_mode if cls is not None and issubclass(cls, BaseMetric) else None


class BaseMetric(Evaluated):
    """A number reported beside the loss."""

    family: ClassVar[str] = "metric"

    best_mode: ClassVar[Mode | None] = None
    """Whether its best value is the largest or the smallest; if ``None``, a configuration must say it."""
    statistic_shapes: ClassVar[Mapping[str, Shape]] = {"sum": (), "count": ()}
    """Shapes of the statistics, by name; of ``rows`` that of one example's row, which is never all zeros.

    ``None`` is the size of the output's last dimension, 1 if an example has a single value.
    """

    @abstractmethod
    def statistics(self, *_: Any, **read: Any) -> dict[str, Any]:
        """Return tensors whose sums over batches determine the metric, and ``rows`` where sums do not.

        They are float32 or whole numbers, whose sums in float64 are exact; rows are float32.

        Args:
            read: tensors by the field that names them, outputs in at least float32. A kind that is ``Weighted`` gets
                ``weights`` too: tensors whose product they are, none where all are 1.
        """

    @abstractmethod
    def result(self, sums: Statistics) -> float:
        """Return the metric from summed statistics, and from all rows in any order."""

    def parts(self, sums: Statistics) -> dict[str, float]:
        """Return the values recorded beside the result, under ``METRIC/PART``, by part; their mode is the metric's."""
        return {}


class Metric(BaseMetric, Labeled):
    """A metric that compares an output with labels.

    A kind declares ``problem(self, output: TensorSpec, labels: np.ndarray)`` and ``statistics(self, output, labels)``,
    and what it reads besides.
    """


class BaseMeanMetric(BaseMetric, Weighted):
    """A metric that is the mean of values."""

    reduction: Literal["mean", "mean_over_positions"] = "mean"
    """``mean`` of all values; ``mean_over_positions`` of each example, then the mean of examples.

    They differ where weights leave out positions.
    """

    @abstractmethod
    def values(self, *_: Any, **read: Any) -> Any:
        """Return the values to average, in float32; ``read`` is that of ``statistics``."""

    def statistics(self, weights: Sequence[Any] = (), **read: Any) -> dict[str, Any]:
        """Return the sum of the values and their number, or that of their weights."""
        values = self.values(**read)
        if not weights:
            return {"sum": tf.reduce_sum(values), "count": tf.cast(tf.size(values), tf.float32)}
        rows = tf.reshape(values, (tf.shape(weights[0])[0], -1))
        total, count = weighted_sums(rows, weights, self.reduction, 1)
        return {"sum": total, "count": count}

    def result(self, sums: Statistics) -> float:
        """Return sum / count; ``nan`` if nothing counts."""
        return float(sums["sum"] / sums["count"]) if sums["count"] else math.nan


class MeanMetric(BaseMeanMetric, Metric):
    """A metric that is the mean of values, each from an output and labels."""


def class_or_one_hot_problem(output: TensorSpec, labels: np.ndarray) -> str | None:
    """Return why labels are neither class numbers of the output's positions nor of its shape, or ``None``."""
    got, shape = labels.shape[1:], output.shape or (1,)
    if fits(shape, got) or fits(shape[:-1], got):
        if shape[-1] == 1:
            return label_values_problem(labels, 1, whole=False)
        if fits(shape, got):
            return _several_classes_problem(labels)
        return None if shape[-1] is None else class_numbers_problem(shape[-1], labels)
    return (
        f"needs labels of shape {sizes_text(shape[:-1])} (class numbers) or {sizes_text(shape)} (one-hot) per "
        f"example, got {list(got)}"
    )


def _several_classes_problem(rows: np.ndarray) -> str | None:
    """Return how many examples have a row with several classes, such as [0, 1, 1]; probabilities may be equal."""
    import numpy as np

    largest = rows.max(axis=-1, keepdims=True)
    several = ((rows == largest).sum(axis=-1) > 1) & (rows.sum(axis=-1, dtype=np.float64) > 1.01)
    examples = several.reshape(len(rows), -1).any(axis=1)
    if not examples.any():
        return None
    return (
        f"{examples.sum():,} of {len(rows):,} examples are labeled with several classes, the first is example "
        f"{int(examples.argmax())}; it compares one class: give each label an output of one logit, or use auc or "
        "average_precision"
    )


def predicted_and_labeled(output: Any, labels: Any) -> tuple[Any, Any]:
    """Return the class numbers of predictions and of labels, of the same shape; of one logit whether it is positive."""
    if output.shape.rank == 1 or output.shape[-1] == 1:
        return tf.reshape(output, (-1,)) > 0, tf.reshape(tf.cast(labels, tf.float32), (-1,)) > 0.5
    target = tf.argmax(labels, -1) if labels.shape.rank == output.shape.rank else tf.cast(labels, tf.int64)
    return tf.argmax(output, -1), target


@register
class Accuracy(MeanMetric, Ignoring, ClassWeighted):
    """Fraction of examples whose largest logit is the label; with one logit, whose sign agrees with the 0/1 label.

    Labels are class numbers [batch] or one-hot rows [batch, classes]. An example may have several positions, such as
    the words of a text: logits [batch, ..., classes], labels [batch, ...]; every position counts.
    """

    kind: Literal["accuracy"] = "accuracy"
    label_forms = ("numbers", "rows")
    best_mode = "max"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor rows of the output's shape."""
        return class_or_one_hot_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return 1 for correct examples, 0 for others."""
        return tf.cast(tf.equal(*predicted_and_labeled(output, labels)), tf.float32)


@register
class TopK(MeanMetric, Ignoring, ClassWeighted):
    """Fraction of examples whose label is among the ``k`` largest logits; of equal ones the first classes are taken.

    So ``tf.math.top_k`` and ``accuracy`` break ties, too: where all logits are equal, chance alone decides.
    """

    kind: Literal["top_k"] = "top_k"
    best_mode = "max"
    k: int = Field(default=5, gt=0)
    """Number of largest logits to look among."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not class numbers."""
        return class_labels_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return 1 for correct examples, 0 for others."""
        output = tf.reshape(output, (-1, output.shape[-1]))
        label = tf.reshape(tf.cast(labels, tf.int32), (-1, 1))
        own = tf.gather(output, label, batch_dims=1)
        # Not "larger or equal": a comparison with a value that is not a number is false.
        behind = (output < own) | (tf.equal(output, own) & (tf.range(output.shape[-1]) >= label))
        ahead = tf.reduce_sum(tf.cast(~behind, tf.int32), axis=-1)
        return tf.cast(ahead < self.k, tf.float32)


@register
class MeanAbsoluteError(MeanMetric):
    """Absolute difference from labels of the same shape, mean over all values."""

    kind: Literal["mean_absolute_error"] = "mean_absolute_error"
    counts = "values"
    best_mode = "min"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the absolute differences."""
        return tf.abs(output - labels_like(labels, output))


@register
class Perplexity(MeanMetric, Ignoring, ClassWeighted):
    """Exponential of the mean cross-entropy of softmax logits [batch, ..., classes] against class numbers [batch, ...].

    Every position counts, such as each word of a text.
    """

    kind: Literal["perplexity"] = "perplexity"
    best_mode = "min"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not class numbers."""
        return class_labels_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the cross-entropy at every position."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.cast(labels, tf.int64), logits=output)

    def result(self, sums: Statistics) -> float:
        """Return exp(sum / count); infinity beyond the range of numbers."""
        import numpy as np

        with np.errstate(over="ignore"):
            return float(np.exp(super().result(sums)))


@register
class Mean(BaseMeanMetric):
    """Mean of all values of an output, which needs no labels; whether more is better, the configuration must say."""

    kind: Literal["mean"] = "mean"
    counts = "values"

    def values(self, output: Any) -> Any:
        """Return the output."""
        return output
