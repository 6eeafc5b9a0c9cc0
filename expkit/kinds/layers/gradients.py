"""Layers that pass their input through and change its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import need_floats
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["ScaleGradient", "StopGradient"]


@register
class StopGradient(Layer):
    """The input, through which no gradient passes (``tf.stop_gradient``)."""

    kind: Literal["stop_gradient"] = "stop_gradient"

    def passes_gradient(self, field: str) -> bool:
        """Return False."""
        return False

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pass the input on; only training has gradients to stop."""
        return tf.stop_gradient(inputs[0]) if call.training else inputs[0]


@register
class ScaleGradient(Layer):
    """The input, whose gradient is multiplied by a number."""

    kind: Literal["scale_gradient"] = "scale_gradient"
    scale: float
    """Factor of the gradient: -1 reverses it (Ganin et al. 2016), 0 stops it."""

    def passes_gradient(self, field: str) -> bool:
        """Return whether the gradient is not stopped."""
        return self.scale != 0

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return need_floats(inputs[0], self.kind)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Pass the input on; only training has gradients to scale."""
        if not call.training:
            return inputs[0]
        if self.scale == 0:
            return tf.stop_gradient(inputs[0])

        return tf.custom_gradient(self._with_gradient)(inputs[0])

    def _with_gradient(self, values: Any) -> tuple[Any, Callable[[Any], Any]]:
        return tf.identity(values), lambda upstream: upstream * tf.cast(self.scale, upstream.dtype)
