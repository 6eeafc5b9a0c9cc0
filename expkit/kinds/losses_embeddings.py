"""Losses of embeddings: of triplets, of pairs, of all pairs in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.losses import BaseLoss, Loss, label_values_problem
from expkit.registry import register
from expkit.tensor_spec import TensorSpec, fits

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Contrastive", "InfoNCE", "Triplet"]

Distance = Literal["euclidean", "squared_euclidean"]


@register
class Triplet(BaseLoss):
    """``max(0, distance(anchor, positive) - distance(anchor, negative) + margin)`` of three outputs of one shape.

    Anchors are ``output``, [batch, ..., values] (Schroff et al., 2015, with ``squared_euclidean``). It reads no labels.
    """

    kind: Literal["triplet"] = "triplet"
    counts = "positions"
    reads_outputs = ("output", "positive", "negative")
    positive: str
    """Output of the network that is to be near the anchor."""
    negative: str
    """Output of the network that is to be further from the anchor, by ``margin``."""
    margin: float = Field(default=1.0, gt=0)
    """Difference of distances from which a triplet costs nothing."""
    distance: Distance = "euclidean"
    """Distance of two rows, or its square."""

    def spec_problem(self, output: TensorSpec, positive: TensorSpec, negative: TensorSpec) -> str | None:
        """Return why the outputs do not have one shape."""
        return _same_rows_problem(output, positive) or _same_rows_problem(output, negative)

    def values(self, output: Any, positive: Any, negative: Any) -> Any:
        """Return the loss of every triplet."""
        near, far = (_squared(output, other) for other in (positive, negative))
        if self.distance == "euclidean":
            near, far = _root(near), _root(far)
        return tf.nn.relu(near - far + self.margin)


@register
class Contrastive(Loss):
    """Loss of pairs of rows: ``distance ** 2`` where the label is 1, ``max(0, margin - distance) ** 2`` where it is 0.

    Rows are [batch, ..., values] of two outputs (Hadsell et al., 2006).
    """

    kind: Literal["contrastive"] = "contrastive"
    counts = "positions"
    reads_outputs = ("output", "other")
    other: str
    """Output of the network that holds the second row of every pair."""
    margin: float = Field(default=1.0, gt=0)
    """Distance from which a pair of label 0 costs nothing."""

    def spec_problem(self, output: TensorSpec, other: TensorSpec) -> str | None:
        """Return why the outputs do not have one shape."""
        return _same_rows_problem(output, other)

    def problem(self, output: TensorSpec, other: TensorSpec, labels: np.ndarray) -> str | None:
        """Return why the labels are not 0 or 1 per pair."""
        if not fits(output.shape[:-1], labels.shape[1:]) and labels.shape[1:] != (1,):
            return f"needs one label per pair, 0 or 1, got labels of shape {list(labels.shape[1:])} per example"
        return label_values_problem(labels, 1, whole=True)

    def values(self, output: Any, other: Any, labels: Any) -> Any:
        """Return the loss of every pair."""
        squared = _squared(output, other)
        same = tf.reshape(tf.cast(labels, squared.dtype), tf.shape(squared))
        return same * squared + (1 - same) * tf.square(tf.nn.relu(self.margin - _root(squared)))


@register
class InfoNCE(BaseLoss):
    """Cross-entropy of finding for each row of ``output`` its partner among the rows of ``other`` (van den Oord, 2018).

    Rows are [batch, values]; a row is distinguished from the rows of other examples in its batch. So the loss depends
    on the batch: on ``train.batch_size`` in training (each batch by itself with gradient accumulation), in an
    evaluation on ``train.evaluation_batch_size``. An example of weight 0 is not a partner of any
    other; other weights count an example's own term alone. It reads no labels.
    """

    kind: Literal["info_nce"] = "info_nce"
    counts = "examples"
    couples_examples = True
    reads_outputs = ("output", "other")
    other: str
    """Output of the network that holds the partners."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the similarities."""
    normalize: bool = True
    """Whether rows are scaled to length 1, so that similarities are cosines; else they are products."""
    symmetric: bool = False
    """Whether it is the mean of both directions, of rows among partners and partners among rows (CLIP)."""

    def spec_problem(self, output: TensorSpec, other: TensorSpec) -> str | None:
        """Return why the outputs are not rows of one shape."""
        if len(output.shape) != 1:
            return f"needs an output of shape [batch, values], got {output}"
        return _same_rows_problem(output, other)

    def values(self, output: Any, other: Any, counted: Any = None) -> Any:
        """Return the loss of every example; ``counted`` [batch] is True for those that are partners."""
        if self.normalize:
            output, other = (tf.math.l2_normalize(rows, axis=-1, epsilon=1e-12) for rows in (output, other))
        similarity = tf.matmul(output, other, transpose_b=True) / self.temperature
        own = tf.linalg.diag_part(similarity)
        directions = (similarity, tf.transpose(similarity)) if self.symmetric else (similarity,)
        losses = []
        for each in directions:
            if counted is not None:  # Its own partner stays, so that no row is empty.
                kept = counted[None, :] | tf.eye(tf.shape(each)[0], dtype=tf.bool)
                each = tf.where_v2(kept, each, tf.constant(-1e30, each.dtype))
            losses.append(tf.reduce_logsumexp(each, axis=-1) - own)
        return tf.add_n(losses) / len(losses)


def _same_rows_problem(output: TensorSpec, other: TensorSpec) -> str | None:
    if not output.shape:
        return f"needs an output of shape [batch, ..., values], got {output}"
    if not fits(output.shape, other.shape):
        return f"needs outputs of one shape, got {output} and {other}"
    return None


def _squared(one: Any, other: Any) -> Any:
    return tf.reduce_sum(tf.math.squared_difference(one, other), axis=-1)


def _root(squared: Any) -> Any:
    """Return the square root, whose slope at 0 is 0."""
    positive = squared > 0
    return tf.where_v2(positive, tf.sqrt(tf.where_v2(positive, squared, tf.ones_like(squared))), tf.zeros_like(squared))
