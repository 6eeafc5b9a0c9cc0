"""Batches: a pure function of (seed, step), every epoch a permutation, none dropped or seen twice."""

from __future__ import annotations

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.data.batches import batch_indices, resident

pytestmark = pytest.mark.untraced


def stream(steps: list[int], batch_size: int, examples: int, seed: int) -> np.ndarray:
    """Return the indices of the steps' batches, [steps, batch_size]."""
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, ())
        indices = batch_indices(step, 1, batch_size, examples, seed)
        assert indices.dtype == tf.int64
        return np.array([session.run(indices, {step: at})[0] for at in steps])


@pytest.mark.parametrize(("batch_size", "examples"), [(5, 20), (7, 20), (20, 20), (1, 3), (3, 1), (16, 23), (4, 1000)])
@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_every_epoch_is_a_permutation_and_batches_straddle_epochs(batch_size: int, examples: int, seed: int) -> None:
    epochs = 3
    steps = -(-epochs * examples // batch_size)
    seen = stream(list(range(steps)), batch_size, examples, seed).reshape(-1)[: epochs * examples]
    for epoch in seen.reshape(epochs, examples):
        assert sorted(epoch) == list(range(examples))


@pytest.mark.parametrize("examples", [100, 256, 1257])
def test_orders_of_epochs_and_seeds_agree_no_more_than_by_chance(examples: int) -> None:
    epochs = [*stream(list(range(10)), examples, examples, seed=0), stream([0], examples, examples, seed=1)[0]]
    orders = [np.arange(examples), *epochs]
    agreeing = [(one == other).sum() for place, one in enumerate(orders) for other in orders[:place]]
    # Two random permutations agree in one place on average, whatever their length.
    assert np.mean(agreeing) < 2
    assert max(agreeing) < 10
    neighbours = [(np.diff(order) == 1).sum() for order in epochs]
    assert np.mean(neighbours) < 3


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    order = [5, 0, 17, 5]
    batches = stream(order, 8, 30, seed=3)
    for step, batch in zip(order, batches, strict=True):
        np.testing.assert_array_equal(batch, stream([step], 8, 30, seed=3)[0])


def test_steps_far_into_training_do_not_overflow() -> None:
    far = 10**10 // 100
    batch = stream([far], 100, 200, seed=0)[0]
    assert len(set(batch)) == 100
    assert 0 <= batch.min() <= batch.max() < 200


def test_resident_data_is_in_the_session_and_in_no_checkpoint() -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "label": np.array([1, 2, 3], np.uint8)}
    with tf.Graph().as_default(), tf.Session() as session:
        variables, feed, load = resident(arrays)
        session.run(load, feed)
        got = session.run(variables)
        assert tf.global_variables() == []
        assert tf.trainable_variables() == []
    for name, array in arrays.items():
        np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype


def test_the_batches_of_several_steps_are_those_of_each() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        several = session.run(batch_indices(tf.constant(3, tf.int64), 5, 7, 20, seed=1))
    np.testing.assert_array_equal(several, stream([3, 4, 5, 6, 7], 7, 20, seed=1))
