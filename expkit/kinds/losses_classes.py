"""Losses of classes besides cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.class_weights import ClassWeighted
from expkit.kinds.losses import (
    Loss,
    class_labels_problem,
    label_values_problem,
    labels_like,
    same_shape_problem,
)
from expkit.kinds.weighting import Classed, Ignoring
from expkit.registry import register
from expkit.tensor_spec import TensorSpec, fits, sizes_text

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Dice", "Focal", "Hinge", "KLDivergence"]


@register
class Hinge(Loss, Ignoring, ClassWeighted):
    """``max(0, 1 - output)`` where the 0/1 label is 1, ``max(0, 1 + output)`` where it is 0; mean over values.

    Labels have the output's shape: one for a single score, or one per class (one-hot rows among them).
    """

    kind: Literal["hinge"] = "hinge"
    label_forms = ("bits",)

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels) or label_values_problem(labels, 1, whole=True)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``max(0, 1 - sign * output)``."""
        sign = 2 * labels_like(labels, output) - 1
        return tf.nn.relu(1 - sign * output)


@register
class Focal(Loss, Ignoring, ClassWeighted):
    """Cross-entropy times ``(1 - p) ** gamma``, where p is the probability of the label (Lin et al., 2017).

    Labels decide its form. Class numbers [batch, ...] of logits [batch, ..., classes]: softmax, mean over positions.
    Labels from 0 to 1 of the output's shape: independent logits, mean over values. A single logit is of this form.
    """

    kind: Literal["focal"] = "focal"
    label_forms = ("numbers", "bits")
    gamma: float = Field(default=2.0, ge=0)
    """Exponent; 0 is the cross-entropy itself."""
    alpha: float | None = Field(default=None, ge=0, le=1)
    """Factor of independent logits whose label is 1, while label 0 has 1 - alpha; of softmax logits, of every class.

    ``null`` is 1 for all.
    """

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor of the output's shape."""
        return _form_problem(self, output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the focal loss of every position or value."""
        if self.form(output.shape[1:], labels.shape[1:]) == "numbers":
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.cast(labels, tf.int64), logits=output)
            wrong, factor = -tf.math.expm1(-entropy), self.alpha
        else:
            label = labels_like(labels, output)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=output)
            wrong = label * tf.sigmoid(-output) + (1 - label) * tf.sigmoid(output)
            factor = None if self.alpha is None else label * self.alpha + (1 - label) * (1 - self.alpha)
        # A power below 1 has no slope at 0; the bound changes no loss by more than 1e-15 (gamma 0.5).
        loss = entropy * tf.pow(tf.maximum(wrong, 1e-30), self.gamma)
        return loss if factor is None else factor * loss


@register
class KLDivergence(Loss, Classed):
    """Kullback-Leibler divergence of the softmax of logits from probabilities of the same shape.

    ``sum(labels * (log(labels) - log_softmax(output)))``, mean over positions: the cross-entropy without the entropy of
    the labels, so that its minimum is 0. A row of zeros counts as a loss of 0.
    """

    kind: Literal["kl_divergence"] = "kl_divergence"
    label_forms = ("rows",)
    counts = "positions"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not probabilities for this output."""
        if not output.shape:
            return f"needs an output of shape [batch, ..., classes], got {output}"
        return same_shape_problem(output, labels) or label_values_problem(labels, 1, whole=False)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the divergence at every position; ``0 * log(0)`` is 0."""
        label = labels_like(labels, output)
        terms = tf.math.xlogy(label, label) - label * tf.nn.log_softmax(output)
        return tf.reduce_sum(terms, axis=-1)


@register
class Dice(Loss, Ignoring):
    """1 - Dice coefficient of probabilities, over the positions of each example.

    Labels decide its form. Class numbers [batch, ...] of logits [batch, ..., classes]: the coefficient of each class
    with softmax, mean over classes. Labels from 0 to 1 of the output's shape: one coefficient over all values of an
    example, with the sigmoid of its logits. A coefficient is ``(2 * sum(label * p) + smooth) / (sum(label) + sum(p) +
    smooth)``.
    """

    kind: Literal["dice"] = "dice"
    label_forms = ("numbers", "bits")
    joins_positions = True
    smooth: float = Field(default=1.0, gt=0)
    """Term that lets a class without labels count as 1 where nothing is predicted."""

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are neither class numbers nor of the output's shape."""
        return _form_problem(self, output, labels)

    def values(self, output: Any, labels: Any, positions: Any = None) -> Any:
        """Return 1 - the mean coefficient of every example; ``positions`` [batch, positions] are weights in it."""
        if self.form(output.shape[1:], labels.shape[1:]) == "numbers":
            classes = output.shape[-1]
            label = tf.one_hot(tf.cast(labels, tf.int32), classes, dtype=output.dtype)
            probability = tf.nn.softmax(output)
        else:
            classes = 1
            label, probability = labels_like(labels, output), tf.sigmoid(output)
        shape = (tf.shape(output)[0], -1, classes)
        label, probability = tf.reshape(label, shape), tf.reshape(probability, shape)
        common, both = label * probability, label + probability
        if positions is not None:
            weights = tf.cast(positions, output.dtype)[:, :, None]
            common, both = tf.math.multiply_no_nan(common, weights), tf.math.multiply_no_nan(both, weights)
        common, both = tf.reduce_sum(common, axis=1), tf.reduce_sum(both, axis=1)
        return 1 - tf.reduce_mean((2 * common + self.smooth) / (both + self.smooth), axis=1)


def _form_problem(loss: Classed, output: TensorSpec, labels: np.ndarray) -> str | None:
    got, shape = labels.shape[1:], output.shape
    if shape and fits(shape[:-1], got) and loss.form(shape, got) == "numbers":
        return class_labels_problem(output, labels)
    if fits(shape or (1,), got or (1,)) or (shape[-1:] == (1,) and fits(shape[:-1], got)):
        return label_values_problem(labels, 1, whole=False)
    numbers = f"{sizes_text(shape[:-1])} (class numbers) or " if shape and shape[-1] != 1 else ""
    return f"needs labels of shape {numbers}{sizes_text(shape)} (0 to 1 per logit) per example, got {list(got)}"
