"""The data set of a run: loading, splits, pairs, checks against the network, scaling."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from expkit.config.schema import Config
from expkit.config.sections.data import PairsConfig, SplitConfig
from expkit.errors import ConfigError, DataError, Problem, unknown
from expkit.fs import atomic_write
from expkit.kinds.losses import Loss
from expkit.kinds.metrics import Metric
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import Array, DiskArray, MappedArray, rows_of, scan
from expkit.network.spec import NetworkSpec, network_spec
from expkit.tensor_spec import TensorSpec, accepts, fits, sizes_text

__all__ = ["Dataset", "Scaling", "load_dataset", "raw_dtypes"]

SPLITS = ("train", "valid", "test")

RESIDENT_FRACTION = 0.25
"""Fraction of the machine's memory up to which the session holds the training examples."""
MOST_ROUNDED = 1000
"""Number of examples up to which the deviation that counts as rounding grows."""
SAMPLES = 64
SAMPLE_BYTES = 1 << 20
"""Number and size of the evenly spaced samples of a split on disk that its digest reads."""


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation (``spread``) per value of a field; the network reads ``(value - mean) / spread``.

    Both are float32, or float64 where float32 does not hold the field's values exactly.
    """

    mean: np.ndarray
    spread: np.ndarray

    @property
    def dtype(self) -> str:
        """Dtype in which values are scaled."""
        return self.mean.dtype.name


def raw_dtypes(scaling: Mapping[str, Scaling]) -> dict[str, str]:
    """Return by field the dtype in which a graph reads values before it scales them."""
    return {name: item.dtype for name, item in scaling.items()}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Splits of the data (``train``, ``valid``, ``test``), unscaled, and the scaling fitted on ``train``."""

    splits: Mapping[str, Fields]
    scaling: Mapping[str, Scaling]
    digest: str
    """SHA-256 over names, shapes, dtypes and bytes of all splits; for a split on disk, over 64 samples of 1 MiB."""
    kind: str
    """Kind of the source."""
    placement: Literal["resident", "streamed"] = "resident"
    """Whether the session holds the training examples or is fed batches."""

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
    """Load the data, split it, pair examples, check it, and fit the scaling.

    Raises:
        DataError: a file is missing or damaged, or the data does not fit the network or the losses.
        ConfigError: a name in the configuration is no field of the data.
    """
    data = config.data
    arrays = {
        name: MappedArray(array) if isinstance(array, np.memmap) else array
        for name, array in data.source.load().items()
    }
    splits = _split(arrays, data.split)
    if data.pairs is not None:
        splits = {name: _paired(fields, data.pairs, i) for i, (name, fields) in enumerate(splits.items())}
    used = _check(config, spec, splits["train"])
    splits = {name: {field: fields[field] for field in used} for name, fields in splits.items()}
    _check_values(config, _with_sizes(config, spec, splits["train"]), splits)
    train = splits["train"]
    if config.train.batch_size > len(train[used[0]]):
        raise ConfigError(
            Problem(
                "train.batch_size",
                f"{config.train.batch_size} is more than the {len(train[used[0]])} training examples",
            )
        )
    return Dataset(
        splits=splits,
        scaling={name: _scaling(name, train[name]) for name in data.standardize},
        digest=_digest(splits),
        kind=data.source.kind,
        placement=_placement(train) if data.placement == "auto" else data.placement,
    )


def _placement(train: Fields) -> Literal["resident", "streamed"]:
    """Return the placement of training examples: streamed if they are on disk or large."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    large = sum(array.nbytes for array in train.values()) > RESIDENT_FRACTION * memory
    return "streamed" if large or any(isinstance(array, DiskArray) for array in train.values()) else "resident"


def _split(fields: Fields, split: SplitConfig) -> dict[str, Fields]:
    total = len(next(iter(fields.values())))
    given = {name: getattr(split, name) for name in SPLITS if getattr(split, name) is not None}
    order = np.random.Generator(np.random.PCG64(split.seed)).permutation(total)
    splits: dict[str, Fields] = {}
    start = 0
    for name, size in given.items():
        if isinstance(size, tuple):
            if size[1] > total:
                raise DataError.at(
                    f"data.split.{name}", f"range {list(size)} ends after the {total} examples there are"
                )
            chosen: range | np.ndarray = range(*size)
        else:
            chosen = order[start : start + round(size * total)]
            start += len(chosen)
        if len(chosen) == 0:
            raise DataError.at(f"data.split.{name}", f"{size} of {total} examples is none; increase it")
        splits[name] = {field: rows_of(array, chosen) for field, array in fields.items()}
    return splits


def _paired(fields: Fields, pairs: PairsConfig, stream: int) -> Fields:
    """Return pairs: for every example, as many with the same label as with another; ``stream`` is part of the seed."""
    for name in (pairs.field, pairs.label):
        if name not in fields:
            raise ConfigError(Problem("data.pairs", unknown(f"no field '{name}'", name, fields)))
    values, labels = fields[pairs.field], fields[pairs.label][:]
    draw = np.random.Generator(np.random.PCG64([pairs.seed, stream]))
    left = np.repeat(np.arange(len(labels)), pairs.per_example)
    same = np.tile(np.arange(pairs.per_example) % 2 == 0, len(labels))
    by_label = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    if len(by_label) < 2:
        raise DataError.at("data.pairs", f"needs at least two labels in '{pairs.label}', got {len(by_label)}")
    others = {label: np.flatnonzero(labels != label) for label in by_label}
    right = np.array([draw.choice((by_label if s else others)[labels[i]]) for i, s in zip(left, same, strict=True)])
    return {"left": rows_of(values, left), "right": rows_of(values, right), "label": same.astype(np.int64)}


def _check(config: Config, spec: NetworkSpec, fields: Fields) -> list[str]:
    """Check names, shapes and dtypes of fields; return the names of those in use, inputs first, then labels."""
    problems = []
    for name, declared in spec.inputs.items():
        if name not in fields:
            message = unknown(f"the data has no field '{name}'", name, fields, label="fields")
            problems.append(Problem(f"network.inputs.{name}", message))
        elif problem := _input_problem(declared, fields[name]):
            problems.append(Problem(f"network.inputs.{name}", problem))
    readers: dict[str, Loss | Metric] = {
        **{f"train.losses.{name}": loss for name, loss in config.train.losses.items()},
        **{f"train.metrics.{name}": metric for name, metric in config.train.metrics.items()},
    }
    for at, reader in readers.items():
        if reader.labels not in fields:
            message = unknown(f"the data has no field '{reader.labels}'", reader.labels, fields, label="fields")
            problems.append(Problem(f"{at}.labels", message))
    for name in config.data.standardize:
        if name not in spec.inputs:
            problems.append(Problem("data.standardize", unknown(f"no input '{name}'", name, spec.inputs)))
        elif spec.inputs[name].dtype != "float32":
            problems.append(Problem("data.standardize", f"input '{name}' is {spec.inputs[name].dtype}, needs float32"))
    if problems:
        raise ConfigError(*problems)
    return list(dict.fromkeys([*spec.inputs, *(reader.labels for reader in readers.values())]))


def _input_problem(declared: TensorSpec, array: Array) -> str | None:
    got = array.shape[1:]
    if not fits(declared.shape, got):
        return f"the network needs shape {sizes_text(declared.shape)} per example, the data has {list(got)}"
    if not accepts(declared.dtype, array.dtype):
        return f"the network needs {declared.dtype}, the data is {array.dtype}"
    return None


def _with_sizes(config: Config, spec: NetworkSpec, fields: Fields) -> NetworkSpec:
    """Return the network with the sizes that the data gives its inputs where the configuration leaves them open.

    Raises:
        ConfigError: a layer does not fit these sizes.
    """
    if not any(None in item.shape for item in spec.inputs.values()):
        return spec
    inputs = {
        name: item.model_copy(update={"shape": fields[name].shape[1:]}) for name, item in config.network.inputs.items()
    }
    return network_spec(config.network.model_copy(update={"inputs": inputs}))


def _check_values(config: Config, spec: NetworkSpec, splits: Mapping[str, Fields]) -> None:
    """Check inputs and labels for values that are not finite, and labels against the losses and metrics."""
    problems = []
    for split, fields in splits.items():
        for name, array in fields.items():
            bad, first = _not_finite(array) if array.dtype.kind == "f" else (0, 0)
            if bad:
                problems.append(
                    Problem(
                        f"data.source: field '{name}'",
                        f"{bad} of {len(array)} {split} examples hold NaN or infinity, the first is example {first}; "
                        "clean the data",
                    )
                )
    for group in ("losses", "metrics"):
        for name, reader in getattr(config.train, group).items():
            for split, fields in splits.items():
                output = spec.output_spec(reader.output)
                found = (reader.problem(output, labels) for _, labels in scan(fields[reader.labels]))
                if problem := next(filter(None, found), None):
                    problems.append(Problem(f"train.{group}.{name}: field '{reader.labels}' ({split})", problem))
                    break
    if problems:
        raise DataError(*problems)


def _not_finite(array: Array) -> tuple[int, int]:
    """Return the number of examples that hold a value that is not finite, and the first of them."""
    count, first = 0, len(array)
    for indices, values in scan(array):
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            count, first = count + int(bad.sum()), min(first, int(indices[bad].min()))
    return count, first


def _scaling(name: str, array: Array) -> Scaling:
    """Return mean and standard deviation in one pass in float64, chunk by chunk (Chan, Golub and LeVeque 1979).

    Values are taken relative to the first example, so that a value that never varies has a deviation of exactly 0.
    """
    count = 0
    origin = mean = squares = np.zeros(array.shape[1:])
    for _, values in scan(array):
        origin = values[0].astype(np.float64) if count == 0 else origin
        relative, total = values - origin, count + len(values)
        with np.errstate(over="ignore", invalid="ignore"):  # What is too large is an error below.
            difference = relative.mean(axis=0) - mean
            within = relative.var(axis=0) * len(values)
            squares = squares + within + difference**2 * (count * len(values) / total)
        mean = mean + difference * (len(values) / total)
        count = total
    mean, spread = origin + mean, np.sqrt(squares / count)
    if not np.isfinite(spread).all():
        message = f"the values of '{name}' are too large for their squares; scale the data"
        raise DataError.at("data.standardize", message)
    dtype = np.float32 if np.can_cast(array.dtype, np.float32, "safe") else np.float64
    # A value that varies by less than rounding is constant, and becomes 0: the bound of scikit-learn, which grows with
    # the number of examples as the rounding of a plain sum does.
    rounding = min(count, MOST_ROUNDED) * np.finfo(np.float64).eps * np.abs(mean)
    spread = np.where(spread <= np.maximum(rounding, np.finfo(dtype).tiny), 1, spread)
    return Scaling(mean=np.asarray(mean, dtype), spread=np.asarray(spread, dtype))


def _digest(splits: Mapping[str, Fields]) -> str:
    digest = hashlib.sha256()
    for split, fields in splits.items():
        for name, array in fields.items():
            digest.update(f"{split}/{name} {array.dtype.str} {array.shape}".encode())
            if isinstance(array, DiskArray):
                length = max(1, SAMPLE_BYTES * len(array) // max(1, array.nbytes))
                samples = min(SAMPLES, -(-len(array) // length))
                for start in np.linspace(0, max(0, len(array) - length), samples).astype(int).tolist():
                    digest.update(array[start : start + length].data)
            else:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
