"""Predictions of a classification output on all test examples, counted batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from expkit.kinds.sources.on_disk import Array
from expkit.training.by_class import ClassTable

__all__ = ["Head", "HeadCounter"]

MAX_WORST = 24
"""Maximum number of misclassified examples that are shown."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Predictions of a classification output on the test split."""

    classes: int
    pairs: np.ndarray
    """[pairs, 3] integers: true class, predicted class, number of examples."""
    worst: np.ndarray
    """[errors, 3] integers: index in the test split, true class, predicted class; worst first."""
    certainty: np.ndarray
    """[errors] probability of the predicted class."""
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Images among the inputs of the errors, [errors, height, width, channels], by name."""
    names: tuple[str, ...] = ()
    """Names of the classes, where the labels are text."""

    def name_of(self, number: int) -> str:
        """Return the name of a class; its number where it has none."""
        return self.names[number] if number < len(self.names) else str(number)

    @property
    def wrong(self) -> int:
        """Number of misclassified examples."""
        return int(self.pairs[self.pairs[:, 0] != self.pairs[:, 1], 2].sum())

    @property
    def examples(self) -> int:
        """Number of examples."""
        return int(self.pairs[:, 2].sum())

    def class_table(self, title: str, weights: str) -> ClassTable:
        """Return precision, recall and F1 of every class."""
        true, predicted, count = self.pairs.T
        right = true == predicted
        sums = {
            "labeled": np.bincount(true, count, self.classes),
            "predicted": np.bincount(predicted, count, self.classes),
            "correct": np.bincount(true[right], count[right], self.classes),
            "count": self.examples,
        }
        return ClassTable.of(title, self.names, {weights: sums})


@final
class HeadCounter:
    """Counts predictions batch by batch: memory grows with the number of classes alone."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Create a counter of no examples; ``names`` are those of the classes, if they have any."""
        self._names = tuple(names)
        self._classes = self._done = 0
        self._pairs = self._counts = np.zeros(0, np.int64)
        self._worst = np.zeros((0, 3), np.int64)
        self._true, self._taken = np.zeros((2, 0))

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Add the examples of a batch.

        Args:
            logits: [examples, classes], or one logit of two classes.
            labels: [examples] numbers of classes, or [examples, classes] one-hot.
        """
        shifted = logits.reshape(len(logits), -1).astype(np.float64)
        targets = labels.argmax(axis=1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
        if shifted.shape[1] == 1:
            shifted, targets = np.concatenate([np.zeros_like(shifted), shifted], axis=1), targets > 0.5
        targets, self._classes = targets.astype(np.int64), shifted.shape[1]
        shifted -= shifted.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        predicted, rows = log_probabilities.argmax(axis=1), np.arange(len(targets))
        found, counts = np.unique(targets * self._classes + predicted, return_counts=True)
        pairs, places = np.unique(np.concatenate([self._pairs, found]), return_inverse=True)
        self._counts = np.bincount(places, np.concatenate([self._counts, counts]), len(pairs)).astype(np.int64)
        self._pairs = pairs
        self._worst = np.concatenate([self._worst, np.stack([self._done + rows, targets, predicted], axis=1)])
        self._true = np.concatenate([self._true, log_probabilities[rows, targets]])
        self._taken = np.concatenate([self._taken, log_probabilities[rows, predicted]])
        self._done += len(targets)
        right = self._worst[:, 1] == self._worst[:, 2]
        kept = np.lexsort((self._worst[:, 0], self._true, right))[:MAX_WORST]  # Errors first, the worst before others.
        self._worst, self._true, self._taken = self._worst[kept], self._true[kept], self._taken[kept]

    def head(self, images: Mapping[str, tuple[Array, tuple[int, ...]]]) -> Head:
        """Return the counts of all examples; without an error the least certain examples are in place of the worst.

        Args:
            images: by name the test examples of an input that are images, with the shape of one.
        """
        wrong = self._worst[:, 1] != self._worst[:, 2]
        shown = wrong if wrong.any() else ~wrong
        worst = self._worst[shown]
        return Head(
            classes=self._classes,
            pairs=np.stack([self._pairs // self._classes, self._pairs % self._classes, self._counts], axis=1),
            worst=worst,
            certainty=np.exp(self._taken[shown]),
            images={name: array[worst[:, 0]].reshape(-1, *shape) for name, (array, shape) in images.items()},
            names=self._names,
        )
