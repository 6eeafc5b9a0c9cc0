"""The data set of a run: loaded, split, cut into windows or paired, checked, preprocessed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from expkit.cache import remembered
from expkit.config.schema import Config
from expkit.config.sections.data import DataConfig
from expkit.data.augment import Augmentation, augmentation
from expkit.data.augment_checks import augment_warnings
from expkit.data.checks import check_fields, check_values, with_sizes
from expkit.data.classes import Classes, class_warnings, named_config, numbered_classes
from expkit.data.columns import category_warnings, column_warnings
from expkit.data.duplicates import duplicate_warnings
from expkit.data.kept import identity, preprocess
from expkit.data.pairs import paired
from expkit.data.preprocess import FieldPreprocessing
from expkit.data.split import split_fields
from expkit.data.split_by import split_notes
from expkit.data.vocabularies import check_numbers, vocabulary_warnings
from expkit.data.windows import windowed
from expkit.errors import ConfigError, Problem
from expkit.fs import atomic_write_text
from expkit.kinds.evaluated import Labeled
from expkit.kinds.preprocess.categories import Category
from expkit.kinds.preprocess.text import Lowercase
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.mapped import MappedArray
from expkit.kinds.sources.on_disk import Array, DiskArray, hash_values
from expkit.kinds.sources.strings import is_text, string_array
from expkit.machine import machine_memory
from expkit.network.spec import NetworkSpec

__all__ = ["Dataset", "load_dataset"]

RESIDENT_FRACTION = 0.25
"""Fraction of the machine's memory up to which the session holds the training examples."""
SAMPLED_EXAMPLES = 1000
"""Number of evenly spaced examples whose integers are looked at."""
SAMPLES = 64
SAMPLE_BYTES = 1 << 20
"""Number and size of the evenly spaced samples of a split on disk that its digest reads."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Splits of the data (``train``, ``valid``, ``test``), and the preprocessing fitted on ``train``."""

    splits: Mapping[str, Fields]
    """The values that are kept for training: after the steps of preprocessing that are computed once."""
    preprocessing: Mapping[str, FieldPreprocessing] = field(default_factory=dict)
    """The fitted preprocessing, by field."""
    raw: Mapping[str, Fields] = field(default_factory=dict)
    """By split the fields that are preprocessed, as the source gives them."""
    classes: Mapping[str, Classes] = field(default_factory=dict)
    """Classes of labels that are text, by field."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of the table that a field was read from, by field."""
    digest: str
    """SHA-256 over names, shapes, dtypes and bytes of all splits; for a split on disk, over 64 samples of 1 MiB.

    Of strings on disk, over the sizes of all, too."""
    kind: str
    """Kind of the source."""
    placement: Literal["resident", "streamed"] = "resident"
    """Whether the session holds the training examples or is fed batches."""
    augmentation: Augmentation | None = None
    """Random changes of the training examples."""
    warnings: tuple[str, ...] = ()
    """Sentences about what is allowed, but probably not meant."""
    notes: tuple[str, ...] = ()
    """Sentences about what was done."""

    @property
    def preprocessing_in_step(self) -> Mapping[str, FieldPreprocessing]:
        """The preprocessing by field that a training step has to complete: not of augmented fields."""
        augmented = self.augmentation.steps if self.augmentation is not None else {}
        return {name: item for name, item in self.preprocessing.items() if name not in augmented}

    def size(self, split: str) -> int:
        """Return the number of examples of a split."""
        return len(next(iter(self.splits[split].values())))

    def first(self, split: str, count: int, *, raw: bool = False) -> dict[str, np.ndarray]:
        """Return the first examples of a split; ``raw`` as a frozen graph reads them, before preprocessing."""
        fields = {**self.splits[split], **(self.raw.get(split, {}) if raw else {})}
        return {name: array[:count] for name, array in fields.items()}

    def output_classes(self, config: Config) -> dict[str, list[str]]:
        """Return the names of classes by output of the network that a loss or metric compares with text labels."""
        readers = [item for item in config.train.readers.values() if isinstance(item, Labeled)]
        return {item.output: list(self.classes[item.labels].names) for item in readers if item.labels in self.classes}

    def save_preprocessing(self, path: Path) -> None:
        """Save what was fitted as a JSON file, if there is any: by field the steps, and the names of classes."""
        if self.preprocessing or self.classes:
            content = {
                "preprocess": {name: item.plain() for name, item in self.preprocessing.items()},
                "classes": {name: list(item.names) for name, item in self.classes.items()},
            }
            atomic_write_text(path, json.dumps(content, indent=1))


def load_dataset(config: Config, spec: NetworkSpec) -> Dataset:
    """Load the data, split it, cut it into windows or pair examples, number classes, check it, and preprocess it.

    Raises:
        DataError: a file is missing or damaged, or the data does not fit the network or the losses.
        ConfigError: a name in the configuration is not a field of the data.
    """
    data, spec = config.data, spec.trained
    arrays = {name: _as_field(name, array) for name, array in data.source.load().items()}
    splits = split_fields(arrays, data.split, in_order=data.in_order)
    notes = tuple(split_notes(data.split, splits))
    if data.windows is not None:
        splits = {name: windowed(fields, data.windows, name) for name, fields in splits.items()}
    shared = list(duplicate_warnings(splits, _example_fields(config, spec, splits["train"]), data.duplicates))
    if data.pairs is not None:
        splits = {name: paired(fields, data.pairs, i) for i, (name, fields) in enumerate(splits.items())}
    numbered, classes = numbered_classes(config, splits)
    used = check_fields(config, spec, numbered["train"])
    raw = {name: {field: fields[field] for field in used} for name, fields in numbered.items()}
    _check_batch_sizes(config, spec, raw)
    done = preprocess(config, spec, raw)
    train, columns = done.splits["train"], data.source.columns_of_fields()
    shapes = {
        name: done.fields[name].shape if name in done.fields else array.shape[1:] for name, array in train.items()
    }
    check_values(named_config(config, classes), with_sizes(config, spec, shapes), done.splits)
    check_numbers(spec, done.fields, done.splits)
    augmented = augmentation(config, spec, train, done.fields)
    if augmented is not None and data.placement == "resident":
        train = {name: array[:] for name, array in train.items()}
    return Dataset(
        splits={**done.splits, "train": train},
        preprocessing=done.fields,
        raw=done.raw,
        classes=classes,
        columns={name: names for name, names in columns.items() if name in used},
        digest=remembered("digest-1", _identity(raw), lambda: _digest(raw), str),
        kind=data.source.kind,
        notes=notes,
        placement=_placement(data, train),
        augmentation=augmented,
        warnings=(
            *_notes(arrays),
            *_column_warnings(config, spec, arrays, columns),
            *_unscaled_warnings(config, spec, train),
            *vocabulary_warnings(spec, done.fields),
            *class_warnings(classes),
            *shared,
            *_skipped_warnings(done.skipped),
            *_left_out(config, train),
            *augment_warnings(config, spec),
        ),
    )


def _example_fields(config: Config, spec: NetworkSpec, fields: Fields) -> list[str]:
    """Return the fields whose values make an example: the network's inputs, before examples are paired."""
    names = spec.inputs if config.data.pairs is None else [config.data.pairs.field]
    return [name for name in names if name in fields]


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


def _placement(data: DataConfig, train: Fields) -> Literal["resident", "streamed"]:
    """Return the placement of training examples: streamed if they are on disk, large, or augmented."""
    if any(data.augment.values()):
        return "streamed"
    if data.placement != "auto":
        return data.placement
    large = sum(array.nbytes for array in train.values()) > RESIDENT_FRACTION * machine_memory()
    return "streamed" if large or any(isinstance(array, DiskArray) for array in train.values()) else "resident"


def _as_field(name: str, array: Array) -> Array:
    """Return an array that a source loaded as the other modules read it: mapped files by index, text as bytes."""
    mapped = MappedArray(array) if isinstance(array, np.memmap) else array
    return string_array(name, mapped) if is_text(mapped.dtype) else mapped


def _notes(fields: Fields) -> list[str]:
    """Return the sentences of the source about examples that it left out."""
    noted = (array.notes for array in fields.values() if isinstance(array, DiskArray))
    return list(dict.fromkeys(itertools.chain.from_iterable(noted)))


def _column_warnings(
    config: Config, spec: NetworkSpec, fields: Fields, columns: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Yield sentences about columns that the network reads, and probably should not."""
    for name, names in columns.items():
        steps = [step for step in config.data.preprocess.get(name, ()) if not isinstance(step, Lowercase)]
        if name in spec.inputs and steps and isinstance(steps[0], Category):
            yield from category_warnings(names, fields[name])
        elif name in spec.inputs and fields[name].dtype.kind in "iuf":
            yield from column_warnings(names, fields[name])


def _identity(splits: Mapping[str, Fields]) -> bytes | None:
    """Return the identity of all values, found without reading files; ``None`` where that is not less work."""
    arrays = [(split, name, array) for split, fields in splits.items() for name, array in fields.items()]
    on_disk = [array.identity() for *_, array in arrays if isinstance(array, DiskArray)]
    if not on_disk or None in on_disk:
        return None
    return f"{[(split, name, array.dtype.str, array.shape, identity(array)) for split, name, array in arrays]}".encode()


def _digest(splits: Mapping[str, Fields]) -> str:
    digest = hashlib.sha256()
    for split, fields in splits.items():
        for name, array in fields.items():
            digest.update(f"{split}/{name} {array.dtype.str} {array.shape}".encode())
            if not isinstance(array, DiskArray):
                hash_values(digest, array)
                continue
            if array.dtype.hasobject:
                hash_values(digest, array.sizes(np.arange(len(array))))
            length = max(1, SAMPLE_BYTES * len(array) // max(1, array.nbytes))
            samples = min(SAMPLES, -(-len(array) // length))
            for start in np.linspace(0, max(0, len(array) - length), samples).astype(int).tolist():
                hash_values(digest, array[start : start + length])
    return digest.hexdigest()


def _unscaled_warnings(config: Config, spec: NetworkSpec, train: Fields) -> Iterator[str]:
    """Yield a sentence about each field of integers, wider than the number of classes, that is not scaled."""
    sizes = [spec.output_spec(loss.output).shape[-1:] for loss in config.train.losses.values()]
    classes = max([2, *(size for shape in sizes for size in shape if size is not None)])
    for name, item in spec.inputs.items():
        array = train[name]
        if array.dtype.kind not in "iu" or "float" not in item.dtype or config.data.preprocess.get(name):
            continue
        sample = array[np.linspace(0, len(array) - 1, min(len(array), SAMPLED_EXAMPLES)).astype(np.int64)]
        low, high = (int(sample.min()), int(sample.max())) if sample.size else (0, 0)
        if high - low >= classes:
            yield (
                f"field '{name}' holds {array.dtype} from {low} to {high}, and the network reads it unscaled; "
                f"data.preprocess.{name}=[{{kind: standardize}}] scales it to zero mean and unit standard deviation"
            )


def _skipped_warnings(skipped: Mapping[str, int]) -> Iterator[str]:
    for split, count in skipped.items():
        yield f"{count:,} {split} examples cannot be preprocessed and are left out"
