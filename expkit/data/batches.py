"""Batches inside the graph: which examples a step sees is a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.data.dataset import Scaling
from expkit.kinds.sources.base import Arrays

__all__ = [
    "BLOCK_BYTES",
    "Supply",
    "batch_indices",
    "block_steps",
    "resident",
    "standardized",
    "supply_resident",
    "supply_streamed",
]


BLOCK_BYTES = 1 << 26
"""Most bytes of a block, unless one batch has more."""


def block_steps(arrays: Arrays, steps: int, batch_size: int) -> int:
    """Return how many steps a block holds: ``steps``, or as many as fit into 64 MiB, but one at least."""
    batch_bytes = batch_size * sum(array.nbytes // len(array) for array in arrays.values())
    return max(1, min(steps, BLOCK_BYTES // max(1, batch_bytes)))


@dataclass(frozen=True)
class Supply:
    """How the steps of one call come to their examples: from a block of batches that lies ready when they begin.

    Blocks follow one another, of as many steps each: step ``s`` is number ``s % steps`` of block ``s // steps``. A call
    does not go beyond its block.
    """

    begin: Any
    """The place in the block of the call's first step, int32 scalar."""
    block: Mapping[str, Any]
    """Fields of shape [steps, batch, ...]."""
    fill: Any
    """Operation to run before a call whose block is not ready: the first one, and one that does not follow another."""
    prepare: Any
    """Operation to run in every call, beside its steps: the last of a block makes the next one ready."""
    load: Any
    """Operation to run once, with ``load_feed``."""
    load_feed: Mapping[Any, np.ndarray] = field(default_factory=dict)
    feeds: tuple[Any, ...] = ()
    """Placeholders of every call: ``begin`` and the block's fields; none if resident."""


def supply_resident(arrays: Arrays, first: Any, count: Any, steps: int, batch_size: int, seed: int) -> Supply:
    """Return batches gathered from examples that the session holds, for all steps of a block at once.

    That is several times faster than a gather in the step when XLA compiles it (row by row, on one core). The last call
    of a block gathers the next one while it does its steps.

    Args:
        arrays: the examples, by field.
        first: int64 scalar tensor, the call's first step.
        count: int32 scalar tensor, how many steps the call does.
        steps: how many steps a block holds.
        batch_size: examples per step.
        seed: seed of the run.
    """
    data, feed, load = resident(arrays)
    examples = len(next(iter(arrays.values())))
    with tf.name_scope("batches"):

        def gathered(number: Any) -> dict[str, Any]:
            drawn = batch_indices(number * steps, steps, batch_size, examples, seed)
            return {name: tf.gather(array, drawn) for name, array in data.items()}

        block = {
            name: _local(tf.zeros((steps, batch_size, *array.shape[1:]), array.dtype), f"block/{name}")
            for name, array in arrays.items()
        }

        def filled(number: Any) -> Any:
            values = gathered(number)
            return tf.group([variable.assign(values[name], read_value=False) for name, variable in block.items()])

        number, begin = first // steps, tf.cast(first % steps, tf.int32)
        ready = {name: variable.read_value() for name, variable in block.items()}
        with tf.control_dependencies(list(ready.values())):  # Else what is read may be what comes after.
            prepare = tf.cond(tf.equal(begin + count, steps), lambda: filled(number + 1), tf.no_op)
        load = tf.group(load, [variable.initializer for variable in block.values()])
        return Supply(begin, ready, filled(number), prepare, load, feed)


def supply_streamed(arrays: Arrays, steps: int, batch_size: int) -> Supply:
    """Return batches of a block of ``steps`` steps that every call is fed, as ``expkit.data.prefetch`` prepares it."""
    with tf.name_scope("batches"):
        begin = tf.placeholder(tf.int32, (), name="begin")
        block = {
            name: tf.placeholder(array.dtype, (steps, batch_size, *array.shape[1:]), name=name)
            for name, array in arrays.items()
        }
    return Supply(begin, block, tf.no_op(), tf.no_op(), tf.no_op(), feeds=(begin, *block.values()))


def batch_indices(step: Any, steps: int, batch_size: int, examples: int, seed: int) -> Any:
    """Return the int64 indices, shape [steps, batch_size], of the examples of a step and those after it.

    Examples come in one endless stream: every epoch is another permutation (``RandomIndexShuffle``, seeded by the run
    and the epoch), and a batch that begins in one epoch may end in the next, so that none is dropped or seen twice.

    Args:
        step: int64 scalar tensor, counted from 0.
        steps: for how many steps.
        batch_size: examples per step.
        examples: size of the data.
        seed: seed of the run.
    """
    total = steps * batch_size
    places = step * batch_size + tf.range(total, dtype=tf.int64)
    epochs = tf.cast(places // examples, tf.int32)
    seeds = tf.stack([tf.fill([total], tf.constant(seed, tf.int32)), epochs, tf.zeros_like(epochs)], axis=1)
    # With TensorFlow's default of 4 rounds the orders of two epochs agree in a tenth of their places.
    shuffled = tf.raw_ops.RandomIndexShuffle(
        index=places % examples, seed=seeds, max_index=tf.constant(examples - 1, tf.int64), rounds=8
    )
    return tf.reshape(shuffled, (steps, batch_size))


def resident(arrays: Arrays) -> tuple[dict[str, Any], dict[Any, np.ndarray], Any]:
    """Return variables that hold arrays in the graph's session; they are in no checkpoint.

    Returns:
        The variables by field; the feed that fills them; the operation to run once with that feed.
    """
    variables, feed = {}, {}
    for name, array in arrays.items():
        value = tf.placeholder(array.dtype, array.shape)
        variables[name] = _local(value, f"data/{name}")
        feed[value] = array[:]
    return variables, feed, tf.group([variable.initializer for variable in variables.values()])


def _local(value: Any, name: str) -> Any:
    """Return a variable that is in no checkpoint."""
    collections = [tf.GraphKeys.LOCAL_VARIABLES]
    return tf.Variable(value, trainable=False, collections=collections, name=name, use_resource=True)


def standardized(inputs: Mapping[str, Any], scaling: Mapping[str, Scaling]) -> dict[str, Any]:
    """Return the inputs with the scaled fields brought to mean 0 and spread 1; the numbers are graph constants."""
    with tf.name_scope("standardize"):
        return {
            name: (tensor - scaling[name].mean) / scaling[name].spread if name in scaling else tensor
            for name, tensor in inputs.items()
        }
