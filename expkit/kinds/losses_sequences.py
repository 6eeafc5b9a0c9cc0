"""Losses of sequences that are not aligned with their labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from expkit import tf1 as tf
from expkit.kinds.losses import Loss, label_values_problem
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["CTC", "lengths_problem"]


@register
class CTC(Loss):
    """Connectionist temporal classification of logits [batch, frames, classes] (Graves et al., 2006).

    The negative logarithm of the probability of all alignments of the labels, class numbers [batch, labels], with the
    frames: ``tf.nn.ctc_loss``, one number per example.
    """

    kind: Literal["ctc"] = "ctc"
    counts = "examples"
    reads_fields = ("labels", "lengths", "label_lengths")
    lengths: str | None = None
    """Field of the data with the number of frames of every example's output; ``null``: all frames."""
    label_lengths: str | None = None
    """Field of the data with the number of labels of every example; ``null``: all labels."""
    blank: int = 0
    """Class that stands for no label; -1 is the last class."""

    def spec_problem(self, output: TensorSpec) -> str | None:
        """Return why the output is not a sequence of logits that include the blank."""
        if len(output.shape) != 2 or output.shape[-1] is None:
            return f"needs an output of shape [batch, frames, classes], got {output}"
        classes = output.shape[-1]
        if not -classes <= self.blank < classes:
            return f"blank: there is no class {self.blank}; allowed: {-classes} to {classes - 1}"
        return None

    def problem(
        self, output: TensorSpec, labels: np.ndarray, lengths: np.ndarray | None, label_lengths: np.ndarray | None
    ) -> str | None:
        """Return why labels or lengths do not fit, such as labels that need more frames than there are."""
        frames, classes = output.shape
        assert classes is not None
        if labels.ndim != 2 or labels.dtype.kind not in "iuf":
            return f"needs class numbers of shape [labels] per example, got {labels.dtype} of {list(labels.shape[1:])}"
        most = frames if frames is not None else 2**31
        if problem := lengths_problem(lengths, self.lengths, 1, most) or lengths_problem(
            label_lengths, self.label_lengths, 0, labels.shape[1]
        ):
            return problem
        used = _within(label_lengths, labels)
        blank = self.blank % classes
        safe = np.where(used, labels, 0 if blank else classes - 1)
        if problem := label_values_problem(safe, classes - 1, whole=True):
            return f"{problem}, for {classes} classes"
        if (found := (safe == blank).any(axis=1)).any():
            return (
                f"example {int(found.argmax())} has the label {blank}, which is the blank; change blank or the labels"
            )
        repeats = ((labels[:, 1:] == labels[:, :-1]) & used[:, 1:]).sum(axis=1)
        needed = used.sum(axis=1) + repeats
        given = np.full(len(labels), most) if lengths is None else lengths.reshape(-1)
        if (longer := needed > given).any():
            first = int(longer.argmax())
            return (
                f"{longer.sum():,} of {len(labels):,} examples have labels longer than their frames, the first has "
                f"{int(used[first].sum())} labels, {int(repeats[first])} of them equal to the one before, which need "
                f"{int(needed[first])} frames, and {int(given[first])} frames (example {first})"
            )
        return None

    def values(self, output: Any, labels: Any, lengths: Any, label_lengths: Any) -> Any:
        """Return ``tf.nn.ctc_loss`` of every example, which has no float64."""
        output = tf.cast(output, tf.float32)
        batch, frames, blank = tf.shape(output)[0], tf.shape(output)[1], self.blank % output.shape[-1]
        size = tf.shape(labels)[1]
        given = tf.fill((batch,), frames) if lengths is None else tf.reshape(tf.cast(lengths, tf.int32), (-1,))
        some = tf.fill((batch,), size) if label_lengths is None else tf.reshape(tf.cast(label_lengths, tf.int32), (-1,))
        used = tf.range(size)[None, :] < some[:, None]
        label = tf.where_v2(used, tf.cast(labels, tf.int32), 0)
        return tf.nn.ctc_loss_v2(label, output, some, given, logits_time_major=False, blank_index=blank)


def lengths_problem(lengths: np.ndarray | None, field: str | None, low: int, high: int) -> str | None:
    """Return why lengths are not one whole number per example, from ``low`` to ``high``, or ``None``."""
    if lengths is None:
        return None
    if lengths.shape[1:] not in ((), (1,)) or lengths.dtype.kind not in "iuf":
        return f"the lengths in '{field}' need one number per example, got {lengths.dtype} of {list(lengths.shape[1:])}"
    wrong = (lengths < low) | (lengths > high) | (lengths != np.floor(lengths))
    if not wrong.any():
        return None
    first = int(wrong.reshape(-1).argmax())
    return (
        f"{wrong.sum():,} of {len(lengths):,} examples have a length in '{field}' that is not allowed, the first is "
        f"{lengths.reshape(-1)[first]} (example {first}); allowed: {low} to {high}"
    )


def _within(lengths: np.ndarray | None, labels: np.ndarray) -> np.ndarray:
    if lengths is None:
        return np.ones(labels.shape, bool)
    return np.asarray(np.arange(labels.shape[1]) < lengths.reshape(-1, 1))
