"""Losses: numbers per example or position, from outputs of the network and fields of the data."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from expkit import tf1 as tf
from expkit.kinds.class_weights import ClassWeighted
from expkit.kinds.evaluated import Labeled
from expkit.kinds.reduction import Reduction
from expkit.kinds.schedules import AnySchedule, Constant
from expkit.kinds.weighting import Ignoring, Smoothed, Weighted
from expkit.registry import register
from expkit.tensor_spec import TensorSpec, fits, sizes_text

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BaseLoss",
    "Loss",
    "class_labels_problem",
    "class_numbers_problem",
    "label_values_problem",
    "labels_like",
    "same_shape_problem",
]


class BaseLoss(Weighted):
    """A term of the training objective, which is the weighted sum of all losses, plus the regularizers."""

    family: ClassVar[str] = "loss"
    draws: ClassVar[bool] = False
    """True if ``values`` draws random numbers: it then gets the keyword ``call`` (training or not, key and step)."""

    joins_positions: ClassVar[bool] = False
    """True if an example's value is not a mean over its positions: ``values`` gets their weights, ``positions``."""

    couples_examples: ClassVar[bool] = False
    """True if an example's value depends on others: ``values`` gets ``counted``, False for those of weight 0."""

    weight: AnySchedule = Constant(value=1.0)
    """Factor in the sum of all losses: a number, or a schedule over the steps (annealing).

    An evaluation takes the factor of the last step done.
    """
    reduction: Reduction = "mean"
    """``mean`` of all values of a batch; ``mean_over_positions`` of each example, then the mean of examples.

    The latter lets short and long examples count alike where weights leave out positions. ``sum_over_positions``: the
    sum over an example's positions, mean of examples. ``sum``: the sum over all of a batch; in an evaluation, that of
    ``train.batch_size`` average examples.
    """

    @abstractmethod
    def values(self, *_: Any, **read: Any) -> Any:
        """Return the loss of every example, shape [batch], or of its positions or values, [batch, ...].

        A kind takes no mean itself; that, and weights, are the base class's.

        Args:
            read: tensors by the field that names them, outputs in at least float32.
        """

    def factor(self, step: Any) -> Any:
        """Return ``weight`` at a step, an int64 tensor: a number if it is constant."""
        return self.weight.value if isinstance(self.weight, Constant) else self.weight.at(step)


class Loss(BaseLoss, Labeled):
    """A loss that compares an output with labels: what most kinds and most plugins are."""

    @abstractmethod
    def problem(self, *_: Any, **read: Any) -> str | None:
        """Return why these labels do not fit this output, or ``None`` if they do.

        A kind declares ``problem(self, output: TensorSpec, labels: np.ndarray)``, and what it reads besides.
        """


def class_labels_problem(output: TensorSpec, labels: np.ndarray) -> str | None:
    """Return why ``labels`` are not class numbers of the output's positions, integers in [0, classes), or ``None``."""
    if not output.shape or output.shape[-1] is None:
        return f"class labels need an output of shape [batch, ..., classes], got {output}"
    positions, got = output.shape[:-1], labels.shape[1:]
    if not fits(positions, got) or labels.dtype.kind not in "iuf":
        wanted = "one whole number per example"
        if positions:
            wanted = f"whole numbers of shape {sizes_text(positions)} per example for an output {output}"
        return f"needs {wanted}, got {labels.dtype} of shape {list(got if positions else labels.shape)}"
    return class_numbers_problem(output.shape[-1], labels)


def class_numbers_problem(classes: int, labels: np.ndarray) -> str | None:
    """Return why labels of any shape are not whole numbers in [0, classes), or ``None`` if they are."""
    if problem := label_values_problem(labels, classes - 1, whole=True):
        return f"{problem}, for {classes} classes; change the last layer's units or the data"
    return None


def label_values_problem(labels: np.ndarray, high: float, *, whole: bool) -> str | None:
    """Return how many examples have labels outside of 0 to ``high``, with the first one; ``None`` without any."""
    import numpy as np

    wrong = ~((labels >= 0) & (labels <= high))
    if whole and labels.dtype.kind == "f":
        wrong |= labels != np.floor(labels)
    examples = wrong.reshape(len(labels), -1).any(axis=1)
    if not examples.any():
        return None
    first = int(examples.argmax())
    value = labels[first][wrong[first]].flat[0]
    return (
        f"{examples.sum():,} of {len(labels):,} examples have a label that is not allowed, the first is {value} "
        f"(example {first}); allowed: {'whole numbers ' if whole else ''}0 to {high}"
    )


def same_shape_problem(output: TensorSpec, labels: np.ndarray) -> str | None:
    """Return why ``labels`` do not have the output's shape (a single value may lack its dimension), or ``None``."""
    got = labels.shape[1:]
    if not fits(output.shape or (1,), got or (1,)):
        return f"needs labels shaped like the output, {sizes_text(output.shape)} per example, got {list(got)}"
    return None


def labels_like(labels: Any, output: Any) -> Any:
    """Return labels in the dtype and shape of the output."""
    return tf.reshape(tf.cast(labels, output.dtype), tf.shape(output))


@register
class SparseSoftmaxCrossEntropy(Loss, Ignoring, ClassWeighted, Smoothed):
    """Cross-entropy of softmax logits [batch, ..., classes] against class numbers [batch, ...].

    An example may have several positions, such as the words of a text.
    """

    kind: Literal["sparse_softmax_cross_entropy"] = "sparse_softmax_cross_entropy"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not class numbers."""
        return class_labels_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``tf.nn.sparse_softmax_cross_entropy_with_logits``, of smoothed labels where they are."""
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.cast(labels, tf.int64), logits=output)
        if not self.label_smoothing:
            return loss
        of_all = -tf.reduce_mean(tf.nn.log_softmax(output), axis=-1)
        return (1 - self.label_smoothing) * loss + self.label_smoothing * of_all


@register
class SoftmaxCrossEntropy(Loss, ClassWeighted, Smoothed):
    """Cross-entropy of softmax logits against probabilities of the same shape (one-hot labels among them).

    A row of labels may add up to another number than 1: a row of zeros counts as a loss of 0, a multiple of a one-hot
    row as that multiple of its loss.
    """

    kind: Literal["softmax_cross_entropy"] = "softmax_cross_entropy"
    label_forms = ("rows",)

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not probabilities for this output."""
        if not output.shape:
            return f"needs an output of shape [batch, ..., classes], got {output}"
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``-sum(labels * log_softmax)``; TensorFlow's own takes the gradient of rows that add up to 1."""
        label = labels_like(labels, output)
        if self.label_smoothing:
            spread = tf.reduce_mean(label, axis=-1, keepdims=True)
            label = (1 - self.label_smoothing) * label + self.label_smoothing * spread
        return -tf.reduce_sum(label * tf.nn.log_softmax(output), axis=-1)


@register
class SigmoidCrossEntropy(Loss, Ignoring, ClassWeighted, Smoothed):
    """Cross-entropy of independent logits against 0/1 labels of the same shape, mean over an example's values."""

    kind: Literal["sigmoid_cross_entropy"] = "sigmoid_cross_entropy"
    label_forms = ("bits",)

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        if problem := same_shape_problem(output, labels):
            return problem
        return label_values_problem(labels, 1, whole=False)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``tf.nn.sigmoid_cross_entropy_with_logits``."""
        label = labels_like(labels, output)
        if self.label_smoothing:
            label = (1 - self.label_smoothing) * label + self.label_smoothing / 2
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=output)


@register
class MeanSquaredError(Loss):
    """Squared difference from labels of the same shape, mean over an example's values."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"
    counts = "values"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the squared differences."""
        return tf.squared_difference(output, labels_like(labels, output))
