"""Labels beside the examples that a graph reads: those that its training compared with its outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from expkit.data.dataset import Dataset
from expkit.data.preprocess import FieldPreprocessing
from expkit.errors import DataError, reading
from expkit.export.inside import checked as checked_facts
from expkit.export.label_steps import preprocessed, read_steps, recorded
from expkit.kinds.losses import MeanSquaredError
from expkit.kinds.losses_regression import AbsoluteError, Huber
from expkit.kinds.metrics import MeanAbsoluteError
from expkit.kinds.metrics_regression import R2, MeanSquaredErrorMetric, RootMeanSquaredError
from expkit.kinds.preprocess.base import TEXT
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.strings import is_text, string_array, strings
from expkit.preflight import CheckedConfig
from expkit.training.by_class import classified_outputs

__all__ = ["GivenLabels", "LabelColumns", "class_numbers", "given_labels", "label_columns", "labels_read"]

REGRESSIONS = (
    *(MeanSquaredError, AbsoluteError, Huber),
    *(MeanAbsoluteError, MeanSquaredErrorMetric, RootMeanSquaredError, R2),
)
"""Losses and metrics of labels in the unit of the output."""
KEYS = ("labels", "predicts", "classes", "label_steps")
"""Metadata of labels and their classes."""


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
    steps: FieldPreprocessing | None = None
    """Preprocessing of the labels, as in training; ``None`` if they are compared as they are."""

    @property
    def type(self) -> Literal["text", "float64"]:
        """Type of the columns: classes are read as text, also those that are numbers."""
        if self.steps is not None:
            return "text" if self.steps.raw.dtype == TEXT else "float64"
        return "float64" if self.classes is None else "text"

    def given(self, values: Array) -> GivenLabels:
        """Return labels with values that were read.

        Raises:
            DataError: they cannot be preprocessed as in training, or are text where numbers are compared.
        """
        name = ", ".join(self.columns)
        if is_text(values.dtype):
            values = string_array(name, values[:])
            if self.type == "float64":
                raise DataError.at("INPUT", f"{name} holds text, not numbers")
        elif self.type == "text":
            values = _words(values[:])
        if self.steps is None:
            return GivenLabels(name, values, self.classes)
        compared = preprocessed(self.steps, values[:], None if self.classes is None else len(self.classes))
        return GivenLabels(f"{name}, preprocessed", compared, self.classes)


def given_labels(
    labels: Mapping[str, LabelColumns], read: Callable[[LabelColumns], Array]
) -> tuple[dict[str, GivenLabels], list[str]]:
    """Return labels by output, and sentences about those that cannot be compared with it.

    Args:
        labels: columns by output.
        read: returns the values of columns, which may raise a DataError.
    """
    given, notes = dict[str, GivenLabels](), list[str]()
    for output, item in labels.items():
        try:
            given[output] = item.given(read(item))
        except DataError as error:
            notes += [f"no score of {output}: {problem.message}" for problem in error.problems]
    return given, notes


def _words(values: np.ndarray) -> np.ndarray:
    """Return numbers of classes as text, of one-hot rows their indices; NaN is the empty text."""
    if values.ndim == 2 and values.shape[1] > 1:
        words = [str(row.argmax()) if row.any() else "" for row in values]
    else:
        words = ["" if value != value else str(value) for value in values.reshape(-1).tolist()]
    return strings([word.encode() for word in words], (len(words),))


def labels_read(checked: CheckedConfig, dataset: Dataset, inputs: Collection[str]) -> dict[str, Any]:
    """Return the metadata of labels: ``labels``, their columns by output, ``predicts``, classes or numbers, and
    ``label_steps``, their preprocessing.

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
    labels, predicts, steps = {}, {}, {}
    for output, (field, what) in found.items():
        columns = list(dataset.columns.get(field, [field]))
        if output not in checked.spec.served.outputs or field in inputs:
            continue
        if field in dataset.preprocessing:
            if (plain := recorded(dataset.preprocessing[field])) is None:
                continue
            steps[output] = plain
        if len(columns) == 1 or what == "numbers":  # Columns of several classes are one-hot.
            labels[output], predicts[output] = columns, what
    return {
        "labels": labels,
        "predicts": predicts,
        "label_steps": {name: steps[name] for name in steps if name in labels},
    }


def label_columns(metadata: Mapping[str, Any]) -> dict[str, LabelColumns]:
    """Return the columns of labels by output, from the metadata of a graph.

    Raises:
        DataError: the metadata, of a file of others, is not of its form.
    """
    with reading("INPUT", "the graph's metadata does not say which labels it predicts", raises=DataError):
        about = checked_facts({key: metadata[key] for key in KEYS if key in metadata})
        steps = {name: read_steps(plain) for name, plain in about.get("label_steps", {}).items()}
    found = {}
    for output, columns in about.get("labels", {}).items():
        if columns and output in metadata["outputs"]:
            of_classes = about.get("predicts", {}).get(output) == "classes"
            names = about.get("classes", {}).get(output) or _numbers(metadata["outputs"][output])
            found[output] = LabelColumns(tuple(columns), tuple(names) if of_classes else None, steps.get(output))
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
