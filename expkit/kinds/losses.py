"""Losses: numbers per example or position, from outputs of the network and fields of the data."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.evaluated import Evaluated, Labeled
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
    "mean_per_example",
    "same_shape_problem",
]


class BaseLoss(Evaluated):
    """A term of the training objective, which is the weighted sum of the means of all losses, plus the regularizers."""

    family: ClassVar[str] = "loss"
    draws: ClassVar[bool] = False
    """True if ``values`` draws random numbers: it then gets the keyword ``call`` (training or not, key and step)."""

    weight: float = Field(default=1.0, ge=0)
    """Factor in the sum of all losses."""

    @abstractmethod
    def values(self, *_: Any, **read: Any) -> Any:
        """Return the loss of every example, shape [batch], or of its positions, [batch, ...].

        The loss is their mean: a kind takes no mean itself.

        Args:
            read: tensors by the field that names them, outputs in at least float32.
        """


class Loss(BaseLoss, Labeled):
    """A loss that compares an output with labels: what most kinds and most plugins are."""

    @abstractmethod
    def problem(self, *_: Any, **read: Any) -> str | None:
        """Return why these labels do not fit this output, or ``None`` if they do.

        A kind declares ``problem(self, output: TensorSpec, labels: np.ndarray)``, and what it reads besides.
        """


def class_labels_problem(output: TensorSpec, labels: np.ndarray) -> str | None:
    """Return why ``labels`` are no class numbers of the output's positions, integers in [0, classes), or ``None``."""
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
    if problem := label_values_problem(labels, 0, classes - 1, whole=True):
        return f"{problem}, for {classes} classes; change the last layer's units or the data"
    return None


def label_values_problem(labels: np.ndarray, low: float, high: float, *, whole: bool) -> str | None:
    """Return how many examples have labels outside of a range, and the first of them, or ``None`` if there are none."""
    import numpy as np

    wrong = ~((labels >= low) & (labels <= high))
    if whole and labels.dtype.kind == "f":
        wrong |= labels != np.floor(labels)
    examples = wrong.reshape(len(labels), -1).any(axis=1)
    if not examples.any():
        return None
    first = int(examples.argmax())
    value = labels[first][wrong[first]].flat[0]
    return (
        f"{examples.sum():,} of {len(labels):,} examples have a label that is not allowed, the first is {value} "
        f"(example {first}); allowed: {'whole numbers ' if whole else ''}{low} to {high}"
    )


def same_shape_problem(output: TensorSpec, labels: np.ndarray) -> str | None:
    """Return why ``labels`` do not have the output's shape (a single value may lack its dimension), or ``None``."""
    got = labels.shape[1:]
    if not fits(output.shape or (1,), got or (1,)):
        return f"needs labels shaped like the output, {sizes_text(output.shape)} per example, got {list(got)}"
    return None


def mean_per_example(values: Any) -> Any:
    """Return the mean over all dimensions but the first."""
    return tf.reduce_mean(tf.reshape(values, (tf.shape(values)[0], -1)), axis=1)


def labels_like(labels: Any, output: Any) -> Any:
    """Return labels in the dtype and shape of the output."""
    return tf.reshape(tf.cast(labels, output.dtype), tf.shape(output))


@register
class SparseSoftmaxCrossEntropy(Loss):
    """Cross-entropy of softmax logits [batch, ..., classes] against class numbers [batch, ...].

    Of an example with several positions, such as the words of a text, it is the mean over the positions.
    """

    kind: Literal["sparse_softmax_cross_entropy"] = "sparse_softmax_cross_entropy"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are no class numbers."""
        return class_labels_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``tf.nn.sparse_softmax_cross_entropy_with_logits``."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.cast(labels, tf.int64), logits=output)


@register
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of softmax logits against probabilities of the same shape (one-hot labels among them).

    A row of labels may add up to another number than 1: a row of zeros counts as a loss of 0, a multiple of a one-hot
    row as that multiple of its loss.
    """

    kind: Literal["softmax_cross_entropy"] = "softmax_cross_entropy"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are no probabilities for this output."""
        if not output.shape:
            return f"needs an output of shape [batch, ..., classes], got {output}"
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``-sum(labels * log_softmax)``; TensorFlow's own takes the gradient of rows that add up to 1."""
        return -tf.reduce_sum(labels_like(labels, output) * tf.nn.log_softmax(output), axis=-1)


@register
class SigmoidCrossEntropy(Loss):
    """Cross-entropy of independent logits against 0/1 labels of the same shape, mean over an example's values."""

    kind: Literal["sigmoid_cross_entropy"] = "sigmoid_cross_entropy"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        if problem := same_shape_problem(output, labels):
            return problem
        return label_values_problem(labels, 0, 1, whole=False)

    def values(self, output: Any, labels: Any) -> Any:
        """Return ``tf.nn.sigmoid_cross_entropy_with_logits``."""
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels_like(labels, output), logits=output)


@register
class MeanSquaredError(Loss):
    """Squared difference from labels of the same shape, mean over an example's values."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"

    def problem(self, output: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels do not fit."""
        return same_shape_problem(output, labels)

    def values(self, output: Any, labels: Any) -> Any:
        """Return the squared differences."""
        return tf.squared_difference(output, labels_like(labels, output))
