"""Weights of examples and positions: from a field of the data, from ignored labels, by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from expkit import tf1 as tf
from expkit.kinds.evaluated import Evaluated, Labeled, Readable
from expkit.tensor_spec import Shape, fits, sizes_text

__all__ = ["ClassWeighted", "Classed", "Ignoring", "LabelForm", "Smoothed", "Weighted"]

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


def _distinct_from_zero(weights: Any) -> Any:
    values = list(weights.values()) if isinstance(weights, dict) else list(weights)
    if values and not any(values):
        raise ValueError("every weight is 0, so that no class would count; give at least one class a weight")
    return weights


Number = Annotated[int, Field(ge=0, strict=False)]
Weight = Annotated[float, Field(ge=0)]


class ClassWeighted(Classed):
    """A loss or a metric of classes that have weights."""

    class_weights: (
        Annotated[
            Annotated[tuple[Weight, ...], Field(min_length=1, strict=False)]
            | Annotated[dict[Number, Weight], Field(min_length=1)],
            AfterValidator(_distinct_from_zero),
        ]
        | None
    ) = None
    """Weight of every class, a list or ``{class: weight}``, where other classes have 1.

    It is the weight of the positions whose label it is, and multiplied with ``weights``: the mean is divided by their
    sum, as scikit-learn's and PyTorch's is. Labels from 0 to 1 per logit have classes 0 and 1.
    """

    @property
    def weighted(self) -> bool:
        """True if not all weights are 1."""
        return super().weighted or self.class_weights is not None

    def factors(self, readable: Readable) -> list[Any]:
        """Return the weights of the data, and those of classes."""
        factors = super().factors(readable)
        if self.class_weights is None:
            return factors
        read = self.prepared(self.read(readable))
        output, labels = read["output"], read["labels"]
        form = self.form(tuple(output.shape[1:]), tuple(labels.shape[1:]))
        weights = tf.constant(self._by_class(2 if form == "bits" else output.shape[-1]), tf.float32)
        if form == "numbers":
            factors.append(tf.gather(weights, tf.cast(labels, tf.int32)))
        elif form == "bits":
            label = tf.cast(labels, tf.float32)
            factors.append((1 - label) * weights[0] + label * weights[1])
        else:
            factors.append(tf.reduce_sum(tf.cast(labels, tf.float32) * weights, axis=-1))
        return factors

    def data_problem(self, readable: Readable) -> str | None:
        """Return why labels, class weights, weights or other data do not fit."""
        if problem := super().data_problem(readable):
            return problem
        if self.class_weights is None:
            return None
        output, labels = readable.outputs[self.output].shape, readable.fields[self.labels]
        return self._classes_problem(2 if self.form(output, labels.shape[1:]) == "bits" else output[-1])

    def network_problem(self, readable: Readable) -> str | None:
        """Return why outputs do not fit, where the labels cannot change the number of classes."""
        if problem := super().network_problem(readable):
            return problem
        output = readable.outputs[self.output].shape
        one = output[-1:] in ((), (1,))
        if self.class_weights is None or ("bits" in self.label_forms[1:] and not one):
            return None
        return self._classes_problem(2 if one or self.label_forms[0] == "bits" else output[-1])

    def _by_class(self, classes: int) -> list[float]:
        if isinstance(self.class_weights, dict):
            return [self.class_weights.get(number, 1.0) for number in range(classes)]
        return list(self.class_weights or ())

    def _classes_problem(self, classes: int | None) -> str | None:
        if classes is None:
            return "class_weights need an output whose last size is known; give the size in network.inputs"
        if isinstance(self.class_weights, dict):
            unknown = [number for number in self.class_weights if number >= classes]
            return f"class_weights: there is no class {unknown[0]}; allowed: 0 to {classes - 1}" if unknown else None
        given = len(self.class_weights or ())
        if given == classes:
            return None
        return f"class_weights: {given} weights for {classes} classes; give {classes}, or a mapping by class number"


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
