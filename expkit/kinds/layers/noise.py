"""Layers that change single values or drop them: activations, dropout, noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.activations import ActivationName, activate, activated
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import need_floats
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.numbers import in_dtype, is_fed
from expkit.kinds.random import normal, uniform
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["Activation", "DropPath", "Dropout", "GaussianNoise"]


@register
class Activation(Layer):
    """A function of ``tf.nn``, value by value (crelu, softmax, log_softmax: over the last dimension)."""

    kind: Literal["activation"] = "activation"
    function: ActivationName
    """Name of the function."""
    alpha: float | None = Field(default=None, ge=0)
    """Slope of ``leaky_relu`` below 0; by default 0.2."""

    @model_validator(mode="after")
    def _alpha_is_for_leaky_relu(self) -> Activation:
        if self.alpha is not None and self.function != "leaky_relu":
            raise ValueError(f"alpha is the slope of leaky_relu, but function is '{self.function}'; leave alpha out")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape; crelu doubles the last dimension."""
        return activated(self.function, need_floats(inputs[0], self.kind))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Activate."""
        if self.alpha is not None:
            return tf.nn.leaky_relu(inputs[0], self.alpha)
        return activate(self.function, inputs[0])


class Dropping(Layer):
    """A layer that sets parts of its input to 0 in training, and scales the others up."""

    rate: float
    """Fraction that is dropped, in [0, 1)."""

    @abstractmethod
    def parts(self, sizes: Sequence[Any]) -> Sequence[Any]:
        """Return the shape of the random numbers that decide, for an input of given sizes."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return need_floats(inputs[0], self.kind)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Drop in training, pass through otherwise."""
        if not call.training or (not is_fed(self.rate) and self.rate == 0):
            return inputs[0]
        noise = uniform(self.parts(sizes_of(inputs[0])), call.key, call.step)
        kept = tf.cast(noise >= in_dtype(self.rate, noise.dtype), inputs[0].dtype)
        return inputs[0] * kept * in_dtype(1 / (1 - self.rate), inputs[0].dtype)


@register
class Dropout(Dropping):
    """In training, sets values to 0 at random and scales the others up; the mask depends on (seed, global_step)."""

    kind: Literal["dropout"] = "dropout"
    rate: float = Field(ge=0, lt=1)
    """Fraction of the values that are dropped, in [0, 1)."""

    def parts(self, sizes: Sequence[Any]) -> Sequence[Any]:
        """Return all sizes: each value is dropped by itself."""
        return sizes


@register
class DropPath(Dropping):
    """In training, sets whole examples to 0 at random and scales the others up: stochastic depth of a residual branch.

    Which ones depends on (seed, global_step) (Huang et al. 2016, https://arxiv.org/abs/1603.09382).
    """

    kind: Literal["drop_path"] = "drop_path"
    rate: float = Field(ge=0, lt=1)
    """Fraction of the examples that are dropped, in [0, 1)."""

    def parts(self, sizes: Sequence[Any]) -> Sequence[Any]:
        """Return the size of the batch: each example is dropped as a whole."""
        batch, *others = sizes
        return [batch, *(1 for _ in others)]


@register
class GaussianNoise(Layer):
    """In training, adds normal noise to the values; it depends on (seed, global_step)."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    stddev: float = Field(ge=0)
    """Standard deviation of the noise."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        return need_floats(inputs[0], self.kind)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Add in training, pass through otherwise."""
        if not call.training or self.stddev == 0:
            return inputs[0]
        noise = normal(sizes_of(inputs[0]), call.key, call.step)
        return inputs[0] + tf.cast(noise * self.stddev, inputs[0].dtype)
