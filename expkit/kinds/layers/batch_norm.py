"""Batch normalization, with its moving statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.initializers import Ones, Zeros
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer, Update
from expkit.kinds.layers.checks import last_size
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.precision import widened
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["BatchNorm"]


@register
class BatchNorm(Layer):
    """Batch normalization over all dimensions but the last (Ioffe and Szegedy 2015).

    Owns ``gamma``, ``beta`` and the moving statistics ``moving_mean``, ``moving_variance``, which training updates
    after each step and evaluation and inference read. The defaults are Keras'; slim's are ``momentum: 0.999``,
    ``scale: false`` and, for images, ``unbiased_variance: true``, under a scope ``BatchNorm``.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Decay rate of the moving statistics (slim: ``decay``)."""
    epsilon: float = Field(default=0.001, gt=0)
    """Added to the variance."""
    center: bool = True
    """Whether ``beta`` is added."""
    scale: bool = True
    """Whether the result is multiplied by ``gamma``."""
    unbiased_variance: bool = False
    """Whether ``moving_variance`` averages ``variance * n / (n - 1)`` of the n values of a channel in a batch, as TF1's
    fused batch norm of images does; the batch itself is always normalized by ``variance``."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``, each [channels]."""
        shape, dtype = (last_size(inputs[0], self.kind),), inputs[0].dtype
        return (
            *((Declaration("gamma", shape, Ones(), dtype=dtype),) if self.scale else ()),
            *((Declaration("beta", shape, Zeros(), dtype=dtype),) if self.center else ()),
            Declaration("moving_mean", shape, Zeros(), trainable=False, dtype=dtype),
            Declaration("moving_variance", shape, Ones(), trainable=False, dtype=dtype),
        )

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        last_size(inputs[0], self.kind)
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Normalize by batch statistics in training, by moving statistics otherwise and if the layer is not trained."""
        x, wide = widened(inputs[0]), {name: widened(tf.convert_to_tensor(value)) for name, value in variables.items()}
        gamma, beta = wide.get("gamma"), wide.get("beta")
        if not (call.training and self.trainable):
            mean, variance = wide["moving_mean"], wide["moving_variance"]
            result = tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.epsilon)
            return tf.cast(result, inputs[0].dtype)
        *rest, channels = sizes_of(x)
        count = (
            math.prod(rest) if all(isinstance(size, int) for size in rest) else tf.cast(tf.reduce_prod(rest), x.dtype)
        )
        if x.shape.rank == 4 and x.dtype == tf.float32:  # Two to three times as fast as single operations.
            result, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=tf.ones(channels) if gamma is None else gamma,
                offset=tf.zeros(channels) if beta is None else beta,
                mean=tf.zeros(0),
                variance=tf.zeros(0),
                epsilon=self.epsilon,
                is_training=True,
            )
            variance = unbiased * ((count - 1) / count)
        else:
            mean, variance = tf.nn.moments(x, axes=list(range(x.shape.rank - 1)))
            result = tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.epsilon)
            unbiased = tf.math.divide_no_nan(variance, (count - 1) / count)
        averaged = {"moving_mean": mean, "moving_variance": unbiased if self.unbiased_variance else variance}
        for name, value in averaged.items():
            call.updates.append(Update(variables[name], tf.cast(value, inputs[0].dtype), self.momentum))
        return tf.cast(result, inputs[0].dtype)
