"""The order of examples: shuffled, by a permutation keyed by all bits of seed and epoch, or in lanes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import rows_of

__all__ = ["consecutive", "in_lanes", "lane_order", "lanes", "stream_indices"]

ROUNDS = 12
"""With fewer the orders of five examples are not equally frequent."""
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def lanes(first: Any, steps: int, count: int, examples: int) -> Any:
    """Return the int64 indices, shape [steps, count], of the examples of consecutive steps, one of each lane.

    Lane i holds ``examples // count`` consecutive examples; the examples after the last lane are in no step.

    Args:
        first: int64 scalar tensor, the first step, counted from 0.
        steps: number of steps.
        count: number of lanes.
        examples: number of examples, at least ``count``.
    """
    length = examples // count
    positions = (first + tf.range(steps, dtype=tf.int64)) % length
    return positions[:, None] + tf.range(count, dtype=tf.int64) * length


def lane_order(examples: int, count: int) -> np.ndarray:
    """Return all indices of examples in an order whose batches of ``count`` hold the next example of every lane.

    Where ``count`` does not divide their number, the first lanes are longer by one: the last batch has only these.
    """
    length, longer = divmod(examples, count)
    starts = np.arange(count) * length + np.minimum(np.arange(count), longer)
    last = starts[:longer] + length
    return np.concatenate([(starts + np.arange(length)[:, None]).ravel(), last])


def in_lanes(fields: Fields, count: int) -> Fields:
    """Return the examples in the order of ``lane_order``."""
    order = lane_order(len(next(iter(fields.values()))), count)
    return {name: rows_of(array, order) for name, array in fields.items()}


def consecutive(fields: Fields, size: int) -> Iterator[list[np.ndarray]]:
    """Yield the fields of consecutive examples, ``size`` at a time."""
    for start in range(0, len(next(iter(fields.values()))), size):
        yield [array[start : start + size] for array in fields.values()]


def stream_indices(start: Any, total: int, examples: int, seed: Any) -> Any:
    """Return the int64 indices, shape [total], of the examples from a position of the endless stream of epochs on.

    The order of an epoch is a Feistel network over a grid, ``index = row * width + column``: a hash of the row is added
    to the column, modulo the width, then one of the column to the row, and so on. Each round can be undone, so the grid
    is permuted exactly; an index beyond the last example goes through the network again until it is one, so that the
    examples are too. The hashes of an epoch's rows and columns are tables as long as the grid's sides: no order is
    held. Operations on whole numbers alone give the same bits wherever they run.

    Args:
        start: int64 scalar tensor, the position, counted from 0.
        total: number of indices.
        examples: number of examples of an epoch.
        seed: seed of the run, a number or an int64 scalar tensor.
    """
    width = 2 * math.ceil(math.sqrt(examples) / 2)  # Of two odd sides only half of all orders can come.
    height = -(-examples // width)
    positions = start % examples + tf.range(total, dtype=tf.int64)
    epoch = tf.cast(positions // examples, tf.int32)
    keys = _keys(start // examples, (total - 1) // examples + 2, seed)
    to_columns, to_rows = _tables(keys, 0, height, width), _tables(keys, 1, width, height)

    sides = tf.constant(width, tf.int32), tf.constant(height, tf.int32)
    zero, grid = tf.constant(0, tf.int32), width * height

    def added(value: Any, table: Any, at: Any, side: Any) -> Any:
        """Return a sum modulo a side; the table has what is to be added, minus the side."""
        total = value + tf.raw_ops.Gather(params=table, indices=at)
        return tf.raw_ops.SelectV2(condition=total < zero, t=total + side, e=total)

    def network(index: Any, epoch: Any) -> Any:
        row, column = tf.cast(index // width, tf.int32), tf.cast(index % width, tf.int32)
        rows, columns = epoch * sides[1], epoch * sides[0]
        for to_column, to_row in zip(to_columns, to_rows, strict=True):
            column = added(column, to_column, rows + row, sides[0])
            row = added(row, to_row, columns + column, sides[1])
        return tf.cast(row, tf.int64) * width + tf.cast(column, tf.int64)

    def once_more(index: Any) -> Any:
        beyond = tf.where(index >= examples)
        inside = network(tf.gather_nd(index, beyond) % grid, tf.gather_nd(epoch, beyond))
        return tf.tensor_scatter_nd_update(index, beyond, inside)

    all_beyond = positions % examples + grid
    return tf.while_loop(lambda index: tf.reduce_any(index >= examples), once_more, [all_beyond], parallel_iterations=1)


def _keys(first: Any, count: int, seed: Any) -> Any:
    """Return a uint64 key of each epoch; no two epochs of a seed have the same."""
    epochs = tf.cast(first + tf.range(count, dtype=tf.int64), tf.uint64)
    return _mixed(epochs + _mixed(tf.cast(tf.convert_to_tensor(seed, tf.int64), tf.uint64) + _u64(GOLDEN)))


def _tables(keys: Any, first: int, size: int, limit: int) -> list[Any]:
    """Return a table of each second round: hashes of the numbers below a size, in [-limit, 0), epoch after epoch."""
    rounds = np.arange(first, ROUNDS, 2, dtype=np.uint64)[:, None, None] * np.uint64(GOLDEN)
    hashed = _mixed(_mixed(rounds + keys[:, None]) + np.arange(size, dtype=np.uint64))
    scaled = tf.bitwise.right_shift(tf.bitwise.right_shift(hashed, _u64(32)) * _u64(limit), _u64(32))
    return list(tf.unstack(tf.reshape(tf.cast(scaled, tf.int32) - limit, (ROUNDS // 2, -1))))


def _mixed(value: Any) -> Any:
    """Return a bijective hash of uint64: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    value = _xor_shift(value, 30) * _u64(FIRST)
    value = _xor_shift(value, 27) * _u64(SECOND)
    return _xor_shift(value, 31)


def _xor_shift(value: Any, bits: int) -> Any:
    return tf.bitwise.bitwise_xor(value, tf.bitwise.right_shift(value, _u64(bits)))


def _u64(value: int) -> Any:
    return tf.constant(np.uint64(value))
