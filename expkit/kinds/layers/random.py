"""The layer of random numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.random import normal, uniform
from expkit.registry import Positive, register
from expkit.tensor_spec import DType, TensorSpec

__all__ = ["Random"]

_FIELDS = {
    "normal": ("mean", "stddev"),
    "uniform": ("minimum", "maximum"),
    "bernoulli": ("probability",),
    "categorical": ("classes", "probabilities"),
}
"""Fields of each distribution."""
_INTEGERS = ("int32", "int64")
_LARGEST = {"float32": 3.4e38, "float64": 3.4e38, "float16": 65504.0, "bfloat16": 3.38e38}
"""Largest parameter by dtype of floats; numbers are drawn in float32."""


@register
class Random(Layer):
    """Random numbers for every example: a pure function of the run's seed, the step and the index in the batch.

    Outside training the step is 0: evaluation, the frozen graph and every later use of it draw the same numbers.
    """

    kind: Literal["random"] = "random"
    arity: ClassVar[tuple[int, int | None]] = (0, 0)
    reads: ClassVar[tuple[str, ...]] = ("batch_of",)
    batch_of: str
    """Layer or network input whose batch size the output has."""
    shape: tuple[Positive, ...] | None = None
    """Sizes without the batch; by default those of ``batch_of``."""
    distribution: Literal["normal", "uniform", "bernoulli", "categorical"] = "normal"
    """Distribution of every number; bernoulli gives 0 and 1, categorical indices of classes."""
    mean: float = 0.0
    """Mean of normal."""
    stddev: float = Field(default=1.0, ge=0)
    """Standard deviation of normal."""
    minimum: float = 0.0
    """Smallest number of uniform."""
    maximum: float = 1.0
    """Limit of uniform, which no number reaches but by rounding."""
    probability: float = Field(default=0.5, ge=0, le=1)
    """Probability of a 1 of bernoulli."""
    classes: Positive | None = None
    """Number of equally likely classes of categorical."""
    probabilities: tuple[float, ...] | None = None
    """Probability of each class of categorical, in place of ``classes``; they add up to 1."""
    when: Literal["training", "always"] = "always"
    """``training``: outside training the mean of the distribution, of categorical the most likely class."""
    dtype: DType | None = None
    """Dtype of the numbers: floats, by default float32; of categorical int64 or int32, by default int64."""

    @model_validator(mode="after")
    def _fields_are_of_the_distribution(self) -> Random:
        own = _FIELDS[self.distribution]
        others = [name for names in _FIELDS.values() for name in names if name not in own]
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        if wrong := [name for name in others if getattr(self, name) != defaults[name]]:  # A run's file has them all.
            raise ValueError(
                f"'{wrong[0]}' is not of distribution '{self.distribution}', which has {' and '.join(own)}; "
                "leave it out, or give another distribution"
            )
        return self

    @model_validator(mode="after")
    def _parameters_are_of_a_distribution(self) -> Random:
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is not below maximum {self.maximum:g}; exchange them")
        if self.distribution == "categorical":
            if (self.classes is None) == (self.probabilities is None):
                raise ValueError("categorical needs either 'classes', how many there are, or 'probabilities'")
            if self.probabilities is not None:
                total = math.fsum(self.probabilities)
                if min(self.probabilities, default=0) < 0 or abs(total - 1) > 1e-6:
                    raise ValueError(f"'probabilities' must be at least 0 and add up to 1, not to {total:g}")
        allowed = _INTEGERS if self.distribution == "categorical" else tuple(_LARGEST)
        dtype = self._dtype()
        if dtype not in allowed:
            raise ValueError(f"{self.distribution} has dtype {' or '.join(allowed)}, not {dtype}; use kind 'cast'")
        for name in ("mean", "stddev", "minimum", "maximum"):
            if abs(getattr(self, name)) > _LARGEST.get(dtype, math.inf):
                raise ValueError(f"'{name}' is {getattr(self, name):g}, which {dtype} cannot hold; decrease it")
        return self

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the shape, with the batch of ``batch_of``."""
        return TensorSpec(inputs.named["batch_of"].shape if self.shape is None else self.shape, self._dtype())

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Draw the numbers, or return their mean."""
        batch, *shape = sizes_of(inputs.named["batch_of"])
        sizes, dtype = [batch, *(shape if self.shape is None else self.shape)], self._dtype()
        if self.when == "training" and not call.training:
            return tf.fill(sizes, tf.constant(self._mean(), dtype))
        step = 0 if call.step is None else call.step
        if self.distribution == "normal":
            return tf.cast(_moved(normal(sizes, call.key, step), self.stddev, self.mean), dtype)
        numbers = uniform(sizes, call.key, step)
        if self.distribution == "uniform":
            return tf.cast(_moved(numbers, self.maximum - self.minimum, self.minimum), dtype)
        if self.distribution == "bernoulli":
            return tf.cast(numbers < self.probability, dtype)
        ends = tf.constant(list(accumulate(self._probabilities()))[:-1], tf.float32)
        indices = tf.searchsorted(ends, tf.reshape(numbers, [-1]), side="right")
        return tf.cast(tf.reshape(indices, sizes), dtype)

    def _dtype(self) -> str:
        return self.dtype or ("int64" if self.distribution == "categorical" else "float32")

    def _mean(self) -> float:
        """Return the mean of the distribution, of categorical the most likely class."""
        if self.distribution == "categorical":
            probabilities = self._probabilities()
            return probabilities.index(max(probabilities))
        if self.distribution == "uniform":
            return (self.minimum + self.maximum) / 2
        return self.mean if self.distribution == "normal" else self.probability

    def _probabilities(self) -> tuple[float, ...]:
        if self.probabilities is not None:
            return self.probabilities
        assert self.classes is not None
        return (1 / self.classes,) * self.classes


def _moved(numbers: Any, scale: float, offset: float) -> Any:
    """Return ``numbers * scale + offset``, the same whether XLA rounds once or twice.

    A product of two float32 numbers is exact in float64, so that only the sum rounds.
    """
    if offset == 0:
        return numbers if scale == 1 else numbers * scale
    exact = tf.cast(numbers, tf.float64) * tf.cast(tf.constant(scale, tf.float32), tf.float64)
    return tf.cast(exact + offset, tf.float32)
