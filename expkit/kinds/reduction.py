"""Sums and means of the values of a batch, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from expkit import tf1 as tf

__all__ = ["Reduction", "by_level", "joined_weights", "per_example", "weighted_sums"]

Reduction = Literal["mean", "mean_over_positions", "sum_over_positions", "sum"]
"""Reduction of the values of a batch to one number."""


def per_example(values: Any, reduction: Reduction, batch_size: int) -> Any:
    """Return numbers, [batch], whose mean is the reduction of values [batch, ...] without weights."""
    if reduction in ("mean", "mean_over_positions"):
        return tf.reduce_mean(_rows(values), axis=1) if values.shape.rank > 1 else values
    total = tf.reduce_sum(_rows(values), axis=1) if values.shape.rank > 1 else values
    return total * batch_size if reduction == "sum" else total


def weighted_sums(values: Any, factors: Sequence[Any], reduction: Reduction, batch_size: int) -> tuple[Any, Any]:
    """Return two float32 sums whose quotient is the reduction of values [batch, ...] with weights.

    Both add up over batches. A value of weight 0 counts as absent, even if it is not finite.

    Args:
        values: of every example, position or value.
        factors: weights, as in ``joined_weights``.
        reduction: ``mean_over_positions`` and ``sum_over_positions`` are means over examples: the weight of an example
            is the product of the factors that have one number per example, or 0 if all weights of its positions are.
        batch_size: number of examples whose sum ``sum`` is.
    """
    batch = tf.shape(values)[0]
    rows = tf.cast(_rows(values), tf.float32)
    size = tf.shape(rows)[1]
    if reduction == "mean":
        weights = joined_weights(factors, batch, size)
        return tf.reduce_sum(tf.math.multiply_no_nan(rows, weights)), tf.reduce_sum(weights)
    of_examples, of_positions = by_level(factors)
    positions = joined_weights(of_positions, batch, size)
    examples = joined_weights(of_examples, batch, 1)[:, 0]
    if reduction == "sum":
        total = tf.reduce_sum(tf.math.multiply_no_nan(rows, positions), axis=1)
        return tf.reduce_sum(tf.math.multiply_no_nan(total, examples)) * batch_size, tf.cast(batch, tf.float32)
    weight = tf.reduce_sum(positions, axis=1)
    examples = examples * tf.cast(weight > 0, tf.float32)
    total = tf.reduce_sum(tf.math.multiply_no_nan(rows, positions), axis=1)
    if reduction == "mean_over_positions":
        total = tf.math.divide_no_nan(total, weight)
    return tf.reduce_sum(tf.math.multiply_no_nan(total, examples)), tf.reduce_sum(examples)


def by_level(factors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the factors that have one number per example, and the others."""
    levels: tuple[list[Any], list[Any]] = [], []
    for factor in factors:
        levels[any(size != 1 for size in factor.shape[1:])].append(factor)
    return levels


def joined_weights(factors: Sequence[Any], batch: Any, size: Any) -> Any:
    """Return the product of factors, float32 [batch, size].

    Args:
        factors: [batch, ...] each, of leading dimensions of the values.
        batch: number of examples.
        size: number of values per example.
    """
    product = tf.ones((batch, size), tf.float32)
    for factor in factors:
        rows = tf.reshape(factor, (batch, -1, 1))
        count = tf.shape(rows)[1]
        product *= tf.reshape(tf.broadcast_to(rows, (batch, count, size // count)), (batch, size))
    return product


def _rows(values: Any) -> Any:
    return tf.reshape(values, (tf.shape(values)[0], -1))
