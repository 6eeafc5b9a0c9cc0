"""The data set of a run: loaded, split, cut into windows or paired, checked, with its scaling."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from expkit.config.schema import Config
from expkit.data.checks import check_fields, check_values, with_sizes
from expkit.data.pairs import paired
from expkit.data.scaling import Scaling, fit_scaling, unscaled_warnings
from expkit.data.split import split_fields
from expkit.data.windows import windowed
from expkit.errors import ConfigError, Problem
from expkit.fs import atomic_write
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, DiskArray, MappedArray
from expkit.kinds.sources.strings import is_text, string_array
from expkit.machine import machine_memory
from expkit.network.spec import NetworkSpec

__all__ = ["Dataset", "load_dataset"]

RESIDENT_FRACTION = 0.25
"""Fraction of the machine's memory up to which the session holds the training examples."""
SAMPLES = 64
SAMPLE_BYTES = 1 << 20
"""Number and size of the evenly spaced samples of a split on disk that its digest reads."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Splits of the data (``train``, ``valid``, ``test``), unscaled, and the scaling fitted on ``train``."""

    splits: Mapping[str, Fields]
    scaling: Mapping[str, Scaling]
    digest: str
    """SHA-256 over names, shapes, dtypes and bytes of all splits; for a split on disk, over 64 samples of 1 MiB.

    Of strings on disk, over the sizes of all, too."""
    kind: str
    """Kind of the source."""
    placement: Literal["resident", "streamed"] = "resident"
    """Whether the session holds the training examples or is fed batches."""
    warnings: tuple[str, ...] = ()
    """Sentences about what is allowed, but probably not meant."""

    def size(self, split: str) -> int:
        """Return the number of examples of a split."""
        return len(next(iter(self.splits[split].values())))

    def save_scaling(self, path: Path) -> None:
        """Save the scaling as a ``.npz`` file, if there is any: ``FIELD/mean`` and ``FIELD/spread``."""
        arrays = {f"{name}/{part}": array for name, item in self.scaling.items() for part, array in vars(item).items()}
        if arrays:
            with atomic_write(path) as partial, partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)


def load_dataset(config: Config, spec: NetworkSpec) -> Dataset:
    """Load the data, split it, cut it into windows or pair examples, check it, and fit the scaling.

    Raises:
        DataError: a file is missing or damaged, or the data does not fit the network or the losses.
        ConfigError: a name in the configuration is no field of the data.
    """
    data = config.data
    arrays = {name: _as_field(name, array) for name, array in data.source.load().items()}
    splits = split_fields(arrays, data.split, in_order=data.in_order)
    if data.windows is not None:
        splits = {name: windowed(fields, data.windows, name) for name, fields in splits.items()}
    if data.pairs is not None:
        splits = {name: paired(fields, data.pairs, i) for i, (name, fields) in enumerate(splits.items())}
    used = check_fields(config, spec, splits["train"])
    splits = {name: {field: fields[field] for field in used} for name, fields in splits.items()}
    check_values(config, with_sizes(config, spec, splits["train"]), splits)
    train = splits["train"]
    _check_batch_sizes(config, spec, splits)
    return Dataset(
        splits=splits,
        scaling={name: fit_scaling(name, train[name]) for name in data.standardize},
        digest=_digest(splits),
        kind=data.source.kind,
        placement=_placement(train) if data.placement == "auto" else data.placement,
        warnings=(*_notes(arrays), *unscaled_warnings(config, spec, train), *_left_out(config, train)),
    )


def _check_batch_sizes(config: Config, spec: NetworkSpec, splits: Mapping[str, Fields]) -> None:
    """Check that there are examples enough for a batch, and for the lanes of a stream."""
    train, problems = config.train, []
    sizes = {name: len(next(iter(fields.values()))) for name, fields in splits.items()}
    streams = config.data.order == "stream"
    if train.batch_size > sizes["train"]:
        message = f"{train.batch_size} is more than the {sizes['train']} training examples"
        problems.append(Problem("train.batch_size", message))
    elif streams and (lanes := train.examples_per_step) > sizes["train"]:
        message = (
            f"a step of {lanes} examples needs as many lanes of the stream, more than the {sizes['train']} training "
            "examples; decrease it, or the batches of a step (train.gradient_accumulation_steps)"
        )
        problems.append(Problem("train.batch_size", message))
    for name, size in sizes.items():
        if name != "train" and spec.state and train.evaluation_batch_size > size:
            message = (
                f"{train.evaluation_batch_size} lanes of a stream are more than the {size} {name} examples, so nothing "
                "would be carried from one to the next; decrease it"
            )
            problems.append(Problem("train.evaluation_batch_size", message))
    if problems:
        raise ConfigError(*problems)


def _left_out(config: Config, train: Fields) -> Iterator[str]:
    """Yield a sentence about training examples that are in no lane of a stream."""
    lanes = config.train.examples_per_step
    examples = len(next(iter(train.values())))
    if config.data.order == "stream" and (over := examples % lanes):
        yield (
            f"the last {over} of {examples} training examples are never seen: {lanes} lanes of a stream have "
            f"{examples // lanes} each"
        )


def _placement(train: Fields) -> Literal["resident", "streamed"]:
    """Return the placement of training examples: streamed if they are on disk or large."""
    large = sum(array.nbytes for array in train.values()) > RESIDENT_FRACTION * machine_memory()
    return "streamed" if large or any(isinstance(array, DiskArray) for array in train.values()) else "resident"


def _as_field(name: str, array: Array) -> Array:
    """Return an array that a source loaded as the other modules read it: mapped files by index, text as bytes."""
    mapped = MappedArray(array) if isinstance(array, np.memmap) else array
    return string_array(name, mapped) if is_text(mapped.dtype) else mapped


def _notes(fields: Fields) -> list[str]:
    """Return what the source says that it left out."""
    noted = (array.notes for array in fields.values() if isinstance(array, DiskArray))
    return list(dict.fromkeys(itertools.chain.from_iterable(noted)))


def _digest(splits: Mapping[str, Fields]) -> str:
    digest = hashlib.sha256()
    for split, fields in splits.items():
        for name, array in fields.items():
            digest.update(f"{split}/{name} {array.dtype.str} {array.shape}".encode())
            if not isinstance(array, DiskArray):
                _add(digest, array)
                continue
            if array.dtype.hasobject:
                _add(digest, array.sizes(np.arange(len(array))))
            length = max(1, SAMPLE_BYTES * len(array) // max(1, array.nbytes))
            samples = min(SAMPLES, -(-len(array) // length))
            for start in np.linspace(0, max(0, len(array) - length), samples).astype(int).tolist():
                _add(digest, array[start : start + length])
    return digest.hexdigest()


def _add(digest: hashlib._Hash, values: np.ndarray) -> None:
    """Add numbers as they are in memory, and strings each after its length."""
    if not values.dtype.hasobject:
        digest.update(np.ascontiguousarray(values).data)
        return
    for value in values.reshape(-1).tolist():
        digest.update(len(value).to_bytes(8, "little"))
        digest.update(value)
