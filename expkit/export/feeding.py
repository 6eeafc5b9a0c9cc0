"""Inputs of a graph: checked, cast and cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.data.compute import slices_by_size, string_sizes
from expkit.errors import ExportError, Problem, comma_list, reading, unknown
from expkit.kinds.sources.on_disk import name_of
from expkit.tensor_spec import accepts

__all__ = [
    "BATCH_BYTES",
    "Computed",
    "batches",
    "cast",
    "check_inputs",
    "compute_each",
    "in_rows",
    "join",
    "own_batch_size",
]

BATCH_SIZE = 1024
"""Examples that a graph of expkit computes at once, so that memory is bounded; its examples do not depend on others."""
BATCH_BYTES = 1 << 25
"""Size of the strings that it computes at once, were all as long as the longest: texts are split into equally many."""


def check_inputs(expected: Mapping[str, Any], other: Collection[str], inputs: Mapping[str, Any]) -> None:
    """Check arrays, or what has their ``shape`` and ``dtype``, before anything is computed.

    Args:
        expected: dtype, shape and ``optional`` by name.
        other: inputs of the graph on which nothing that is computed depends.
        inputs: arrays by name.

    Raises:
        ExportError: with every input that is missing, unknown, or of a wrong shape or dtype.
    """
    problems = [
        Problem(f"input {name}", f"missing; arrays given: {comma_list(inputs)}")
        for name, item in expected.items()
        if name not in inputs and not item.get("optional")
    ]
    for name, array in inputs.items():
        if name in expected:
            problems += [Problem(f"input {name}", text) for text in _misfit(expected[name], array)]
        elif name not in other:
            known = [*expected, *other]
            problems.append(Problem(f"input {name}", unknown("unknown", name, known, label="the graph reads")))
    if problems:
        raise ExportError(*problems)


def _misfit(item: Mapping[str, Any], array: Any) -> Iterator[str]:
    shape, got = item["shape"], list(array.shape)
    if shape is not None and not (
        len(got) == len(shape) and all(size in (None, other) for size, other in zip(shape, got, strict=True))
    ):
        shown = ", ".join("?" if size is None else str(size) for size in shape)
        yield f"the graph reads shape [{shown}], got {got}"
    elif not _accepts(item["dtype"], array.dtype):
        yield f"the graph reads {item['dtype']}, got {array.dtype}"


def _accepts(dtype: str, array: np.dtype) -> bool:
    if dtype == "string":
        return array.kind in "SUO" or (array.kind == "V" and array.name.startswith("void"))
    try:
        return array.name == dtype or (array.kind not in "SUOV" and accepts(dtype, array))  # bfloat16's kind is V
    except TypeError:  # No dtype of NumPy: a resource, or integers of quantization.
        return False


def cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array in the dtype of an input, by TensorFlow's name; text as UTF-8."""
    if dtype == "string":
        return (np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array).astype(object)
    return array.astype(tf.as_dtype(dtype).as_numpy_dtype, copy=False)


def batches(
    expected: Mapping[str, Any], inputs: Mapping[str, Any], size: int | None, *, most_bytes: int | None = None
) -> list[Mapping[str, Any]]:
    """Return for each batch the indices of every input: a slice of those whose first dimension is the batch's.

    Args:
        expected: dtype and shape by name.
        inputs: arrays by name, which have been checked.
        size: examples of a batch; ``None`` to feed all at once.
        most_bytes: of the strings of a batch that has several examples; ``None`` for any number.

    Raises:
        ExportError: no input has a batch dimension, or they have different numbers of examples.
    """
    if size is None:
        return [{}]
    counts = {name: inputs[name].shape[0] for name, item in expected.items() if name in inputs and _is_batched(item)}
    if len(set(counts.values())) != 1:
        shown = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
        problem = f"the inputs differ in their number of examples: {shown}" if counts else "no input has a batch"
        raise ExportError.at("batch size", f"{problem}; give the inputs at once, without --batch-size")
    (count,) = set(counts.values())
    sizes = np.zeros(count, np.int64)
    for name in counts if most_bytes is not None else ():
        sizes = np.maximum(sizes, string_sizes(inputs[name], 0, count))
    slices = [
        slice(start + part.start, start + part.stop)
        for start in range(0, count, size)
        for part in slices_by_size(sizes[start : start + size], most_bytes or 0)
    ]
    return [dict.fromkeys(counts, part) for part in slices or [slice(0, 0)]]


def compute_each(compute: Callable[[Any], object], feed: Mapping[str, np.ndarray], examples: Any, rows: slice) -> None:
    """Compute the examples of a batch by themselves, so that the first one that fails is named.

    Args:
        compute: computes what is fed.
        feed: values of the batch; those that are as many as its rows have one of each example.
        examples: an array that names the examples, or what has their content.
        rows: indices of the batch.

    Raises:
        ExportError: an example cannot be computed.
    """
    count = rows.stop - rows.start
    for place in range(count):
        one = {key: value[place : place + 1] if value.shape[:1] == (count,) else value for key, value in feed.items()}
        with reading("predict", f"{name_of(examples, rows.start + place)} cannot be computed", raises=ExportError):
            compute(one)


def own_batch_size(metadata: Mapping[str, Any], mark: str) -> int | None:
    """Return the number of examples that a graph of expkit computes at once; ``None``, for all, where it is another's.

    Args:
        metadata: of the graph.
        mark: key that the metadata of expkit's graphs has.
    """
    tensors = [*metadata["inputs"].values(), *metadata["outputs"].values()]
    return BATCH_SIZE if mark in metadata and all(map(_is_batched, tensors)) else None


def _is_batched(item: Mapping[str, Any]) -> bool:
    return bool(item["shape"]) and item["shape"][0] is None


@dataclass(frozen=True)
class Computed:
    """The outputs of a batch."""

    count: int
    """Number of examples."""
    outputs: Mapping[str, np.ndarray]


def in_rows(batches: Iterable[Computed]) -> Iterator[Computed]:
    """Yield batches whose outputs can be joined; that of a single batch may have any shape.

    Raises:
        ExportError: an output has not one row for each example, or rows of other shapes than in the first batch.
    """
    first: Computed | None = None
    for batch in batches:
        if first is None:
            first = batch
        else:
            for each in (first, batch):
                _check_rows(each)
            _check_alike(first, batch)
        yield batch


def _check_rows(batch: Computed) -> None:
    for name, array in batch.outputs.items():
        if array.ndim == 0 or len(array) != batch.count:
            raise ExportError.at(
                f"output {name}",
                f"has shape {list(array.shape)} for a batch of {batch.count} examples, not a row for each; give the "
                "inputs at once, without --batch-size",
            )


def _check_alike(first: Computed, batch: Computed) -> None:
    for name, array in batch.outputs.items():
        if array.shape[1:] != (rows := first.outputs[name].shape[1:]):
            raise ExportError.at(
                f"output {name}",
                f"has rows of shape {list(array.shape[1:])} in one batch and {list(rows)} in another, which no array "
                "holds; give examples of the same size",
            )


def join(batches: Iterable[Computed]) -> dict[str, np.ndarray]:
    """Return outputs of batches, joined.

    Raises:
        ExportError: they cannot be, as ``in_rows`` says.
    """
    parts = [batch.outputs for batch in in_rows(batches)]
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
