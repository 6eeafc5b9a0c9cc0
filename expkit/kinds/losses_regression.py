"""Losses of outputs that are numbers: differences, counts, directions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.losses import BaseLoss, Loss, label_values_problem, labels_like, same_shape_problem
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AbsoluteError", "CosineDistance", "Huber", "Poisson", "Value"]


@register
class AbsoluteError(Loss):
    """Absolute difference from labels of the same shape, mean over an example's values."""

    kind: Literal["absolute_error"] = "absolute_error"
    counts = "values"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the absolute differences."""
        return tf.abs(output - labels_like(labels, output))


@register
class Huber(Loss):
    """Half the squared difference from labels of the same shape up to ``delta``, beyond it linear; mean over values."""

    kind: Literal["huber"] = "huber"
    counts = "values"
    delta: float = Field(default=1.0, gt=0)
    """Difference from which the loss is linear, with this slope."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``inner * (distance - inner / 2)``, where ``inner`` is at most ``delta``."""
        distance = tf.abs(output - labels_like(labels, output))
        inner = tf.minimum(distance, self.delta)
        return inner * (distance - inner / 2)


@register
class Poisson(Loss):
    """Negative log-likelihood of counts, without the term of the label alone; the output is the log of the rate.

    ``exp(output) - label * output``, mean over an example's values: ``tf.nn.log_poisson_loss``, and Keras' ``Poisson``
    of ``exp(output)``.
    """

    kind: Literal["poisson"] = "poisson"
    counts = "values"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels) or label_values_problem(labels, math.inf, whole=False)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``tf.nn.log_poisson_loss``."""
        return tf.exp(output) - labels_like(labels, output) * output


@register
class CosineDistance(Loss):
    """Cosine distance of the output [batch, ..., values] and labels of its shape: 1 - cos of their angle, mean of rows.

    A row of zeros, of either, counts as a loss of 1 and has no gradient.
    """

    kind: Literal["cosine"] = "cosine"
    counts = "positions"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        if not output.shape:
            return f"needs an output of shape [batch, ..., values], got {output}"
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the distance of every row."""
        cosine = tf.reduce_sum(_unit(output) * _unit(labels_like(labels, output)), axis=-1)
        return 1 - cosine


@register
class Value(BaseLoss):
    """The output itself, which the network computes as a loss; mean over all its values. It reads no labels."""

    kind: Literal["value"] = "value"
    counts = "values"

    def values(self, output: Any) -> Any:
        """Return the output."""
        return output


def _unit(rows: Any) -> Any:
    """Return rows of length 1 and those of zeros; a row is scaled by its largest value first: no square overflows."""
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(rows), axis=-1, keepdims=True))
    rows = tf.math.divide_no_nan(rows, largest)
    # The largest value is now 1 or -1, so the squares add up to at least 1 unless all are 0.
    return rows * tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(rows), axis=-1, keepdims=True), 1))
