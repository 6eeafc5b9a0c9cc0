"""The data set of a run: split, paired, checked against the network, its scaling fitted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expkit.config.schema import Config
from expkit.config.sections.data import DataConfig, PairsConfig, SplitConfig
from expkit.errors import ConfigError, DataError, Problem, unknown
from expkit.kinds.losses import Loss
from expkit.kinds.metrics import Metric
from expkit.kinds.sources.base import Arrays
from expkit.kinds.sources.on_disk import Array, Mapped, Stored, rows_of, scan
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import TensorSpec, accepts

__all__ = ["Dataset", "Scaling", "load_dataset"]

PARTS = ("train", "valid", "test")

RESIDENT_SHARE = 0.25
"""Share of the machine's memory that training examples may take in the session."""
SAMPLED_RUNS = 64
SAMPLED_BYTES = 1 << 20
"""How many runs of examples on disk go into the digest, evenly spread, and how large each is."""


@dataclass(frozen=True)
class Scaling:
    """Mean and spread per value of a field; the network reads ``(value - mean) / spread``."""

    mean: np.ndarray
    spread: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """Parts of the data by name (``train``, ``valid``, ``test``), raw, and the scaling fitted on ``train``."""

    parts: Mapping[str, Arrays]
    scaling: Mapping[str, Scaling]
    digest: str
    """SHA-256 over all parts' names, shapes, dtypes and bytes; of a part on disk 64 runs of 1 MiB, evenly spread."""
    kind: str
    placement: Literal["resident", "streamed"] = "resident"
    """Whether training examples are held by the session, or handed to it in batches."""

    def size(self, part: str) -> int:
        """Return how many examples a part has."""
        return len(next(iter(self.parts[part].values())))


def load_dataset(config: Config, spec: NetworkSpec) -> Dataset:
    """Load, split, pair, check and fit.

    Raises:
        DataError: a file is missing or damaged, or the data does not fit the network or the losses.
        ConfigError: a name in the configuration is no field of the data.
    """
    data = config.data
    arrays = {
        name: Mapped(array) if isinstance(array, np.memmap) else array for name, array in data.source.load().items()
    }
    parts = _split(arrays, data.split)
    if data.pairs is not None:
        parts = {name: _paired(part, data.pairs, place) for place, (name, part) in enumerate(parts.items())}
    needed = _check(config, spec, parts["train"])
    parts = {name: {field: part[field] for field in needed} for name, part in parts.items()}
    _check_values(config, spec, parts)
    if config.train.batch_size > len(parts["train"][needed[0]]):
        raise ConfigError(
            Problem(
                "train.batch_size",
                f"{config.train.batch_size} is more than the {len(parts['train'][needed[0]])} training examples",
            )
        )
    placement = data.placement if data.placement != "auto" else _placement(parts["train"])
    return Dataset(parts, _fit(data, parts["train"]), _digest(parts), data.source.kind, placement)


def _placement(train: Arrays) -> Literal["resident", "streamed"]:
    """Return where training examples belong: on disk or large, and they are handed over in batches."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    large = sum(array.nbytes for array in train.values()) > RESIDENT_SHARE * memory
    return "streamed" if large or any(isinstance(array, Stored) for array in train.values()) else "resident"


def _split(arrays: Arrays, split: SplitConfig) -> dict[str, Arrays]:
    total = len(next(iter(arrays.values())))
    given = {name: getattr(split, name) for name in PARTS if getattr(split, name) is not None}
    order = np.random.Generator(np.random.PCG64(split.seed)).permutation(total)
    parts: dict[str, Arrays] = {}
    start = 0
    for name, part in given.items():
        if isinstance(part, tuple):
            if part[1] > total:
                raise DataError.at(
                    f"data.split.{name}", f"range {list(part)} ends after the {total} examples there are"
                )
            chosen: range | np.ndarray = range(*part)
        else:
            chosen = order[start : start + round(part * total)]
            start += len(chosen)
        if len(chosen) == 0:
            raise DataError.at(f"data.split.{name}", f"{part} of {total} examples is none; give it more")
        parts[name] = {field: rows_of(array, chosen) for field, array in arrays.items()}
    return parts


def _paired(arrays: Arrays, pairs: PairsConfig, part: int) -> Arrays:
    """Return pairs: for every example, as many of the same label as of others."""
    for name in (pairs.field, pairs.label):
        if name not in arrays:
            raise ConfigError(Problem("data.pairs", unknown(f"no field '{name}'", name, arrays)))
    values, labels = arrays[pairs.field], arrays[pairs.label][:]
    draw = np.random.Generator(np.random.PCG64([pairs.seed, part]))
    left = np.repeat(np.arange(len(labels)), pairs.per_example)
    same = np.tile(np.arange(pairs.per_example) % 2 == 0, len(labels))
    by_label = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    if len(by_label) < 2:
        raise DataError.at("data.pairs", f"needs at least two labels in '{pairs.label}', got {len(by_label)}")
    others = {label: np.flatnonzero(labels != label) for label in by_label}
    right = np.array([draw.choice((by_label if s else others)[labels[i]]) for i, s in zip(left, same, strict=True)])
    return {"left": rows_of(values, left), "right": rows_of(values, right), "label": same.astype(np.int64)}


def _check(config: Config, spec: NetworkSpec, arrays: Arrays) -> list[str]:
    """Return the fields that are used: inputs, then labels; names, shapes and dtypes are right."""
    problems = []
    for name, wanted in spec.inputs.items():
        if name not in arrays:
            message = unknown(f"the data has no field '{name}'", name, arrays, label="fields")
            problems.append(Problem(f"network.inputs.{name}", message))
        elif problem := _misfit(wanted, arrays[name]):
            problems.append(Problem(f"network.inputs.{name}", problem))
    judges: dict[str, Loss | Metric] = {
        **{f"train.losses.{name}": judge for name, judge in config.train.losses.items()},
        **{f"train.metrics.{name}": judge for name, judge in config.train.metrics.items()},
    }
    for at, judge in judges.items():
        if judge.labels not in arrays:
            message = unknown(f"the data has no field '{judge.labels}'", judge.labels, arrays, label="fields")
            problems.append(Problem(f"{at}.labels", message))
    for name in config.data.standardize:
        if name not in spec.inputs:
            problems.append(Problem("data.standardize", unknown(f"no input '{name}'", name, spec.inputs)))
        elif spec.inputs[name].dtype != "float32":
            problems.append(Problem("data.standardize", f"input '{name}' is {spec.inputs[name].dtype}, needs float32"))
    if problems:
        raise ConfigError(*problems)
    return list(dict.fromkeys([*spec.inputs, *(judge.labels for judge in judges.values())]))


def _misfit(wanted: TensorSpec, array: Array) -> str | None:
    got = array.shape[1:]
    fits = len(got) == len(wanted.shape) and all(w in (None, g) for w, g in zip(wanted.shape, got, strict=True))
    if not fits:
        return f"the network wants shape {_shape(wanted.shape)} per example, the data has {list(got)}"
    if not accepts(wanted.dtype, array.dtype):
        return f"the network wants {wanted.dtype}, the data is {array.dtype}"
    return None


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _check_values(config: Config, spec: NetworkSpec, parts: Mapping[str, Arrays]) -> None:
    """Check inputs and labels for numbers that are not finite, and labels against what reads them."""
    problems = []
    for part, arrays in parts.items():
        for name, array in arrays.items():
            bad, first = _not_finite(array) if array.dtype.kind == "f" else (0, 0)
            if bad:
                problems.append(
                    Problem(
                        f"data.source: field '{name}'",
                        f"{bad} of {len(array)} {part} examples hold NaN or infinity, the first is example {first}; "
                        "clean the data",
                    )
                )
    for group in ("losses", "metrics"):
        for name, judge in getattr(config.train, group).items():
            for part, arrays in parts.items():
                output = spec.output_spec(judge.output)
                found = (judge.problem(output, labels) for _, labels in scan(arrays[judge.labels]))
                if problem := next(filter(None, found), None):
                    problems.append(Problem(f"train.{group}.{name}: field '{judge.labels}' ({part})", problem))
                    break
    if problems:
        raise DataError(*problems)


def _not_finite(array: Array) -> tuple[int, int]:
    """Return how many examples hold a value that is not finite, and the first of them."""
    count, first = 0, len(array)
    for indices, values in scan(array):
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            count, first = count + int(bad.sum()), min(first, int(indices[bad].min()))
    return count, first


def _fit(data: DataConfig, train: Arrays) -> dict[str, Scaling]:
    return {name: _scaling(train[name]) for name in data.standardize}


def _scaling(array: Array) -> Scaling:
    """Return mean and spread in one pass, chunk by chunk (Chan, Golub and LeVeque 1979), in float64."""
    count = 0
    mean = squares = np.zeros(array.shape[1:])
    for _, values in scan(array):
        chunk_mean = values.mean(axis=0, dtype=np.float64)
        chunk_squares = values.var(axis=0, dtype=np.float64) * len(values)
        total = count + len(values)
        apart = chunk_mean - mean
        squares = squares + chunk_squares + apart**2 * (count * len(values) / total)
        mean = mean + apart * (len(values) / total)
        count = total
    spread = np.sqrt(squares / count)
    spread = np.where(spread == 0, 1, spread)  # A value that never changes carries nothing: it becomes 0.
    return Scaling(np.asarray(mean, np.float32), np.asarray(spread, np.float32))


def _digest(parts: Mapping[str, Arrays]) -> str:
    digest = hashlib.sha256()
    for part, arrays in parts.items():
        for name, array in arrays.items():
            digest.update(f"{part}/{name} {array.dtype.str} {array.shape}".encode())
            if isinstance(array, Stored):
                length = max(1, SAMPLED_BYTES * len(array) // max(1, array.nbytes))
                runs = min(SAMPLED_RUNS, -(-len(array) // length))
                for start in np.linspace(0, max(0, len(array) - length), runs).astype(int).tolist():
                    digest.update(array[start : start + length].data)
            else:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
