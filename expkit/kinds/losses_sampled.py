"""Losses of many classes, of which training looks at a sample."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call
from expkit.kinds.losses import Loss, class_labels_problem
from expkit.kinds.random import uniform
from expkit.kinds.weighting import Ignoring
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["NCE", "SampledSoftmax"]


class SampledLoss(Loss, Ignoring):
    """A loss of features [batch, ..., features] whose logits are ``features @ kernel + bias``.

    Training computes those of the labels and of classes that are drawn with replacement, the same for a whole batch, as
    a function of seed and step. An evaluation computes all logits.
    """

    draws = True
    reads_variables = ("kernel", "bias")
    output: str
    """Output of the network that holds the features, the input of the last layer."""
    kernel: str
    """Variable [features, classes] of the last layer, such as ``logits/kernel``."""
    bias: str | None = None
    """Variable [classes] of the last layer; ``null`` for none."""
    transpose: bool = False
    """Whether the kernel is [classes, features], as the table of an embedding."""
    samples: int = Field(gt=0)
    """Number of classes to draw in every step."""
    candidates: Literal["log_uniform", "uniform"] = "log_uniform"
    """Distribution of what is drawn: ``log_uniform`` fits classes that are sorted, the most frequent first."""

    @abstractmethod
    def of_sample(self, own: Any, drawn: Any, hit: Any) -> Any:
        """Return the loss from logits of labels [n] and of drawn classes [n, samples]; ``hit`` marks own labels."""

    @abstractmethod
    def of_all(self, logits: Any, label: Any) -> Any:
        """Return the loss from all logits [n, classes] and class numbers [n]."""

    def spec_problem(self, output: TensorSpec, kernel: TensorSpec, bias: TensorSpec | None) -> str | None:
        """Return why kernel and bias do not fit the features."""
        features = output.shape[-1] if output.shape else None
        if len(kernel.shape) != 2 or features is None or kernel.shape[self.transpose] != features:
            wanted = "[classes, features]" if self.transpose else "[features, classes]"
            return f"needs a kernel {wanted} for features {output}, '{self.kernel}' is {kernel}"
        if bias is not None and bias.shape != (self._classes(kernel),):
            return f"needs a bias of shape [{self._classes(kernel)}], '{self.bias}' is {bias}"
        return None

    def problem(
        self, output: TensorSpec, labels: np.ndarray, kernel: TensorSpec, bias: TensorSpec | None
    ) -> str | None:
        """Return why the labels are not class numbers."""
        return class_labels_problem(TensorSpec((*output.shape[:-1], self._classes(kernel))), labels)

    def values(self, output: Any, labels: Any, kernel: Any, bias: Any, call: Call) -> Any:
        """Return the loss at every position."""
        features, label = tf.reshape(output, (-1, output.shape[-1])), tf.reshape(tf.cast(labels, tf.int32), (-1,))
        kernel = tf.cast(kernel, features.dtype)
        bias = None if bias is None else tf.cast(bias, features.dtype)
        if not call.training:
            logits = tf.matmul(features, kernel, transpose_b=self.transpose)
            loss = self.of_all(logits if bias is None else logits + bias, label)
        else:
            classes = kernel.shape[0 if self.transpose else 1]
            drawn, log_rate = self._drawn(classes, call)
            log_rate = tf.cast(log_rate, features.dtype)
            axis = 0 if self.transpose else 1
            of_label, of_drawn = (tf.gather(kernel, index, axis=axis) for index in (label, drawn))
            of_label = of_label if self.transpose else tf.transpose(of_label)
            own = tf.reduce_sum(features * of_label, axis=-1)
            others = tf.matmul(features, of_drawn, transpose_b=self.transpose)
            if bias is not None:
                own, others = own + tf.gather(bias, label), others + tf.gather(bias, drawn)
            own, others = own - tf.gather(log_rate, label), others - tf.gather(log_rate, drawn)
            loss = self.of_sample(own, others, tf.equal(drawn[None, :], label[:, None]))
        return tf.reshape(loss, tf.shape(output)[:-1])

    def _classes(self, kernel: TensorSpec) -> int:
        return kernel.sizes[0 if self.transpose else 1]

    def _drawn(self, classes: int, call: Call) -> tuple[Any, Any]:
        """Return drawn class numbers, and of all classes the log of how often each is drawn on average."""
        number = uniform((self.samples,), call.key, call.step)
        if self.candidates == "uniform":
            log_rate = np.full(classes, np.log(self.samples / classes), np.float32)
            drawn = tf.minimum(tf.cast(number * classes, tf.int32), classes - 1)
        else:
            edges = np.log(np.arange(1, classes + 2)) / np.log(classes + 1)
            log_rate = np.log(self.samples * np.diff(edges)).astype(np.float32)
            # Comparisons with a table, because logarithms round differently when XLA compiles them.
            drawn = tf.searchsorted(tf.constant(edges[1:-1].astype(np.float32)), number, side="right")
        return drawn, tf.constant(log_rate)


@register
class SampledSoftmax(SampledLoss):
    """Cross-entropy of softmax logits of many classes, in training among the label and ``samples`` drawn classes.

    ``tf.nn.sampled_softmax_loss``: a drawn class that is the label counts once (Jean et al., 2015).
    """

    kind: Literal["sampled_softmax"] = "sampled_softmax"

    def of_sample(self, own: Any, drawn: Any, hit: Any) -> Any:
        """Return the cross-entropy of the labels."""
        others = tf.where_v2(hit, tf.constant(-1e30, drawn.dtype), drawn)
        return tf.reduce_logsumexp(tf.concat([own[:, None], others], axis=1), axis=1) - own

    def of_all(self, logits: Any, label: Any) -> Any:
        """Return the cross-entropy of the labels among all classes."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)


@register
class NCE(SampledLoss):
    """Noise-contrastive estimation: telling the label from ``samples`` drawn classes, each by a logistic regression.

    ``tf.nn.nce_loss``, a sum over the label and what is drawn (Gutmann and Hyvarinen, 2010); in an evaluation the sum
    over all classes.
    """

    kind: Literal["nce"] = "nce"

    def of_sample(self, own: Any, drawn: Any, hit: Any) -> Any:
        """Return the sum of cross-entropies."""
        return tf.nn.softplus(-own) + tf.reduce_sum(tf.nn.softplus(drawn), axis=1)

    def of_all(self, logits: Any, label: Any) -> Any:
        """Return the sum of cross-entropies of all classes."""
        own = tf.gather(logits, label, batch_dims=1)
        return tf.reduce_sum(tf.nn.softplus(logits), axis=1) - own
