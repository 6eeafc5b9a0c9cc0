"""Labels beside the examples that a graph reads: those that its training compared with its outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from expkit.data.dataset import Dataset
from expkit.errors import DataError, reading
from expkit.export.inside import checked as checked_facts
from expkit.kinds.losses import MeanSquaredError
from expkit.kinds.losses_regression import AbsoluteError, Huber
from expkit.kinds.metrics import MeanAbsoluteError
from expkit.kinds.metrics_regression import R2, MeanSquaredErrorMetric, RootMeanSquaredError
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.strings import is_text, strings
from expkit.preflight import CheckedConfig
from expkit.training.by_class import classified_outputs

__all__ = ["GivenLabels", "LabelColumns", "class_numbers", "label_columns", "labels_read"]

REGRESSIONS = (
    *(MeanSquaredError, AbsoluteError, Huber),
    *(MeanAbsoluteError, MeanSquaredErrorMetric, RootMeanSquaredError, R2),
)
"""Losses and metrics of labels in the unit of the output."""


@dataclass(frozen=True)
class GivenLabels:
    """The labels of examples for an output."""

    column: str
    """Name of their column, or of several."""
    values: Array
    """[examples] Names of classes, ``bytes``, empty where there is none; or numbers [examples, ...], NaN for none."""
    classes: Sequence[str] | None
    """Names of the classes, their numbers where they have no names; ``None`` of numbers."""


@dataclass(frozen=True)
class LabelColumns:
    """The columns of the labels of an output."""

    columns: tuple[str, ...]
    classes: tuple[str, ...] | None
    """Names of the classes, their numbers where they have no names; ``None`` of numbers."""

    @property
    def type(self) -> Literal["text", "float64"]:
        """Type of the columns: classes are read as text, also those that are numbers."""
        return "float64" if self.classes is None else "text"

    def given(self, values: Array) -> GivenLabels:
        """Return labels with values that were read."""
        if self.classes is not None and not is_text(values.dtype):
            words = ["" if value != value else str(value) for value in values[:].tolist()]
            values = strings([word.encode() for word in words], (len(words),))
        return GivenLabels(", ".join(self.columns), values, self.classes)


def labels_read(checked: CheckedConfig, dataset: Dataset, inputs: Collection[str]) -> dict[str, Any]:
    """Return the metadata of labels: ``labels``, their columns by output, and ``predicts``, classes or numbers.

    Args:
        checked: the configuration.
        dataset: its data.
        inputs: fields that the network reads, which are not labels.
    """
    found = {
        item.output: (item.labels, "classes") for item in classified_outputs(checked.config, checked.spec, dataset)
    }
    for reader in checked.config.train.readers.values():
        if isinstance(reader, REGRESSIONS) and len(checked.spec.trained.output_spec(reader.output).shape) <= 1:
            found.setdefault(reader.output, (reader.labels, "numbers"))
    labels, predicts = {}, {}
    for output, (field, what) in found.items():
        columns = list(dataset.columns.get(field, [field]))
        served = output in checked.spec.served.outputs and field not in {*inputs, *dataset.preprocessing}
        if served and (len(columns) == 1 or what == "numbers"):  # Columns of several classes are one-hot.
            labels[output], predicts[output] = columns, what
    return {"labels": labels, "predicts": predicts}


def label_columns(metadata: Mapping[str, Any]) -> dict[str, LabelColumns]:
    """Return the columns of labels by output, from the metadata of a graph.

    Raises:
        DataError: the metadata, of a file of others, is not of its form.
    """
    with reading("INPUT", "the graph's metadata does not say which labels it predicts", raises=DataError):
        about = checked_facts({key: metadata[key] for key in ("labels", "predicts", "classes") if key in metadata})
    found = {}
    for output, columns in about.get("labels", {}).items():
        if columns and output in metadata["outputs"]:
            of_classes = about.get("predicts", {}).get(output) == "classes"
            names = about.get("classes", {}).get(output) or _numbers(metadata["outputs"][output])
            found[output] = LabelColumns(tuple(columns), tuple(names) if of_classes else None)
    return found


def _numbers(output: Mapping[str, Any]) -> list[str]:
    """Return the numbers of the classes of an output; of one logit, of both."""
    shape = output.get("shape") or [None]
    size = shape[-1] if len(shape) == 2 and shape[-1] != 1 else 2
    return [*map(str, range(size or 0))]


def class_numbers(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return the number of the class that each label names; -1 where it names none.

    A label that is a number, such as ``3.0``, names the class ``3``.
    """
    places = {name: place for place, name in enumerate(classes)}
    known = {
        label: places.get(text, places.get(_whole(text), -1))
        for label in set(labels.tolist())
        for text in [_text(label)]
    }
    return np.array([known[label] for label in labels.tolist()], np.int64)


def _text(label: bytes) -> str:
    return label.decode("utf-8", "replace")


def _whole(text: str) -> str:
    """Return a whole number as its digits, and any other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text
