"""Preprocessing of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.kinds.preprocess.base import Fitted, Numbering, Preprocess, need_numbers
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["Bucketize", "Clip", "Impute", "Log1p", "Rescale", "Standardize"]

MOST_ROUNDED = 1000
"""Number of examples up to which the deviation that counts as rounding grows."""


class Elementwise(Preprocess):
    """A step that changes each value by itself, into a float."""

    in_step: ClassVar[bool] = True

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the same shape, of floats."""
        return TensorSpec(spec.shape, _float_dtype(need_numbers(spec, self.kind)))


@register
class Rescale(Elementwise):
    """``value * scale + offset``: pixels from 0 to 255 become 0 to 1 by ``scale: 0.00392156862745098``."""

    kind: Literal["rescale"] = "rescale"
    scale: float
    """Factor."""
    offset: float = 0.0
    """Term that is added afterwards."""

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Multiply and add."""
        values = _floats(values)
        values = values * _constant(self.scale, values.dtype)
        return values + _constant(self.offset, values.dtype) if self.offset else values


@register
class Clip(Elementwise):
    """Values below ``low`` become ``low``, those above ``high`` become ``high``."""

    kind: Literal["clip"] = "clip"
    low: float | None = None
    """Smallest value; ``null`` for no limit."""
    high: float | None = None
    """Largest value; ``null`` for no limit."""

    @model_validator(mode="after")
    def _agrees(self) -> Clip:
        if self.low is None and self.high is None:
            raise ValueError("clip needs 'low', 'high' or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low}, above high, {self.high}")
        return self

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Clip."""
        values = _floats(values)
        values = values if self.low is None else tf.maximum(values, _constant(self.low, values.dtype))
        return values if self.high is None else tf.minimum(values, _constant(self.high, values.dtype))


@register
class Log1p(Elementwise):
    """``sign(value) * log(1 + |value|)``: the logarithm of counts and prices, defined for all numbers."""

    kind: Literal["log1p"] = "log1p"

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Return the logarithm."""
        values = _floats(values)
        return tf.sign(values) * tf.math.log1p(tf.abs(values))


@register
class Standardize(Elementwise):
    """Values scaled to zero mean and unit standard deviation over the training examples.

    A value that never varies becomes 0.
    """

    kind: Literal["standardize"] = "standardize"
    fits: ClassVar[bool] = True
    per: Literal["value", "channel"] = "value"
    """Mean and deviation of each value of an example, or of each channel: the last dimension, over all others."""

    def fit(self, values: Iterable[np.ndarray]) -> Fitted:
        """Return ``mean`` and ``spread`` in one pass in float64 (Chan, Golub and LeVeque 1979).

        Both are float32, or float64 where float32 does not hold the values exactly. Values are taken relative to the
        first example, so that a value that never varies has a deviation of exactly 0.
        """
        count = 0
        origin = mean = squares = np.zeros(())
        dtype: np.dtype = np.dtype(np.float32)
        for batch in self._rows(values):
            dtype = dtype if np.can_cast(batch.dtype, np.float32, "safe") else np.dtype(np.float64)
            origin = batch[0].astype(np.float64) if count == 0 else origin
            total = count + len(batch)
            with np.errstate(over="ignore", invalid="ignore"):  # What is too large is an error below.
                relative = batch - origin
                difference = relative.mean(axis=0) - mean
                within = relative.var(axis=0) * len(batch)
                squares = squares + within + difference**2 * (count * len(batch) / total)
            mean = mean + difference * (len(batch) / total)
            count = total
        mean, spread = origin + mean, np.sqrt(squares / count)
        if not np.isfinite(spread).all():
            raise ValueError("the values are too large for their squares, or not finite; scale or impute them first")
        # A value that varies by less than rounding is constant, and becomes 0: the bound of scikit-learn, which grows
        # with the number of examples as the rounding of a plain sum does.
        rounding = min(count, MOST_ROUNDED) * np.finfo(np.float64).eps * np.abs(mean)
        spread = np.where(spread <= np.maximum(rounding, np.finfo(dtype).tiny), 1, spread)
        return {"mean": np.asarray(mean, dtype), "spread": np.asarray(spread, dtype)}

    def _rows(self, values: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for batch in values:
            yield batch.reshape(-1, batch.shape[-1]) if self.per == "channel" and batch.ndim > 1 else batch

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Scale; the mean is subtracted before rounding to float32: its next time stamp is 128 s later.

        Sessions that rewrite a graph turn a division by constants into this product, those that do not would differ.
        """
        return (tf.cast(values, fitted["mean"].dtype) - fitted["mean"]) * (1 / fitted["spread"])


@register
class Impute(Preprocess):
    """Missing numbers (NaN) replaced by a number, or by one of the training examples' that are there."""

    kind: Literal["impute"] = "impute"
    fits: ClassVar[bool] = True
    value: float | Literal["mean", "median"]
    """Number that takes the place, or ``mean`` or ``median`` of each value over the training examples."""

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the same shape, of floats."""
        return TensorSpec(spec.shape, _float_dtype(need_numbers(spec, self.kind)))

    def fit(self, values: Iterable[np.ndarray]) -> Fitted:
        """Return ``value``, per value of an example; all values are held for the median."""
        if isinstance(self.value, float | int):
            return {"value": np.asarray(self.value, np.float64)}
        held = np.concatenate([np.asarray(batch, np.float64) for batch in values])
        if np.isnan(held).all(axis=0).any():
            raise ValueError(f"every training example lacks a value, so there is no {self.value}; give a number")
        return {"value": np.asarray((np.nanmean if self.value == "mean" else np.nanmedian)(held, axis=0))}

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Replace NaN."""
        values = _floats(values)
        return tf.where_v2(tf.math.is_nan(values), tf.cast(fitted["value"], values.dtype), values)


@register
class Bucketize(Preprocess):
    """Number of the interval that a value lies in, int32: 0 below the first boundary, from each boundary on one more.

    ``NaN`` lies in the last interval.
    """

    kind: Literal["bucketize"] = "bucketize"
    fits: ClassVar[bool] = True
    boundaries: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Boundaries, ascending; or give ``quantiles``."""
    quantiles: int | None = Field(default=None, ge=2)
    """Number of intervals that hold as many training examples each, as far as equal values allow it."""

    @model_validator(mode="after")
    def _agrees(self) -> Bucketize:
        if (self.boundaries is None) == (self.quantiles is None):
            raise ValueError("bucketize needs exactly one of 'boundaries' and 'quantiles'")
        if self.boundaries is not None and any(low >= high for low, high in pairwise(self.boundaries)):
            raise ValueError(f"boundaries must ascend, got {list(self.boundaries)}")
        return self

    def output_spec(self, spec: TensorSpec) -> TensorSpec:
        """Return the same shape, int32."""
        return TensorSpec(need_numbers(spec, self.kind).shape, "int32")

    def fit(self, values: Iterable[np.ndarray]) -> Fitted:
        """Return ``boundaries``, those of quantiles over all values that are there."""
        if self.boundaries is not None:
            return {"boundaries": np.asarray(self.boundaries, np.float64)}
        assert self.quantiles is not None
        held = np.concatenate([np.asarray(batch, np.float64).reshape(-1) for batch in values])
        held = held[~np.isnan(held)]
        if not held.size:
            raise ValueError("every value is missing, so there are no quantiles; give boundaries")
        boundaries = np.unique(np.quantile(held, np.arange(1, self.quantiles) / self.quantiles))
        return {"boundaries": boundaries.astype(np.float64)}

    def numbering(self, fitted: Fitted) -> Numbering:
        """Return the numbers of the intervals."""
        return Numbering(len(fitted["boundaries"]) + 1)

    def apply(self, values: Any, fitted: Fitted) -> Any:
        """Count the boundaries that are not above each value, in float64."""
        values = tf.cast(values, tf.float64)
        values = tf.where_v2(tf.math.is_nan(values), tf.constant(np.inf, tf.float64), values)
        flat = tf.reshape(values, (1, -1))
        found = tf.raw_ops.UpperBound(sorted_inputs=fitted["boundaries"][None], values=flat, out_type=tf.int32)
        return tf.reshape(found, tf.shape(values))


def _float_dtype(spec: TensorSpec) -> str:
    return spec.dtype if spec.dtype in ("float32", "float64") else "float32"


def _constant(value: float, dtype: Any) -> Any:
    """Return a number as a tensor, not by way of float32, which TensorFlow takes for a number of Python."""
    return tf.cast(np.asarray(value, dtype.as_numpy_dtype), dtype)


def _floats(values: Any) -> Any:
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)
