"""Metrics of sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from expkit import tf1 as tf
from expkit.kinds.losses_sequences import lengths_problem
from expkit.kinds.metrics import Metric, Statistics
from expkit.kinds.reduction import joined_weights
from expkit.kinds.weighting import Weighted
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["EditDistance"]


@register
class EditDistance(Metric, Weighted):
    """Fewest insertions, deletions and substitutions that turn what is predicted into the labels [batch, labels].

    The output holds logits [batch, positions, classes], of which the largest counts, or class numbers
    [batch, positions].
    """

    kind: Literal["edit_distance"] = "edit_distance"
    best_mode = "min"
    counts = "examples"
    whole_outputs = True
    reads_fields = ("labels", "lengths", "label_lengths")
    lengths: str | None = None
    """Field of the data with the number of positions of every example's output; ``null``: all."""
    label_lengths: str | None = None
    """Field of the data with the number of labels of every example; ``null``: all."""
    blank: int | None = None
    """Blank of ``ctc``: repetitions are then predicted once, and blanks dropped; -1 is the last class of logits."""
    normalize: bool = True
    """Whether the sum of all distances is divided by the number of all labels, or else by that of examples."""

    def spec_problem(self, output: TensorSpec) -> str | None:
        """Return why the output is not a sequence."""
        if len(output.shape) == 1 or (len(output.shape) == 2 and "int" not in output.dtype):
            return None
        return f"needs logits [batch, positions, classes] or class numbers [batch, positions], got {output}"

    def problem(
        self, output: TensorSpec, labels: np.ndarray, lengths: np.ndarray | None, label_lengths: np.ndarray | None
    ) -> str | None:
        """Return why labels or lengths do not fit."""
        if labels.ndim != 2:
            return f"needs labels of shape [labels] per example, got {list(labels.shape[1:])}"
        most = output.shape[0] if output.shape[0] is not None else 2**31
        return lengths_problem(lengths, self.lengths, 0, most) or lengths_problem(
            label_lengths, self.label_lengths, 0, labels.shape[1]
        )

    def statistics(
        self, output: Any, labels: Any, lengths: Any, label_lengths: Any, weights: Sequence[Any] = ()
    ) -> dict[str, Any]:
        """Return the sum of distances, and the number of labels or examples, each times its weight."""
        blank = self.blank
        if output.shape.rank == 3:
            blank = blank % output.shape[-1] if blank is not None else None
            output = tf.argmax(output, axis=-1)
        predicted, labels = (tf.cast(each, tf.int32) for each in (output, labels))
        batch, size, most = tf.shape(predicted)[0], tf.shape(predicted)[1], tf.shape(labels)[1]
        given = tf.fill((batch,), size) if lengths is None else tf.reshape(tf.cast(lengths, tf.int32), (-1,))
        some = tf.fill((batch,), most) if label_lengths is None else tf.reshape(tf.cast(label_lengths, tf.int32), (-1,))
        emits = tf.range(size)[None, :] < given[:, None]
        if blank is not None:
            before = tf.concat([tf.fill((batch, 1), -1), predicted[:, :-1]], axis=1)
            emits &= tf.not_equal(predicted, blank) & tf.not_equal(predicted, before)
        distance = tf.cast(_distances(predicted, emits, labels, some), tf.float32)
        count = tf.cast(some, tf.float32) if self.normalize else tf.ones_like(distance)
        weight = joined_weights(weights, batch, 1)[:, 0] if weights else tf.ones_like(distance)
        return {"sum": tf.reduce_sum(distance * weight), "count": tf.reduce_sum(count * weight)}

    def result(self, sums: Statistics) -> float:
        """Return sum / count; ``nan`` if there are no labels."""
        return float(sums["sum"] / sums["count"]) if sums["count"] else math.nan


def _distances(predicted: Any, emits: Any, labels: Any, lengths: Any) -> Any:
    """Return Levenshtein distances, int32 [batch], by dynamic programming over the positions that emit.

    Core operations alone, because XLA does not compile ``tf.edit_distance``.
    """
    size = tf.shape(labels)[1]
    positions = tf.range(size + 1)
    ahead = positions[:, None] - positions[None, :]
    insertions = tf.where_v2(ahead >= 0, ahead, 1 << 20)
    first = tf.broadcast_to(positions[None, :], (tf.shape(labels)[0], size + 1))

    def body(position: Any, row: Any) -> Any:
        differs = tf.cast(tf.not_equal(predicted[:, position, None], labels), tf.int32)
        best = tf.concat([row[:, :1] + 1, tf.minimum(row[:, 1:] + 1, row[:, :-1] + differs)], axis=1)
        more = tf.reduce_min(best[:, None, :] + insertions[None], axis=-1)
        return position + 1, tf.where_v2(emits[:, position, None], more, row)

    _, row = tf.while_loop(lambda position, _: position < tf.shape(predicted)[1], body, (tf.constant(0), first))
    return tf.gather(row, lengths, batch_dims=1)
