"""Metrics of outputs that are numbers, and those that follow from means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from expkit import tf1 as tf
from expkit.kinds.losses import labels_like, same_shape_problem
from expkit.kinds.metrics import MeanMetric, Metric, Statistics
from expkit.kinds.reduction import joined_weights
from expkit.kinds.weighting import Weighted
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["R2", "MeanSquaredErrorMetric", "RootMeanSquaredError"]


@register
class MeanSquaredErrorMetric(MeanMetric):
    """Squared difference from labels of the same shape, mean over all values."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"
    counts = "values"
    best_mode = "min"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the squared differences."""
        return tf.squared_difference(output, labels_like(labels, output))


@register
class RootMeanSquaredError(Metric, Weighted):
    """Root of the mean squared difference from labels of the same shape.

    The mean over the values of the last dimension, each over all examples and positions, as scikit-learn's.
    """

    kind: Literal["root_mean_squared_error"] = "root_mean_squared_error"
    counts = "positions"
    best_mode = "min"
    statistic_shapes = {"residual": (2, None), "count": ()}

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def statistics(self, output: Any, labels: Any, weights: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the sum of squared differences, and the number of rows or their weight."""
        predicted, label = _columns(output, labels)
        return _summed({"residual": tf.squared_difference(predicted, label)}, weights)

    def result(self, sums: Statistics) -> float:
        """Return the mean of the roots; ``nan`` if nothing counts."""
        import numpy as np

        residual = np.sum(sums["residual"], axis=0)
        return float(np.sqrt(residual / sums["count"]).mean()) if sums["count"] else float("nan")


@register
class R2(Metric, Weighted):
    """Coefficient of determination, 1 - squared differences / squared deviations of labels of the same shape.

    The mean over the values of the last dimension, each over all examples and positions. Labels that are constant (to
    the precision of float32) give 1 if every output equals its label, else 0.
    """

    kind: Literal["r2"] = "r2"
    counts = "positions"
    best_mode = "max"
    statistic_shapes = {"residual": (2, None), "sum": (2, None), "square": (2, None), "count": ()}

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def statistics(self, output: Any, labels: Any, weights: Sequence[Any] = ()) -> dict[str, Any]:
        """Return sums of squared differences, labels and squared labels, and the number of rows or their weight."""
        predicted, label = _columns(output, labels)
        sums = {"residual": tf.squared_difference(predicted, label), "sum": label, "square": tf.square(label)}
        return _summed(sums, weights)

    def result(self, sums: Statistics) -> float:
        """Return the mean of the coefficients."""
        import numpy as np

        residual, total, square = (np.sum(sums[name], axis=0) for name in ("residual", "sum", "square"))
        deviation = square - total**2 / sums["count"]
        varies = deviation > 1e-13 * square
        constant = np.where(residual == 0, 1.0, 0.0)
        return float(np.where(varies, 1 - residual / np.where(varies, deviation, 1), constant).mean())


def _columns(output: Any, labels: Any) -> tuple[Any, Any]:
    """Return outputs and labels as float64 rows: a column for each value of the last dimension."""
    columns = 1 if output.shape.rank == 1 else output.shape[-1]
    predicted, label = (tf.reshape(tf.cast(each, tf.float64), (-1, columns)) for each in (output, labels))
    return predicted, label


def _summed(rows: dict[str, Any], weights: Sequence[Any]) -> dict[str, Any]:
    """Return the sums of float64 rows in two float32 parts, and the number of rows or their weight."""
    count = tf.shape(next(iter(rows.values())))[0]
    if weights:
        batch = tf.shape(weights[0])[0]
        row = tf.cast(tf.reshape(joined_weights(weights, batch, count // batch), (-1, 1)), tf.float64)
        rows = {name: tf.math.multiply_no_nan(values, row) for name, values in rows.items()}
        count = tf.cast(tf.reduce_sum(row), tf.float32)
    return {**{name: _in_two_parts(tf.reduce_sum(values, axis=0)) for name, values in rows.items()}, "count": count}


def _in_two_parts(values: Any) -> Any:
    """Return float64 values as sums of two float32 ones, which add up without rounding in any order of batches."""
    high = tf.cast(values, tf.float32)
    return tf.stack([high, tf.cast(values - tf.cast(high, tf.float64), tf.float32)])
