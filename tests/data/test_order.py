"""The order of examples: exact permutations, another one for every seed and every epoch."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit import tf1 as tf
from expkit.data.order import GOLDEN, consecutive, in_lanes, lane_order, lanes, stream_indices

pytestmark = pytest.mark.untraced

Draw = Callable[[int, int], np.ndarray]
"""Draws indices from a start, with a seed."""


@pytest.fixture
def draws() -> Iterator[Callable[[int, int], Draw]]:
    """Return a function that gives, for a number of indices and of examples, what draws them."""
    with tf.Graph().as_default(), tf.Session() as session:
        start, seed = tf.placeholder(tf.int64, ()), tf.placeholder(tf.int64, ())

        def draw(total: int, examples: int) -> Draw:
            indices = stream_indices(start, total, examples, seed)
            return lambda start_at, seeded: np.asarray(session.run(indices, {start: start_at, seed: seeded}))

        yield draw


def mixed(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def order_by_hand(examples: int, seed: int, epoch: int) -> list[int]:
    """Return the order of an epoch from the definition, in whole numbers of Python."""
    width = 2 * math.ceil(math.sqrt(examples) / 2)
    height = -(-examples // width)
    key = mixed((epoch + mixed(seed + GOLDEN)) % 2**64)
    keys = [mixed((key + number * GOLDEN) % 2**64) for number in range(12)]

    def network(index: int) -> int:
        row, column = divmod(index, width)
        for to_column, to_row in zip(keys[::2], keys[1::2], strict=True):
            column = (column + (mixed((to_column + row) % 2**64) >> 32) * width // 2**32) % width
            row = (row + (mixed((to_row + column) % 2**64) >> 32) * height // 2**32) % height
        return row * width + column

    order = []
    for index in range(examples):
        index = network(index)
        while index >= examples:
            index = network(index)
        order.append(index)
    return order


@pytest.mark.parametrize(
    ("examples", "seed", "epoch"), [(1, 0, 0), (2, 1, 5), (3, 2**31 - 1, 7), (100, 3, 2**40), (1257, 0, 1)]
)
def test_orders_are_those_of_the_definition(
    draws: Callable[[int, int], Draw], examples: int, seed: int, epoch: int
) -> None:
    assert draws(examples, examples)(epoch * examples, seed).tolist() == order_by_hand(examples, seed, epoch)


@pytest.mark.parametrize("examples", [*range(1, 40), 255, 256, 257, 1000, 65_537, 10**6])
def test_every_epoch_is_a_permutation(draws: Callable[[int, int], Draw], examples: int) -> None:
    epochs = max(1, 2000 // examples)
    orders = draws(epochs * examples, examples)(3 * examples, 1).reshape(epochs, examples)
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(examples), (epochs, 1)))


@pytest.mark.parametrize("examples", [3, 10, 1257, 65_537, 10**6])
def test_the_orders_of_two_thousand_seeds_and_epochs_differ(draws: Callable[[int, int], Draw], examples: int) -> None:
    shown = min(examples, 60)
    of_epoch = draws(shown, examples)
    if examples >= 20:
        by_epoch = {of_epoch(epoch * examples, 0).tobytes() for epoch in range(2000)}
        assert len(by_epoch) == 2000
    stream = draws(60, examples)  # Of three examples there are only six orders: twenty epochs of them.
    by_seed = {stream(0, seed).tobytes() for seed in range(2000)}
    assert len(by_seed) == 2000
    blocks = {stream(60 * examples * block, 0).tobytes() for block in range(2000)}
    assert len(blocks) == 2000


@pytest.mark.parametrize("examples", [23, 1257, 10**6])
def test_every_bit_of_seed_and_epoch_counts(draws: Callable[[int, int], Draw], examples: int) -> None:
    draw = draws(20, examples)
    seeds = [draw(0, seed).tobytes() for seed in (0, *(1 << bit for bit in range(63)))]
    epochs = [draw(epoch * examples, 0).tobytes() for epoch in (0, *(1 << bit for bit in range(42)))]
    assert len({*seeds, *epochs}) == len(seeds) + len(epochs) - 1


@pytest.mark.parametrize("examples", [2, 3, 4])
def test_the_orders_of_few_examples_are_equally_frequent(draws: Callable[[int, int], Draw], examples: int) -> None:
    epochs = 24_000
    orders = draws(epochs * examples, examples)(0, 0).reshape(epochs, examples)
    counts = Counter(map(tuple, orders.tolist()))
    expected = epochs / math.factorial(examples)
    squares = sum((counts[order] - expected) ** 2 / expected for order in itertools.permutations(range(examples)))
    freedom = math.factorial(examples) - 1
    assert squares < freedom + 4 * math.sqrt(2 * freedom)


def test_every_example_comes_at_every_position_equally_often(draws: Callable[[int, int], Draw]) -> None:
    examples, epochs = 50, 4000
    orders = draws(epochs * examples, examples)(0, 0).reshape(epochs, examples)
    counts = np.stack([np.bincount(orders[:, place], minlength=examples) for place in range(examples)])
    expected, freedom = epochs / examples, (examples - 1) ** 2
    squares = ((counts - expected) ** 2 / expected).sum()
    assert abs(squares - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize(("examples", "count"), [(12, 3), (13, 3), (14, 3), (5, 5), (7, 1)])
def test_lanes_of_training_go_on_from_step_to_step_and_start_again_together(examples: int, count: int) -> None:
    length = examples // count
    with tf.Graph().as_default(), tf.Session() as session:
        first = tf.placeholder(tf.int64, ())
        rows = lanes(first, 2 * length, count, examples)
        drawn = session.run(rows, {first: 0})
        later = session.run(rows, {first: 3})
    expected = [[lane * length + step for lane in range(count)] for step in range(length)]
    assert drawn.tolist() == [*expected, *expected]
    assert later.tolist()[: length - 3] == expected[3:]
    assert drawn.dtype == np.int64


@settings(derandomize=True, max_examples=50, deadline=None)
@given(examples=st.integers(1, 60), count=st.integers(1, 70))
def test_lanes_of_evaluation_have_every_example_once_each_after_the_one_before(examples: int, count: int) -> None:
    order = lane_order(examples, count)
    assert sorted(order.tolist()) == list(range(examples))
    for position in range(count, examples):
        assert order[position] == order[position - count] + 1
    starts = order[:count]
    assert np.all(np.diff(starts) > 0)


def test_fields_in_lanes_and_their_batches() -> None:
    fields = {"x": np.arange(7), "y": np.arange(7) * 10}
    batches = [[part.tolist() for part in batch] for batch in consecutive(in_lanes(fields, 3), 3)]
    assert batches == [[[0, 3, 5], [0, 30, 50]], [[1, 4, 6], [10, 40, 60]], [[2], [20]]]
