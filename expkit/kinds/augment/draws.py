"""Random numbers of training examples: each a function of (seed, step, epoch, example) alone."""

from __future__ import annotations

import hashlib
import math
from typing import final

import numpy as np

__all__ = ["Draws", "philox"]

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
INCREMENTS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter: tuple[np.ndarray, ...], key: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return four random words for each counter: Philox4x32-10 (Salmon et al., 2011).

    Args:
        counter: four arrays, uint64, of numbers below 2**32, which may be broadcast.
        key: two numbers below 2**32.

    Returns:
        Four arrays, uint64, of numbers below 2**32.
    """
    c0, c1, c2, c3 = counter
    for number in range(ROUNDS):
        k0, k1 = (np.uint64((word + number * step) % 2**32) for word, step in zip(key, INCREMENTS, strict=True))
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> HALF) ^ c1 ^ k0, second & LOW, (first >> HALF) ^ c3 ^ k1, first & LOW
    return c0, c1, c2, c3


@final
class Draws:
    """Random numbers for the examples of a block, as many as a step asks for.

    The n-th request gives an example the same numbers whatever other examples are in the block.
    """

    def __init__(self, name: str, seed: int, epochs: np.ndarray, examples: np.ndarray) -> None:
        """Begin with the first number.

        Args:
            name: name of the draws; others have other numbers.
            seed: seed of the run.
            epochs: [n], the epoch of every example, from 0.
            examples: [n], the index of every example among the training examples.
        """
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        self._key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
        self._epochs, self._examples = epochs.astype(np.uint64), examples.astype(np.uint64)
        self._next = 0

    def __len__(self) -> int:
        return len(self._epochs)

    def of(self, chosen: np.ndarray) -> Draws:
        """Return the draws of some of the examples, given a mask [n], from the same number on."""
        some = object.__new__(Draws)
        some._key, some._next = self._key, self._next
        some._epochs, some._examples = self._epochs[chosen], self._examples[chosen]
        return some

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return numbers from ``low`` to ``high``, float64 [n, *shape], all equally likely."""
        count = math.prod(shape)
        blocks = np.arange(self._next, self._next + -(-count // 2), dtype=np.uint64)
        self._next += len(blocks)
        epochs, examples = self._epochs[:, None] & LOW, self._examples[:, None]
        words = philox((blocks[None], epochs, examples & LOW, examples >> HALF), self._key)
        pairs = [
            ((high_word << np.uint64(21)) | (low_word >> np.uint64(11)))
            for high_word, low_word in ((words[0], words[1]), (words[2], words[3]))
        ]
        found = np.stack(pairs, axis=-1).reshape(len(self), -1)[:, :count] * 2.0**-53
        return np.asarray(low + found * (high - low)).reshape(len(self), *shape)

    def integers(self, low: int, high: int) -> np.ndarray:
        """Return whole numbers from ``low`` to ``high``, without ``high`` itself, int64 [n]."""
        return np.asarray(low + np.floor(self.uniform() * (high - low)).astype(np.int64))

    def chosen(self, probability: float) -> np.ndarray:
        """Return which examples are chosen, each with a probability: true or false, [n]."""
        return np.asarray(self.uniform() < probability)

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return normal numbers of mean 0 and standard deviation 1, float32 [n, *shape]."""
        found = np.empty((len(self), math.prod(shape)), np.float32)
        key = np.array(self._key, np.uint64)
        for index, (epoch, example) in enumerate(zip(self._epochs, self._examples, strict=True)):
            counter = np.array([0, self._next, epoch, example], np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
            generator.standard_normal(out=found[index], dtype=np.float32)
        self._next += 1
        return found.reshape(len(self), *shape)

    def others(self, examples: int) -> np.ndarray:
        """Return another example for every one, int64 [n], all equally likely; of one only itself."""
        shift = self.integers(1, max(2, examples))
        return np.asarray((self._examples.astype(np.int64) + shift) % examples)
