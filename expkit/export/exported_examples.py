"""Examples on which exported files are compared and calibrated, and what the frozen graph makes of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.doors import Door, read_inputs
from expkit.export.feeding import cast, check_inputs
from expkit.export.proof_inputs import proof_inputs
from expkit.export.reference import frozen_run, latency
from expkit.export.targets.base import ExportSource
from expkit.machine import machine_memory

__all__ = ["Batches", "door_examples", "frozen_latency", "frozen_outputs"]

COUNT = 64
"""Number of examples that are compared."""
CALIBRATION = 200
"""Number of training examples on which int8 is calibrated."""
BYTES = 32 * 1024 * 1024
"""Bytes of examples above which fewer are compared."""
BATCH = 32
"""Examples of a batch where the file leaves their number open."""
FREE_SIZE = 8
"""Size of open dimensions of random inputs."""


@dataclass(frozen=True)
class Batches:
    """Examples in batches of one size; the last may be smaller where the size is open."""

    inputs: Mapping[str, np.ndarray]
    size: int
    note: str = ""

    @classmethod
    def of(cls, inputs: Mapping[str, np.ndarray]) -> Batches:
        """Return one batch."""
        return cls(inputs, _count(inputs))

    @property
    def count(self) -> int:
        """Number of examples."""
        return _count(self.inputs)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, self.count, self.size):
            yield self._rows(slice(start, start + self.size))

    def first(self) -> dict[str, np.ndarray]:
        """Return the first batch."""
        return next(iter(self))

    def one(self, batch: int | None) -> dict[str, np.ndarray]:
        """Return one example, or a batch where its size is fixed."""
        return self._rows(slice(batch or 1))

    def _rows(self, rows: slice) -> dict[str, np.ndarray]:
        """Return examples; a number without dimensions is for all of them."""
        return {name: array[rows] if array.ndim else array for name, array in self.inputs.items()}

    def joined(self, parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the outputs of batches, joined; those without a row for each example as in the first batch.

        Where other sizes differ between batches, as those of texts that are padded to the longest, numbers in a row.
        """
        sizes = [_count(batch) for batch in self]

        def rows(name: str) -> bool:
            pairs = zip(parts, sizes, strict=True)
            return all(part[name].ndim > 0 and len(part[name]) == size for part, size in pairs)

        def whole(name: str) -> np.ndarray:
            arrays = [part[name] for part in parts]
            alike = len({array.shape[1:] for array in arrays}) == 1
            return np.concatenate(arrays if alike else [array.reshape(-1) for array in arrays])

        return {name: whole(name) if rows(name) else parts[0][name] for name in parts[0]}

    def permuted(self) -> Batches:
        """Return the examples in another order; a single one with its numbers in another order."""
        if self.count > 1:
            return replace(self, inputs=self._rows(slice(None, None, -1)))
        return replace(
            self, inputs={name: array.reshape(-1)[::-1].reshape(array.shape) for name, array in self.inputs.items()}
        )


def door_examples(source: ExportSource, door: Door, *, split: str = "test", whole: bool = False) -> Batches:
    """Return examples for the inputs of a door.

    Args:
        source: the graph, with the run or the arrays that the examples are of.
        door: decides what is read, and the size of a batch.
        split: part of the data; ``train`` for calibration.
        whole: all examples of the part; where batches have a fixed size, the first ones are repeated to fill the last.

    Raises:
        ExportError: the examples do not fit the shapes of the door, or a batch of the fixed size is too large.
    """
    raw, note = _raw(source, split, whole)
    raw = {name: array for name, array in raw.items() if name in source.frozen.metadata["inputs"]}
    inputs = _behind(source, door, raw)
    try:
        check_inputs(_without_batch(door.inputs), list(source.frozen.metadata["inputs"]), inputs)
    except ExportError as error:
        fix = "; give examples of that shape with --examples FILE.npz"
        raise ExportError.at("--input-shape", str(error).replace("\n", " ") + fix) from None
    inputs = {name: cast(np.asarray(inputs[name]), item["dtype"]) for name, item in door.inputs.items()}
    size = door.batch
    if size is not None:
        count = _count(inputs)
        _check_size(inputs, size, count)
        kept = size * (math.ceil(count / size) if whole else max(1, count // size))
        inputs = {
            name: np.resize(array, (kept, *array.shape[1:])) if array.ndim else array for name, array in inputs.items()
        }
    return Batches(inputs, size or BATCH, note)


def _check_size(inputs: Mapping[str, np.ndarray], size: int, count: int) -> None:
    """Check that a batch can be in memory with the outputs of several programs.

    Raises:
        ExportError: it cannot.
    """
    each = sum(array.nbytes for array in inputs.values() if array.ndim) / max(1, count)
    if size > count and size * each > machine_memory() / 8:
        text = f"a batch of {size:,} examples has {size * each / 1e9:,.1f} GB, too much to compute it here; give fewer"
        raise ExportError.at("--batch", text)


def _count(inputs: Mapping[str, np.ndarray]) -> int:
    """Return the number of examples; 1 where no input has a dimension."""
    return next((len(array) for array in inputs.values() if array.ndim), 1)


def _without_batch(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: {**item, "shape": [None, *item["shape"][1:]]} if item["shape"] else item for name, item in inputs.items()
    }


def _raw(source: ExportSource, split: str, whole: bool) -> tuple[dict[str, np.ndarray], str]:
    """Return arrays by input as the frozen graph reads them, and words that say if they are random."""
    count = CALIBRATION if split == "train" else COUNT
    if source.examples is not None:
        given = {name: np.asarray(array[...]) for name, array in source.examples.items()}
        check_inputs(source.frozen.metadata["inputs"], source.frozen.unneeded, given)
        return {name: array[:count] for name, array in given.items()}, ""
    if source.run is None:
        return _random(source), ", random inputs"
    dataset = source.run.dataset
    size = dataset.size("test")
    count = size if whole else min(count, size)
    proof = proof_inputs(source.run.checked.spec, source.run.graphs[1], dataset, count)
    inputs = dict(proof.raw)
    if split == "train":  # Evenly over all of them: they may be in the order of their classes.
        fields = {**dataset.splits[split], **dataset.raw.get(split, {})}
        rows = np.unique(np.linspace(0, dataset.size(split) - 1, CALIBRATION).astype(int)).tolist()
        for name, array in inputs.items():
            if name in proof.random:
                inputs[name] = np.resize(array, (len(rows), *array.shape[1:]))
            else:
                inputs[name] = np.concatenate([np.asarray(fields[name][row : row + 1]) for row in rows])
    elif not whole:
        each = sum(array.nbytes for array in inputs.values()) / max(1, len(next(iter(inputs.values()))))
        inputs = {name: array[: max(2, int(BYTES / max(each, 1)))] for name, array in inputs.items()}
    return inputs, proof.note


def _random(source: ExportSource) -> dict[str, np.ndarray]:
    """Return seeded random numbers for a graph without data."""
    draw = np.random.default_rng(0)
    found = {}
    read = read_inputs(source.frozen.metadata["inputs"])
    for name, item in read.items():
        if item["shape"] is None or item["dtype"] == "string":
            what = "text" if item["dtype"] == "string" else "of unknown rank"
            raise ExportError.at("--examples", f"input {name} is {what}; give examples of it in a .npz file")
        shape = [FREE_SIZE if size is None else size for size in item["shape"]]
        dtype = tf.as_dtype(item["dtype"])
        found[name] = draw.standard_normal(shape) if dtype.is_floating else draw.integers(0, 2, shape)
        found[name] = found[name].astype(dtype.as_numpy_dtype)
    each = sum(array.nbytes for array in found.values()) / FREE_SIZE
    count = max(2, min(FREE_SIZE, int(BYTES / max(each, 1))))
    batched = {name for name, item in read.items() if item["shape"] and not item["shape"][0]}
    return {name: array[:count] if name in batched else array for name, array in found.items()}


def _behind(source: ExportSource, door: Door, raw: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Return the inputs of a door, computed from those of the frozen graph."""
    preprocessed = source.frozen.metadata.get("preprocessed", {})
    if door.name == "raw" or not preprocessed:
        return raw
    outputs = {name: item for name, item in preprocessed.items() if name in door.inputs}
    return {**raw, **frozen_run(source, outputs, source.frozen.metadata["inputs"], [raw])[0]}


def frozen_outputs(source: ExportSource, door: Door, *several: Batches) -> list[dict[str, np.ndarray]]:
    """Return the outputs of the frozen graph for examples, run as it is written, by the names of a door's outputs.

    Raises:
        ExportError: TensorFlow cannot compute it, or the numbers are not finite, so that nothing can be compared.
    """
    parts = iter(frozen_run(source, door.outputs, door.inputs, itertools.chain(*several)))
    joined = [examples.joined([next(parts) for _ in examples]) for examples in several]
    for outputs in joined:
        for name, array in outputs.items():
            if array.dtype.kind in "OSUiub":
                continue
            numbers = array if array.dtype.kind in "fc" else array.astype(np.float64)  # bfloat16's kind is V
            if not np.isfinite(numbers).all():
                problem = (
                    f"output '{name}' is not finite on the examples, so nothing can be compared; give others with "
                    "--examples FILE.npz"
                )
                raise ExportError.at("export", problem)
    return joined


def frozen_latency(source: ExportSource, door: Door, one: Mapping[str, np.ndarray], repeat: int) -> float:
    """Return the median seconds that the frozen graph takes for one example."""
    return latency(source, door.outputs, door.inputs, one, repeat)
