"""Batches of training examples, prepared in a thread ahead of the steps that read them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from expkit import tf1 as tf
from expkit.data.augment import Augmentation, AugmentedExamples
from expkit.data.batches import Sampling
from expkit.errors import DataError, error_message
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import examples_at

__all__ = ["PREFETCH", "Stream"]

PREFETCH = 2
"""Number of chunks that are prepared ahead of the one in use."""


@dataclass(frozen=True)
class _Prepared:
    number: int
    fields: Future[dict[str, np.ndarray]]


@final
class Stream:
    """The endless stream of batches that ``Sampling.indices`` describes, in chunks; chunk n starts at step n * steps.

    Chunks are fixed, so the examples do not depend on the steps per call. At most three chunks are held.
    """

    def __init__(self, arrays: Fields, steps: int, sampling: Sampling, plan: Augmentation | None = None) -> None:
        self.steps = steps
        self._arrays = arrays
        self._sampling = sampling
        with tf.Graph().as_default() as graph:
            self._first = tf.placeholder(tf.int64, ())
            self._count = len(next(iter(arrays.values())))
            self._drawn = sampling.indices(self._first, steps, self._count)
        graph.finalize()
        self._session = tf.Session(graph=graph)
        self._augmented = AugmentedExamples(arrays, plan) if plan is not None else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="expkit-stream")
        self._ahead: deque[_Prepared] = deque()

    def chunk(self, number: int) -> dict[str, np.ndarray]:
        """Return fields of shape [steps, batch, ...]; the next chunks are prepared meanwhile.

        Raises:
            DataError: the examples cannot be read or augmented.
        """
        while self._ahead and self._ahead[0].number != number:
            self._ahead.popleft().fields.cancel()
        for following in range(number + len(self._ahead), number + 1 + PREFETCH):
            self._ahead.append(_Prepared(following, self._thread.submit(self._read, following)))
        return self._ahead[0].fields.result()

    def close(self) -> None:
        """End the thread, after the chunk that it is reading."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()
        self._session.close()
        if self._augmented is not None:
            self._augmented.close()

    def _read(self, number: int) -> dict[str, np.ndarray]:
        first = number * self.steps
        drawn: Any = self._session.run(self._drawn, {self._first: first})
        indices = drawn.reshape(-1)
        try:
            if self._augmented is None:
                fields = {name: examples_at(array, indices) for name, array in self._arrays.items()}
            else:
                epochs = self._sampling.epochs(first, self.steps, self._count)
                fields = self._augmented.take(indices, epochs.reshape(-1))
            return {name: rows.reshape(*drawn.shape, *rows.shape[1:]) for name, rows in fields.items()}
        except (OSError, ValueError) as error:
            raise DataError.at(
                "data.source", f"the batches from step {first} on cannot be read: {error_message(error)}"
            ) from error
