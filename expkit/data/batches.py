"""Batches in the graph: the examples of a step are a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from expkit import tf1 as tf
from expkit.data.order import lanes, stream_indices
from expkit.kinds.sources.base import Fields
from expkit.network.names import operation_name

__all__ = [
    "CHUNK_BYTES",
    "Batches",
    "Sampling",
    "batch_indices",
    "chunk_steps",
    "resident",
    "resident_batches",
    "streamed_batches",
]


CHUNK_BYTES = 1 << 26
"""Maximum size of a chunk, unless one batch is larger."""


def chunk_steps(arrays: Fields, steps: int, batch_size: int) -> int:
    """Return the number of steps of a chunk: ``steps``, or as many as fit into 64 MiB, but at least one."""
    batch_bytes = batch_size * sum(array.nbytes // len(array) for array in arrays.values())
    return max(1, min(steps, CHUNK_BYTES // max(1, batch_bytes)))


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batches of the steps of one call, from a chunk that is ready when the call starts.

    All chunks have the same number of steps: step ``s`` is number ``s % steps`` of chunk ``s // steps``. A call stays
    within one chunk.
    """

    begin: Any
    """int32 scalar: index in the chunk of the call's first step."""
    chunk: Mapping[str, Any]
    """Fields of shape [steps, batch, ...]."""
    fill: Any
    """Operation to run before a call whose chunk is not ready: the first call, and one that does not follow another."""
    prepare: Any
    """Operation to run in every call, beside its steps: the last call of a chunk prepares the next chunk."""
    load: Any
    """Operation to run once, with ``load_feed``."""
    load_feed: Mapping[Any, np.ndarray] = field(default_factory=dict)
    feeds: tuple[Any, ...] = ()
    """Placeholders of every call: ``begin`` and the chunk's fields; none if resident."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The order in which steps see the training examples."""

    batch_size: int
    """Examples per step."""
    seed: Any
    """Seed of the run, a number or an int64 scalar tensor."""
    order: Literal["shuffled", "stream"] = "shuffled"

    def indices(self, step: Any, steps: int, examples: int) -> Any:
        """Return the int64 indices, shape [steps, batch_size], of the examples of consecutive steps.

        Args:
            step: int64 scalar tensor, the first step, counted from 0.
            steps: number of steps.
            examples: size of the data.
        """
        if self.order == "stream":
            return lanes(step, steps, self.batch_size, examples)
        return batch_indices(step, steps, self.batch_size, examples, self.seed)

    def epochs(self, step: int, steps: int, examples: int) -> np.ndarray:
        """Return the int64 epochs, shape [steps, batch_size], that the examples of consecutive steps belong to."""
        if self.order == "stream":
            by_step = (step + np.arange(steps)) // (examples // self.batch_size)
            return np.repeat(by_step[:, None], self.batch_size, axis=1)
        positions = step * self.batch_size + np.arange(steps * self.batch_size)
        return (positions // examples).reshape(steps, self.batch_size)


def resident_batches(arrays: Fields, first: Any, count: Any, steps: int, sampling: Sampling) -> Batches:
    """Return batches gathered from examples that the session holds, for all steps of a chunk at once.

    That is several times faster than a gather in the step when XLA compiles it (row by row, on one core). The last call
    of a chunk gathers the next one while it does its steps.

    Args:
        arrays: the examples, by field.
        first: int64 scalar tensor, the call's first step.
        count: int32 scalar tensor, the number of steps of the call.
        steps: number of steps of a chunk.
        sampling: the order of the examples.
    """
    data, feed, load = resident(arrays)
    examples = len(next(iter(arrays.values())))
    with tf.name_scope("batches"):

        def gathered(number: Any) -> dict[str, Any]:
            drawn = sampling.indices(number * steps, steps, examples)
            return {name: tf.gather(array, drawn) for name, array in data.items()}

        chunk = {
            name: _local(tf.zeros((steps, sampling.batch_size, *array.shape[1:]), array.dtype), f"block/{name}")
            for name, array in arrays.items()
        }

        def filled(number: Any) -> Any:
            values = gathered(number)
            return tf.group([variable.assign(values[name], read_value=False) for name, variable in chunk.items()])

        number, begin = first // steps, tf.cast(first % steps, tf.int32)
        ready = {name: variable.read_value() for name, variable in chunk.items()}
        with tf.control_dependencies(list(ready.values())):  # Otherwise the next chunk may be read.
            prepare = tf.cond(tf.equal(begin + count, steps), lambda: filled(number + 1), tf.no_op)
        load = tf.group(load, [variable.initializer for variable in chunk.values()])
        return Batches(begin=begin, chunk=ready, fill=filled(number), prepare=prepare, load=load, load_feed=feed)


def streamed_batches(arrays: Fields, steps: int, batch_size: int) -> Batches:
    """Return batches of a chunk of ``steps`` steps that every call is fed; ``expkit.data.prefetch`` prepares it."""
    with tf.name_scope("batches"):
        begin = tf.placeholder(tf.int32, (), name="begin")
        chunk = {
            name: tf.placeholder(array.dtype, (steps, batch_size, *array.shape[1:]), name=operation_name(name))
            for name, array in arrays.items()
        }
    return Batches(
        begin=begin,
        chunk=chunk,
        fill=tf.no_op(),
        prepare=tf.no_op(),
        load=tf.no_op(),
        feeds=(begin, *chunk.values()),
    )


def batch_indices(step: Any, steps: int, batch_size: int, examples: int, seed: Any) -> Any:
    """Return the int64 indices, shape [steps, batch_size], of the examples of consecutive steps.

    Examples come in one endless stream: every epoch is another permutation, and a batch that begins in one epoch may
    end in the next, so that none is dropped or seen twice.

    Args:
        step: int64 scalar tensor, the first step, counted from 0.
        steps: number of steps.
        batch_size: examples per step.
        examples: size of the data.
        seed: seed of the run, a number or an int64 scalar tensor.
    """
    drawn = stream_indices(step * batch_size, steps * batch_size, examples, seed)
    return tf.reshape(drawn, (steps, batch_size))


def resident(arrays: Fields) -> tuple[dict[str, Any], dict[Any, np.ndarray], Any]:
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
    return tf.Variable(value, trainable=False, collections=collections, name=operation_name(name), use_resource=True)
