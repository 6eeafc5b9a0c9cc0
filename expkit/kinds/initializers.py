"""Initial values of variables, each a pure function of a seed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.numbers import is_fed
from expkit.registry import Kind, register

__all__ = ["Constant", "GlorotUniform", "Initializer", "Ones", "Zeros", "fans"]

# The standard deviation of a normal distribution cut off at two of its standard deviations.
_TRUNCATED_STDDEV = 0.87962566103423978


_INTEGERS = {"bool": (0, 1), "uint8": (0, 255), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
"""Smallest and largest values of integer dtypes."""


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """Return fan-in and fan-out of a kernel whose last two dimensions are input and output channels."""
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    field = math.prod(shape[:-2])
    return float(shape[-2] * field), float(shape[-1] * field)


class Initializer(Kind):
    """The initial value of a variable."""

    family: ClassVar[str] = "initializer"

    @abstractmethod
    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return a tensor of the shape and dtype; the same seed gives the same numbers on every machine."""

    def unsuited(self, dtype: str) -> str | None:
        """Return the reason that a variable of the dtype cannot have this initial value; ``None`` if it can."""
        if "float" in dtype:
            return None
        return f"kind '{self.kind}' gives fractional values, which {dtype} cannot hold; allowed: zeros, ones, constant"


@register
class Zeros(Initializer):
    """All zeros."""

    kind: Literal["zeros"] = "zeros"

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return zeros."""
        return tf.zeros(shape, dtype)

    def unsuited(self, dtype: str) -> str | None:
        """Return ``None``: every dtype has a 0."""
        return None


@register
class Ones(Initializer):
    """All ones."""

    kind: Literal["ones"] = "ones"

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return ones."""
        return tf.ones(shape, dtype)

    def unsuited(self, dtype: str) -> str | None:
        """Return ``None``: every dtype has a 1."""
        return None


@register
class Constant(Initializer):
    """One value everywhere."""

    kind: Literal["constant"] = "constant"
    value: float
    """The value."""

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return the constant."""
        value = tf.constant(self.value, dtype if "float" in dtype else tf.float64)
        return tf.fill(shape, tf.cast(value, dtype))

    def unsuited(self, dtype: str) -> str | None:
        """Return the reason that the dtype cannot hold the value; ``None`` if it can."""
        lowest, highest = _INTEGERS.get(dtype, (-math.inf, math.inf))
        holds = "float" in dtype or (self.value.is_integer() and lowest <= self.value <= highest)
        return None if holds else f"{dtype} cannot hold {self.value:g}"


@register
class RandomUniform(Initializer):
    """Uniform distribution in [minval, maxval)."""

    kind: Literal["random_uniform"] = "random_uniform"
    minval: float = -0.05
    maxval: float = 0.05

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return uniform numbers."""
        return _uniform(shape, seed, self.minval, self.maxval, dtype)


@register
class RandomNormal(Initializer):
    """Normal distribution."""

    kind: Literal["random_normal"] = "random_normal"
    mean: float = 0.0
    stddev: float = Field(default=0.05, ge=0)

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return normal numbers."""
        return _scaled(tf.raw_ops.StatelessRandomNormal, shape, seed, self.mean, self.stddev, dtype)


@register
class TruncatedNormal(Initializer):
    """Normal distribution, redrawn beyond two standard deviations (``tf.truncated_normal``)."""

    kind: Literal["truncated_normal"] = "truncated_normal"
    mean: float = 0.0
    stddev: float = Field(default=0.05, ge=0)

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return truncated normal numbers."""
        return _scaled(tf.raw_ops.StatelessTruncatedNormal, shape, seed, self.mean, self.stddev, dtype)


class VarianceScaling(Initializer):
    """Random values of variance ``scale / fan``; base of the initializers of Glorot, He and LeCun."""

    scale: ClassVar[float]
    mode: ClassVar[Literal["fan_in", "fan_avg"]]
    uniform: ClassVar[bool]

    def initial(self, shape: Sequence[int], dtype: str, seed: tuple[int, int]) -> Any:
        """Return random values scaled by the shape's fans."""
        fan_in, fan_out = fans(shape)
        fan = fan_in if self.mode == "fan_in" else (fan_in + fan_out) / 2
        variance = self.scale / max(1.0, fan)
        if self.uniform:
            limit = math.sqrt(3 * variance)
            return _uniform(shape, seed, -limit, limit, dtype)
        stddev = math.sqrt(variance) / _TRUNCATED_STDDEV
        return _scaled(tf.raw_ops.StatelessTruncatedNormal, shape, seed, 0.0, stddev, dtype)


@register
class GlorotUniform(VarianceScaling):
    """Uniform within ``sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio 2010)."""

    kind: Literal["glorot_uniform"] = "glorot_uniform"
    scale, mode, uniform = 1.0, "fan_avg", True


@register
class GlorotNormal(VarianceScaling):
    """Truncated normal with variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""

    kind: Literal["glorot_normal"] = "glorot_normal"
    scale, mode, uniform = 1.0, "fan_avg", False


@register
class HeUniform(VarianceScaling):
    """Uniform within ``sqrt(6 / fan_in)`` (He et al. 2015)."""

    kind: Literal["he_uniform"] = "he_uniform"
    scale, mode, uniform = 2.0, "fan_in", True


@register
class HeNormal(VarianceScaling):
    """Truncated normal with variance ``2 / fan_in`` (He et al. 2015)."""

    kind: Literal["he_normal"] = "he_normal"
    scale, mode, uniform = 2.0, "fan_in", False


@register
class LecunNormal(VarianceScaling):
    """Truncated normal with variance ``1 / fan_in`` (LeCun et al. 1998)."""

    kind: Literal["lecun_normal"] = "lecun_normal"
    scale, mode, uniform = 1.0, "fan_in", False


# The values of tf.random.stateless_..., by one operation: its functions mix the seed by forty more.
def _uniform(shape: Sequence[int], seed: tuple[int, int], minval: float, maxval: float, dtype: str) -> Any:
    number = tf.as_dtype(dtype).as_numpy_dtype
    return _scaled(tf.raw_ops.StatelessRandomUniform, shape, seed, minval, number(maxval) - number(minval), dtype)


def _scaled(draw: Any, shape: Sequence[int], seed: tuple[int, int], shift: Any, scale: Any, dtype: str) -> Any:
    seeds = tf.stack(seed) if is_fed(seed[0]) else tf.constant(seed, tf.int64)
    return draw(shape=shape, seed=seeds, dtype=dtype) * scale + shift
