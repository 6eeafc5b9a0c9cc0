"""Precision, recall, F1 and the number of examples of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.kinds.losses import SoftmaxCrossEntropy, SparseSoftmaxCrossEntropy
from expkit.kinds.metrics import Accuracy, TopK
from expkit.kinds.metrics_classes import F1, ConfusionMetric, Precision, Recall, labels_of_classes
from expkit.kinds.sources.folder import printable
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig, with_config

__all__ = ["ClassTable", "Classified", "classified_outputs", "with_class_metrics"]

COLUMNS = ("precision", "recall", "F1")


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Precision, recall and F1 of each class of an output."""

    title: str
    names: tuple[str, ...]
    """Names of the classes; their numbers where labels are not text."""
    values: Mapping[str, np.ndarray]
    """Precision, recall and F1 [classes, 3], by weights."""
    support: np.ndarray
    """[classes] Number of examples whose label names the class."""

    @classmethod
    def of(cls, title: str, names: Sequence[str], sums: Mapping[str, Mapping[str, Any]]) -> ClassTable:
        """Return the table of summed statistics of a ``ConfusionMetric`` by weights; no names stand for numbers."""
        values = {
            weights: np.stack([metric().values_of_classes(own) for metric in (Precision, Recall, F1)], axis=1)
            for weights, own in sums.items()
        }
        support = labels_of_classes(next(iter(sums.values()))).astype(np.int64)
        return cls(
            title=title, names=tuple(names) or tuple(map(str, range(len(support)))), values=values, support=support
        )

    def lowest(self, count: int) -> list[int]:
        """Return the numbers of as many classes, those of the lowest F1, in order."""
        *_, last = self.values.values()
        chosen: list[int] = sorted(last[:, COLUMNS.index("F1")].argsort(kind="stable")[:count].tolist())
        return chosen

    def rows(self, classes: Sequence[int]) -> list[list[str]]:
        """Return headings, then the rows of some classes as text, with raw and EMA weights side by side."""
        suffixes = {"raw": "", "ema": " EMA"}
        headings = [f"{column}{suffixes[weights]}" for weights in self.values for column in COLUMNS]
        rows = [["class", *headings, "support"]]
        for number in classes:
            values = [f"{value:.4f}" for of in self.values.values() for value in of[number].tolist()]
            rows.append([printable(self.names[number]), *values, f"{self.support[number]:,}"])
        return rows


@dataclass(frozen=True, kw_only=True)
class Classified:
    """An output that is compared with one class per example."""

    output: str
    labels: str
    """Field of the labels."""
    names: tuple[str, ...]
    """Names of the classes, if they have any."""
    metric: str
    """Name of the metric whose statistics count the examples of each class."""

    def table(self, sums: Mapping[str, Mapping[str, Any]]) -> ClassTable:
        """Return the table from the metric's summed statistics by weights."""
        return ClassTable.of(f"{self.output} by {self.labels}", self.names, sums)


def classified_outputs(config: Config, spec: NetworkSpec, dataset: Dataset) -> list[Classified]:
    """Return the outputs that a loss or a metric compares with a class per example."""
    train, spec = config.train, spec.trained
    kinds = SparseSoftmaxCrossEntropy | SoftmaxCrossEntropy | Accuracy | TopK | ConfusionMetric
    readers = [item for item in train.readers.values() if isinstance(item, kinds)]
    found: list[Classified] = []
    rows = [item for item in readers if getattr(item, "ignore", None) is None]  # else some labels are not classes
    for output, labels in dict.fromkeys((item.output, item.labels) for item in rows):
        metric, shape = F1(output=output, labels=labels), spec.output_spec(output).shape
        parts = [part[labels] for part in dataset.splits.values()]  # rows of some examples may have several classes
        read = [np.asarray(part[: None if part.ndim > 1 else 1]) for part in parts]
        problems = (metric.data_problem(replace(spec.readable, fields={labels: part})) for part in read if len(part))
        if len(shape) > 1 or any(problems):
            continue
        names = dataset.classes[labels].names if labels in dataset.classes else ()
        name = f"by_class_{len(found)}"
        while name in train.metrics:
            name += "_"
        found.append(Classified(output=output, labels=labels, names=names, metric=name))
    return found


def with_class_metrics(checked: CheckedConfig, classified: list[Classified]) -> CheckedConfig:
    """Return a configuration whose evaluation counts the examples of each class, too."""
    train = checked.config.train
    metrics = {item.metric: F1(output=item.output, labels=item.labels) for item in classified}
    train = train.model_copy(update={"metrics": {**train.metrics, **metrics}})
    return with_config(checked, checked.config.model_copy(update={"train": train}))
