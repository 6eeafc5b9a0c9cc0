"""Batches inside the graph: which examples a step sees is a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.data.dataset import Scaling

__all__ = ["batch_indices", "resident", "standardized"]


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


def resident(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[Any, np.ndarray], Any]:
    """Return variables that hold arrays in the graph's session; they are in no checkpoint.

    Returns:
        The variables by field; the feed that fills them; the operation to run once with that feed.
    """
    variables, feed = {}, {}
    for name, array in arrays.items():
        value = tf.placeholder(array.dtype, array.shape)
        variables[name] = tf.Variable(
            value, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES], name=f"data/{name}", use_resource=True
        )
        feed[value] = array
    return variables, feed, tf.group([variable.initializer for variable in variables.values()])


def standardized(inputs: Mapping[str, Any], scaling: Mapping[str, Scaling]) -> dict[str, Any]:
    """Return the inputs with the scaled fields brought to mean 0 and spread 1; the numbers are graph constants."""
    with tf.name_scope("standardize"):
        return {
            name: (tensor - scaling[name].mean) / scaling[name].spread if name in scaling else tensor
            for name, tensor in inputs.items()
        }
