"""The preprocessing of a field: its steps with what they have fitted, as operations of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.errors import Problem, comma_list
from expkit.kinds.preprocess.base import TEXT, Fitted, Preprocess
from expkit.kinds.sources.on_disk import Array
from expkit.tensor_spec import Shape, ShapeError, TensorSpec, accepts, fits

__all__ = [
    "FieldPreprocessing",
    "Step",
    "preprocessing_of",
    "raw_spec",
    "spec_problems",
]

PARALLEL = 10
"""Examples of other sizes than the others' that a frozen graph computes at once."""


@dataclass(frozen=True)
class Step:
    """A step of preprocessing with the arrays that it has fitted."""

    kind: Preprocess
    fitted: Fitted

    def plain(self) -> dict[str, Any]:
        """Return plain values, for ``of``: the fields of the kind, and what was fitted."""
        fitted = {name: {"dtype": array.dtype.str, "values": _plain(array)} for name, array in self.fitted.items()}
        return {**self.kind.model_dump(exclude_defaults=True), "kind": self.kind.kind, "fitted": fitted}

    @classmethod
    def of(cls, kind: Preprocess, plain: Mapping[str, Any]) -> Step:
        """Return a step of a kind, with what was fitted from its plain values."""
        return cls(kind, {name: _array(item["values"], item["dtype"]) for name, item in plain["fitted"].items()})


@dataclass(frozen=True, kw_only=True)
class FieldPreprocessing:
    """The fitted preprocessing of one field."""

    field: str
    raw: TensorSpec
    """Shape and dtype of the values that the source gives, as a graph reads them."""
    kept: Sequence[Step] = ()
    """Steps that are computed once."""
    in_step: Sequence[Step] = ()
    """Steps that every training step computes of the values that are kept."""
    kept_shape: Shape | None = None
    """Shape of an example that is kept, as the data has it; ``None`` before it is computed."""

    @property
    def kept_spec(self) -> TensorSpec:
        """Shape and dtype of the values that are kept for training."""
        spec = _spec_after(self.kept, self.raw)
        return spec if self.kept_shape is None else replace(spec, shape=self.kept_shape)

    @property
    def reads_files(self) -> bool:
        """Whether the source's values are bytes of files, such as images."""
        return any(step.kind.reads_files for step in (*self.kept, *self.in_step)[:1])

    @property
    def names(self) -> tuple[str, ...]:
        """Fields of the result: those that the last step yields, or the field itself."""
        steps = (*self.kept, *self.in_step)
        return (steps[-1].kind.yields if steps else ()) or (self.field,)

    @property
    def kept_specs(self) -> dict[str, TensorSpec]:
        """Shape and dtype of the values that are kept for training, by field that comes of it."""
        spec = self.kept_spec
        return {self.field: spec} if self.names == (self.field,) else _parts(self.names, spec)

    @property
    def shape(self) -> Shape:
        """Shape of an example's result."""
        return _spec_after(self.in_step, self.kept_spec).shape

    def plain(self) -> list[dict[str, Any]]:
        """Return the steps with what was fitted, in plain values."""
        return [step.plain() for step in (*self.kept, *self.in_step)]

    def connect_kept(self, raw: Any, *, parallel: int = PARALLEL) -> Any:
        """Return the values that are kept, for values [batch, ...] as the source gives them.

        Args:
            raw: the values.
            parallel: number of examples that are computed at once where their sizes differ; no number depends on it.
        """
        kept = _connect(self.kept, raw, self.raw, parallel)
        shape = (None, *self.kept_spec.shape)
        # Images that are not resized may have another size than those of training.
        return kept if kept.shape.as_list() == list(shape) else tf.ensure_shape(kept, shape)

    def parts(self, kept: Any) -> dict[str, Any]:
        """Return values that are kept, an array or a tensor, by field that comes of them."""
        if self.names == (self.field,):
            return {self.field: kept}
        return {name: kept[:, place] for place, name in enumerate(self.names)}

    def connect_in_step(self, kept: Any) -> Any:
        """Return the result for values that were kept, whole numbers also as the source gives them."""
        return _connect(self.in_step, tf.cast(kept, self.kept_spec.dtype), self.kept_spec, PARALLEL)


def preprocessing_of(preprocessing: Mapping[str, FieldPreprocessing]) -> dict[str, FieldPreprocessing]:
    """Return the preprocessing by field that comes of it, given it by field of the data."""
    return {name: item for item in preprocessing.values() for name in item.names}


def raw_spec(steps: Sequence[Preprocess], array: Array) -> TensorSpec:
    """Return the shape and dtype in which a graph reads values that these steps preprocess."""
    return TensorSpec(tuple(array.shape[1:]), steps[0].raw_dtype(array.dtype))


def spec_problems(
    field: str, steps: Sequence[Preprocess], raw: TensorSpec, inputs: Mapping[str, TensorSpec]
) -> list[Problem]:
    """Return why steps do not fit values of a shape and dtype, or why their result is not what the network reads.

    Args:
        field: name of the field.
        steps: steps in order.
        raw: shape and dtype of the values.
        inputs: inputs of the network, by name.
    """
    spec = raw
    for number, step in enumerate(steps):
        try:
            spec = step.output_spec(spec)
        except ShapeError as error:
            return [Problem(f"data.preprocess.{field}.{number}", str(error))]
    names = steps[-1].yields
    if names and field in inputs:
        message = f"data.preprocess.{field} yields {comma_list(names)} in its place; read these"
        return [Problem(f"network.inputs.{field}", message)]
    problems = []
    for name, part in (_parts(names, spec) if names else {field: spec}).items():
        wanted = inputs.get(name)
        if wanted is None or (fits(wanted.shape, part.shape) and part.dtype != TEXT and _accepts(wanted, part)):
            continue
        what = f"{name} {part}" if names else f"{part}"
        message = f"yields {what}, but network.inputs.{name} is {wanted}; change the steps or the input"
        problems.append(Problem(f"data.preprocess.{field}", message))
    return problems


def _connect(steps: Sequence[Step], values: Any, spec: TensorSpec, parallel: int) -> Any:
    """Return the result of steps, one example at a time where sizes differ from example to example."""
    position = 0
    while position < len(steps):
        if not steps[position].kind.one_by_one:
            values = steps[position].kind.apply(values, steps[position].fitted)
            spec = steps[position].kind.output_spec(spec)
            position += 1
            continue
        end = position
        while end == position or (None in spec.shape and end < len(steps)):
            spec = steps[end].kind.output_spec(spec)
            end += 1
        values = _one_by_one(steps[position:end], values, spec, parallel)
        position = end
    return values


def _one_by_one(steps: Sequence[Step], values: Any, spec: TensorSpec, parallel: int) -> Any:
    @tf.unconverted
    def result_of(value: Any) -> Any:
        value = value[None]
        for step in steps:
            value = step.kind.apply(value, step.fitted)
        return value[0]

    result = tf.map_fn(result_of, values, dtype=tf.as_dtype(spec.dtype), parallel_iterations=parallel)
    result.set_shape((None, *spec.shape))
    return result


def _parts(names: Sequence[str], spec: TensorSpec) -> dict[str, TensorSpec]:
    """Return the specs of the fields that a result is split into."""
    assert spec.shape[0] == len(names), f"{spec} is not of {len(names)} fields"
    return dict.fromkeys(names, TensorSpec(spec.shape[1:], spec.dtype))


def _spec_after(steps: Sequence[Step], spec: TensorSpec) -> TensorSpec:
    for step in steps:
        spec = step.kind.output_spec(spec)
    return spec


def _accepts(wanted: TensorSpec, spec: TensorSpec) -> bool:
    return accepts(wanted.dtype, np.dtype(spec.dtype))


def _plain(array: np.ndarray) -> Any:
    if array.dtype == object:
        return [value.decode("utf-8", "surrogateescape") for value in array.tolist()]
    return array.tolist()


def _array(values: Any, dtype: str) -> np.ndarray:
    if dtype == "|O":
        found = np.empty(len(values), object)
        found[:] = [value.encode("utf-8", "surrogateescape") for value in values]
        return found
    return np.asarray(values, dtype)
