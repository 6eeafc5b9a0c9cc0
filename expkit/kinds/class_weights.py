"""Weights of classes: by number or name, or those that balance the training examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field

from expkit import tf1 as tf
from expkit.errors import unknown
from expkit.kinds.evaluated import Readable
from expkit.kinds.weighting import Classed

__all__ = ["BALANCED", "ClassWeighted", "class_number"]


def _distinct_from_zero(weights: Any) -> Any:
    if weights == BALANCED:
        return weights
    values = list(weights.values()) if isinstance(weights, dict) else list(weights)
    if values and not any(values):
        raise ValueError("every weight is 0, so that no class would count; give at least one class a weight")
    return weights


BALANCED = "balanced"
"""Class weights that follow from the training examples."""

Number = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]


class ClassWeighted(Classed):
    """A loss or a metric of classes that have weights."""

    class_weights: (
        Annotated[
            Literal["balanced"]
            | Annotated[tuple[Weight, ...], Field(min_length=1, strict=False)]
            | Annotated[dict[Number | str, Weight], Field(min_length=1)],
            AfterValidator(_distinct_from_zero),
        ]
        | None
    ) = None
    """Weight of every class: a list, ``{class: weight}`` where other classes have 1, or ``balanced``.

    It is the weight of the positions whose label it is, and multiplied with ``weights``: the mean is divided by their
    sum, as scikit-learn's and PyTorch's is. Labels from 0 to 1 per logit have classes 0 and 1. A class is named by its
    text where labels are text, else by its number. ``balanced``: ``examples / (classes * examples of the class)`` of
    the training split, as scikit-learn's; with ``weights`` an example counts as often as its weight says.
    """

    def named(self, names: Sequence[str] | None) -> Self:
        """Return a copy that names classes by their numbers.

        Args:
            names: the texts of the labels, in the order of their numbers; ``None`` where labels are numbers.

        Raises:
            ValueError: a class has another name.
        """
        if not isinstance(self.class_weights, dict):
            return self
        weights = {class_number(name, names): weight for name, weight in self.class_weights.items()}
        return self.model_copy(update={"class_weights": weights})

    def class_counts(self, readable: Readable) -> np.ndarray:
        """Return the sum of the weights of the labels of each class, from arrays."""
        output, labels = readable.outputs[self.output].shape, readable.fields[self.labels]
        form = self.form(output, labels.shape[1:])
        weights = np.ones(labels.shape[: labels.ndim - (form == "rows")])
        if self.weights is not None:
            given = readable.fields[self.weights]
            given = given.reshape(len(given)) if given.shape[1:] == (1,) else given
            weights = weights * given.reshape(given.shape + (1,) * (weights.ndim - given.ndim))
        if form == "rows":
            return np.asarray(weights.ravel() @ labels.reshape(-1, labels.shape[-1]).astype(np.float64))
        labels, weights = self.without_ignored(labels, weights)
        if form == "bits":
            ones = labels.astype(np.float64)
            return np.array([((1 - ones) * weights).sum(), (ones * weights).sum()])
        classes = output[-1]
        assert classes is not None, "checked with the data"
        return np.bincount(labels.astype(np.int64).ravel(), weights.ravel(), minlength=classes)

    def balanced(self, counts: np.ndarray) -> Self:
        """Return a copy with the weights that balance classes of some counts, all above 0."""
        weights = counts.sum() / (len(counts) * counts)
        return self.model_copy(update={"class_weights": tuple(weights.tolist())})

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
        assert not isinstance(self.class_weights, str), "weights are known once the data is loaded"
        return list(self.class_weights or ())

    def _classes_problem(self, classes: int | None) -> str | None:
        if classes is None:
            return "class_weights need an output whose last size is known; give the size in network.inputs"
        if isinstance(self.class_weights, dict):
            beyond = [name for name in self.class_weights if str(name).isdecimal() and int(name) >= classes]
            return f"class_weights: there is no class {beyond[0]}; allowed: 0 to {classes - 1}" if beyond else None
        if self.class_weights == BALANCED:
            return None
        given = len(self.class_weights or ())
        if given == classes:
            return None
        return f"class_weights: {given} weights for {classes} classes; give {classes}, or a mapping by class number"


def class_number(name: int | str, names: Sequence[str] | None) -> int:
    """Return the number of a class that a configuration names, by the text of its labels or by its number.

    Args:
        name: the class.
        names: the texts of the labels, in the order of their numbers; ``None`` where labels are numbers.

    Raises:
        ValueError: there is no such class.
    """
    if names is not None and str(name) in names:
        return names.index(str(name))
    if isinstance(name, int) or name.isdecimal():
        return int(name)
    if names is None:
        raise ValueError(f"labels are numbers, so there is no class '{name}'; name a class by its number, from 0 on")
    raise ValueError(unknown(f"there is no class '{name}'", name, names, label="classes"))
