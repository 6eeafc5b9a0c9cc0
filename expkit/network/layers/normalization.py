"""Normalization layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.network.initializers import Ones, Zeros
from expkit.network.layer import Call, Declaration, Layer, ShapeError, TensorSpec, Update
from expkit.registry import register

__all__ = ["BatchNorm"]


@register
class BatchNorm(Layer):
    """Batch normalization over all dimensions but the last (Ioffe and Szegedy 2015).

    Owns ``gamma``, ``beta`` and the moving statistics ``moving_mean``, ``moving_variance``, which training updates
    after each step and evaluation and inference read.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """How much of the old moving statistics stays at each step."""
    epsilon: float = Field(default=0.001, gt=0)
    """Added to the variance."""
    center: bool = True
    """Whether ``beta`` is added."""
    scale: bool = True
    """Whether the result is multiplied by ``gamma``."""

    def declare(self, inputs: Sequence[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``, each [channels]."""
        shape = (_channels(inputs[0]),)
        return (
            *((Declaration("gamma", shape, Ones()),) if self.scale else ()),
            *((Declaration("beta", shape, Zeros()),) if self.center else ()),
            Declaration("moving_mean", shape, Zeros(), trainable=False),
            Declaration("moving_variance", shape, Ones(), trainable=False),
        )

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        _channels(inputs[0])
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Normalize by the batch in training, by the moving statistics otherwise; a frozen layer never trains."""
        x = inputs[0]
        if call.training and self.trainable:
            mean, variance = tf.nn.moments(x, axes=list(range(x.shape.rank - 1)))
            call.updates.append(Update(variables["moving_mean"], mean, self.momentum))
            call.updates.append(Update(variables["moving_variance"], variance, self.momentum))
        else:
            mean, variance = variables["moving_mean"], variables["moving_variance"]
        return tf.nn.batch_normalization(x, mean, variance, variables.get("beta"), variables.get("gamma"), self.epsilon)


def _channels(spec: TensorSpec) -> int:
    if not spec.shape or spec.shape[-1] is None or spec.dtype != "float32":
        raise ShapeError(f"batch_norm needs float32 input whose last dimension is known, got {spec}")
    return spec.shape[-1]
