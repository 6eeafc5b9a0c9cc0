"""Weights of examples and positions: from a field of the data, from ignored labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.evaluated import Evaluated, Labeled, Readable
from expkit.tensor_spec import Shape, fits, sizes_text

__all__ = ["Classed", "Ignoring", "LabelForm", "Smoothed", "Weighted"]

LabelForm = Literal["numbers", "bits", "rows"]
"""Class numbers at every position; numbers from 0 to 1 per logit; one-hot rows or probabilities."""


class Weighted(Evaluated):
    """A loss or a metric whose examples, positions or values have weights."""

    counts: ClassVar[Literal["examples", "positions", "values"] | None] = None
    """Units that each have a value: an example, a position (all dimensions but the last), every value of the output.

    ``None`` where only ``values`` knows.
    """

    weights: str | None = None
    """Field of the data with weights: one per example, or of the leading dimensions of an example's values.

    A mean is divided by the sum of the weights, so that weight 2 equals the example twice and weight 0 its absence;
    a mask is a field of true and false. With gradient accumulation every batch is divided by its own sum.
    """

    @property
    def data_fields(self) -> dict[str, str]:
        """Names of the fields of the data that it reads, by the field that names them."""
        return super().data_fields | self.names(("weights",))

    @property
    def weighted(self) -> bool:
        """True if not all weights are 1."""
        return self.weights is not None

    def prepared(self, read: dict[str, Any]) -> dict[str, Any]:
        """Return the tensors that it reads, with labels that stand for nothing replaced by 0."""
        return read

    def factors(self, readable: Readable) -> list[Any]:
        """Return the float32 tensors, [batch, ...] each, whose product is the weights; none where all are 1."""
        return [] if self.weights is None else [tf.cast(readable.fields[self.weights], tf.float32)]

    def shape_of_values(self, read: Mapping[str, Any]) -> Shape | None:
        """Return the shape of an example's values, ``None`` if unknown; ``read`` holds specs and arrays."""
        shape: Shape = read["output"].shape
        return {"examples": (), "positions": shape[:-1], "values": shape, None: None}[self.counts]

    def counted(self, readable: Readable) -> np.ndarray:
        """Return whether any value of each example counts, from arrays."""
        weights = np.ones((1, 1)) if self.weights is None else readable.fields[self.weights]
        return np.asarray((weights != 0).reshape(len(weights), -1).any(axis=1))

    def weights_problem(self, weights: Shape, values: Shape) -> str | None:
        """Return why weights of a shape do not fit values of a shape, those of an example."""
        if weights in ((), (1,)) or fits(values[: len(weights)], weights):
            return None
        allowed = ", ".join(sizes_text(values[:end]) for end in range(len(values) + 1))
        return f"the weights in '{self.weights}' have shape {sizes_text(weights)} per example; allowed: {allowed}"

    def data_problem(self, readable: Readable) -> str | None:
        """Return why weights or other data do not fit, or ``None`` if they do."""
        if problem := super().data_problem(readable):
            return problem
        if self.weights is None:
            return None
        weights, shape = readable.fields[self.weights], self.shape_of_values(self.read(readable))
        if shape is not None and (problem := self.weights_problem(weights.shape[1:], shape)):
            return problem
        return _negative_problem(weights, self.weights)


class Classed(Weighted, Labeled):
    """A loss or a metric of labels that name classes."""

    label_forms: ClassVar[tuple[LabelForm, ...]] = ("numbers",)
    """Forms that labels may have: one, or ``numbers`` and another, which is that of labels of the output's shape."""

    def form(self, output: Shape, labels: Shape) -> LabelForm:
        """Return the form of labels; shapes are those of an example."""
        if len(self.label_forms) == 1:
            return self.label_forms[0]
        if output[-1:] in ((), (1,)):
            return "bits"
        return self.label_forms[1] if len(labels) == len(output) else "numbers"

    def without_ignored(self, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return arrays of labels and their weights, with weight 0 and another label where a label is ignored."""
        return labels, weights

    def shape_of_values(self, read: Mapping[str, Any]) -> Shape | None:
        """Return the shape of an example's values: that of the labels, or of their rows."""
        shape: Shape = read["labels"].shape[1:]
        rows = self.form(read["output"].shape, shape) == "rows"
        return super().shape_of_values(read) if self.counts else shape[:-1] if rows else shape


class Ignoring(Classed):
    """A loss or a metric of class numbers, one of which may stand for nothing."""

    ignore: int | None = None
    """Label of positions that are left out, such as -1; it need not be a class."""

    @property
    def weighted(self) -> bool:
        """True if not all weights are 1."""
        return super().weighted or self.ignore is not None

    def prepared(self, read: dict[str, Any]) -> dict[str, Any]:
        """Return the tensors that it reads, with ignored labels replaced by 0."""
        if self.ignore is None:
            return read
        labels = _comparable(read["labels"])
        return read | {"labels": tf.where_v2(tf.equal(labels, self.ignore), tf.zeros_like(labels), labels)}

    def factors(self, readable: Readable) -> list[Any]:
        """Return the weights of the data, and 0 where a label is ignored."""
        factors = super().factors(readable)
        if self.ignore is not None:
            counted = tf.not_equal(_comparable(readable.fields[self.labels]), self.ignore)
            factors.append(tf.cast(counted, tf.float32))
        return factors

    def without_ignored(self, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return arrays of labels and their weights, with weight 0 and label 0 where a label is ignored."""
        ignored = labels == self.ignore
        return np.where(ignored, np.zeros_like(labels), labels), np.where(ignored, 0.0, weights)

    def counted(self, readable: Readable) -> np.ndarray:
        """Return whether any value of each example counts, from arrays."""
        counted = super().counted(readable)
        if self.ignore is None:
            return counted
        labels = readable.fields[self.labels]
        return np.asarray(counted & (labels != self.ignore).reshape(len(labels), -1).any(axis=1))

    def data_problem(self, readable: Readable) -> str | None:
        """Return why labels, weights or other data do not fit; ignored labels fit."""
        if self.ignore is None:
            return super().data_problem(readable)
        labels = readable.fields[self.labels]
        if self.form(readable.outputs[self.output].shape, labels.shape[1:]) == "rows":
            return f"ignore needs class numbers as labels, these are rows of shape {list(labels.shape[1:])} per example"
        without = {self.labels: np.where(labels == self.ignore, np.zeros_like(labels), labels)}
        return super().data_problem(replace(readable, fields={**readable.fields, **without}))


class Smoothed(Labeled):
    """A loss whose labels may be smoothed."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of every label that is spread evenly over all classes: of 0 and 1 per logit, over these two."""


def _comparable(labels: Any) -> Any:
    """Return labels in a dtype that holds any class number, negative ones too."""
    return labels if labels.dtype.is_floating else tf.cast(labels, tf.int64)


def _negative_problem(weights: np.ndarray, field: str) -> str | None:
    negative = weights < 0
    examples = negative.reshape(len(weights), -1).any(axis=1)
    if not examples.any():
        return None
    first = int(examples.argmax())
    value = weights[first][negative[first]].flat[0]
    return (
        f"{examples.sum():,} of {len(weights):,} examples have a negative weight in '{field}', the first is {value} "
        f"(example {first}); weights are at least 0"
    )
