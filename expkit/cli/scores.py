"""Scores of outputs against the labels that stand beside the examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from expkit.cli.classes import class_lines
from expkit.cli.predictions import probabilities
from expkit.errors import comma_list
from expkit.export.labels import GivenLabels, class_numbers
from expkit.kinds.metrics_regression import R2, RootMeanSquaredError
from expkit.kinds.sources.folder import printable
from expkit.training.by_class import ClassTable

__all__ = ["Scores"]

SHOWN = 5
"""Labels of no class that are listed."""
MOST_DIFFERENT = 10_000
"""Different labels of no class that are told apart."""


class Scores:
    """Sums over batches, from which the scores of every output with labels follow."""

    def __init__(self, labels: Mapping[str, GivenLabels]) -> None:
        self._labels = labels
        self._of = {
            name: _Classes(item) if item.classes is not None else _Numbers(item) for name, item in labels.items()
        }
        self._done = 0

    def add(self, outputs: Mapping[str, np.ndarray]) -> None:
        """Add a batch."""
        count = 0
        for name, score in self._of.items():
            if name in outputs:
                count = len(outputs[name])
                score.add(name, outputs[name], self._labels[name].values[self._done : self._done + count])
        self._done += count

    def lines(self) -> Iterator[str]:
        """Yield for every output a line of scores, and for classes a table."""
        for name, score in self._of.items():
            yield ""
            yield from score.lines(name)


class _Classes:
    """Numbers of examples by class: those that are predicted, those that have the label, and both."""

    def __init__(self, labels: GivenLabels) -> None:
        assert labels.classes is not None
        self._column, self._classes = labels.column, labels.classes
        self._correct, self._predicted, self._labeled = np.zeros((3, len(labels.classes)), np.int64)
        self._unknown = Counter[bytes]()
        self._without = 0

    def add(self, name: str, output: np.ndarray, labels: np.ndarray) -> None:
        best = probabilities(name, output, self._classes).argmax(axis=1)
        numbers = class_numbers(labels, self._classes)
        for label in labels[numbers < 0].tolist():
            if not label.strip():
                self._without += 1
            elif label in self._unknown or len(self._unknown) < MOST_DIFFERENT:
                self._unknown[label] += 1
            else:
                self._unknown[b"..."] += 1
        best, numbers = best[numbers >= 0], numbers[numbers >= 0]
        for counts, of in (
            (self._predicted, best),
            (self._labeled, numbers),
            (self._correct, numbers[best == numbers]),
        ):
            counts += np.bincount(of, minlength=len(counts))

    def lines(self, output: str) -> Iterator[str]:
        count, correct = int(self._labeled.sum()), int(self._correct.sum())
        yield from _left_out(self._column, self._without)
        if self._unknown:
            shown = comma_list(
                [
                    f"'{printable(label.decode('utf-8', 'replace'))}' {number:,}"
                    for label, number in self._unknown.most_common()
                ],
                SHOWN,
            )
            unknown = self._unknown.total()
            yield (
                f"{_have(unknown)} a label in '{self._column}' that training never saw, left out of the score: {shown}"
            )
        if not count:
            yield f"{output} by {self._column}: no score, because no example has a label that training saw"
            return
        yield f"{output} by {self._column}: accuracy {correct / count:.4f} ({correct:,} of {count:,})"
        sums = {"correct": self._correct, "predicted": self._predicted, "labeled": self._labeled, "count": count}
        yield from class_lines(ClassTable.of(output, self._classes, {"raw": sums}))


class _Numbers:
    """Sums of squared and absolute differences, labels and squared labels, by column."""

    def __init__(self, labels: GivenLabels) -> None:
        self._column = labels.column
        self._count = self._without = 0
        self._sums: dict[str, np.ndarray] = {}

    def add(self, name: str, output: np.ndarray, labels: np.ndarray) -> None:
        label = labels.reshape(len(labels), -1).astype(np.float64)
        present = np.isfinite(label).all(axis=1)
        label, value = label[present], output.reshape(len(output), -1).astype(np.float64)[present]
        difference = value - label
        found = {"residual": difference**2, "distance": abs(difference), "sum": label, "square": label**2}
        for name, rows in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + rows.sum(axis=0, keepdims=True)
        self._count += len(label)
        self._without += int((~present).sum())

    def lines(self, output: str) -> Iterator[str]:
        yield from _left_out(self._column, self._without)
        if not self._count:
            yield f"{output} by {self._column}: no score, because no example has a label"
            return
        sums = {**self._sums, "count": self._count}
        root = RootMeanSquaredError(output=output, labels=self._column).result(sums)
        r2 = R2(output=output, labels=self._column).result(sums)
        mean = float(np.mean(self._sums["distance"])) / self._count
        yield f"{output} by {self._column}: RMSE {root:.6g}  MAE {mean:.6g}  R2 {r2:.4f}  ({self._count:,} examples)"


def _left_out(column: str, count: int) -> Iterator[str]:
    if count:
        yield f"{_have(count)} no label in '{column}', left out of the score"


def _have(count: int) -> str:
    return "1 example has" if count == 1 else f"{count:,} examples have"
