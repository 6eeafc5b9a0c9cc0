"""The values of fields after the steps of preprocessing that are computed once, in memory or in a cache on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.cache import cache_folder
from expkit.config.schema import Config
from expkit.data.compute import Batches, computed, fit_steps
from expkit.data.parts import parts_of
from expkit.data.preprocess import FieldPreprocessing, Step, raw_spec
from expkit.errors import DataError, reading
from expkit.fs import cannot_write
from expkit.kinds.preprocess.base import Preprocess
from expkit.kinds.sources.base import Fields, located
from expkit.kinds.sources.mapped import MappedArray
from expkit.kinds.sources.on_disk import Array, hash_values, identity_of, name_of, rows_of
from expkit.network.spec import NetworkSpec
from expkit.timing import timed

__all__ = ["Kept", "Preprocessed", "preprocess"]

_log = logging.getLogger(__name__)

IN_MEMORY = 1 << 28
"""Bytes of a field up to which the values of its splits stay mapped into memory, the first ones first."""
UNCACHED = 1 << 20
"""Bytes of a field up to which its values are computed anew in every run."""
MOST_CACHED = 20 << 30
"""Bytes of the cache; the entries that were not used for the longest time are deleted."""
PARTIAL = "partial-"
"""Beginning of the name of an entry that a process is writing; no other deletes it."""
OTHER_FOLDER = "the environment variable XDG_CACHE_HOME names another folder"
VERSION = 2
"""Number that a change of the operations increases, so that older entries are not used."""


@dataclass(frozen=True)
class Kept:
    """The values of one split that are kept for training."""

    values: Array
    indices: np.ndarray
    """Indices of their examples in the split: all but those that were skipped."""


@dataclass(frozen=True, kw_only=True)
class Preprocessed:
    """The fields of all splits after the steps that are computed once."""

    splits: Mapping[str, Fields]
    raw: Mapping[str, Fields]
    """By split the fields that are preprocessed, as the source gives them."""
    fields: Mapping[str, FieldPreprocessing]
    skipped: Mapping[str, int]
    """Number of examples that could not be preprocessed, by split."""


def preprocess(config: Config, spec: NetworkSpec, splits: Mapping[str, Fields]) -> Preprocessed:
    """Fit the preprocessing of every field on the training examples, and compute what is kept of all splits.

    Raises:
        DataError: nothing can be learned from the examples, or an example cannot be preprocessed.
    """
    steps = {name: kinds for name, kinds in config.data.preprocess.items() if kinds and name in splits["train"]}
    targets = {name for reader in config.train.readers.values() for name in reader.data_fields.values()}
    fields: dict[str, FieldPreprocessing] = {}
    kept: dict[str, Mapping[str, Kept]] = {}
    for name, kinds in steps.items():
        arrays = {split: values[name] for split, values in splits.items()}
        with timed(f"preprocessing '{name}'"):
            fields[name], kept[name] = _preprocess_field(
                name, kinds, arrays, keeps_all=name not in spec.inputs or name in targets
            )
    remaining = {
        split: _remaining(len(next(iter(values.values()))), [parts[split].indices for parts in kept.values()])
        for split, values in splits.items()
    }
    raw = {split: {name: _rows(values[name], remaining[split]) for name in steps} for split, values in splits.items()}

    def kept_of(split: str) -> Fields:
        found: dict[str, Array] = {}
        for name, array in splits[split].items():
            if name in kept:
                found |= parts_of(fields[name], _of(kept[name][split], remaining[split]))
            else:
                found[name] = _rows(array, remaining[split])
        return {name: array for name, array in found.items() if name in spec.inputs or name in targets}

    for split, indices in remaining.items():
        if not len(indices):
            raise DataError.at("data.preprocess", f"no {split} example can be preprocessed")
    return Preprocessed(
        splits={split: kept_of(split) for split in splits},
        raw=raw,
        fields=fields,
        skipped={
            split: count - len(remaining[split])
            for split, values in splits.items()
            if (count := len(next(iter(values.values())))) > len(remaining[split])
        },
    )


def _remaining(count: int, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the indices that all fields have."""
    remaining = np.arange(count)
    for indices in parts:
        remaining = remaining if len(indices) == count else np.intersect1d(remaining, indices, assume_unique=True)
    return remaining


def _rows(array: Array, indices: np.ndarray) -> Array:
    return array if len(indices) == len(array) else rows_of(array, indices)


def _of(kept: Kept, indices: np.ndarray) -> Array:
    return _rows(kept.values, np.searchsorted(kept.indices, indices))


def _preprocess_field(
    field: str, steps: Sequence[Preprocess], splits: Mapping[str, Array], *, keeps_all: bool
) -> tuple[FieldPreprocessing, Mapping[str, Kept]]:
    count = len(steps)
    while not keeps_all and count and steps[count - 1].in_step:
        count -= 1
    raw = raw_spec(steps, splits["train"])
    once = FieldPreprocessing(field=field, raw=raw)
    if count:
        once, kept = _computed_once(once, steps[:count], splits)
    else:
        kept = {split: Kept(array, np.arange(len(array))) for split, array in splits.items()}
    once = replace(once, kept_shape=tuple(kept["train"].values.shape[1:]))
    rest = fit_steps(FieldPreprocessing(field=field, raw=once.kept_spec), steps[count:], kept["train"].values)
    return replace(once, in_step=rest.kept), kept


def _computed_once(
    before: FieldPreprocessing, steps: Sequence[Preprocess], splits: Mapping[str, Array]
) -> tuple[FieldPreprocessing, Mapping[str, Kept]]:
    """Return the fitted steps and their values: from the cache, or computed and, if that took long, put into it."""
    expensive = any(step.one_by_one for step in steps) or sum(array.nbytes for array in splits.values()) > UNCACHED
    if not expensive:
        once = fit_steps(before, steps, splits["train"])
        return once, {split: _in_memory(once, array) for split, array in splits.items()}
    entry = cache_folder("preprocessed") / _key(steps, splits)
    at = f"data.preprocess.{before.field}"
    try:
        if not entry.is_dir():
            _fill(entry, before, steps, splits)
    except OSError as error:
        raise DataError.at(at, cannot_write(entry.parent, error, OTHER_FOLDER)) from None
    with suppress(OSError):  # The cache of another user may be read.
        os.utime(entry)
    with reading(at, f"{entry} cannot be read", raises=DataError, fix=f"delete it, or {OTHER_FOLDER}"):
        return _of_cache(entry, before, steps, splits)


def _of_cache(
    entry: Path, before: FieldPreprocessing, steps: Sequence[Preprocess], splits: Mapping[str, Array]
) -> tuple[FieldPreprocessing, Mapping[str, Kept]]:
    """Return the fitted steps and their values, which an entry of the cache holds."""
    plain = json.loads((entry / "fitted.json").read_text(encoding="utf-8"))
    fitted = tuple(Step.of(kind, item) for kind, item in zip(steps, plain, strict=True))
    once = FieldPreprocessing(field=before.field, raw=before.raw, kept=fitted)
    opened, held = {}, 0
    for split in splits:
        values, indices = _opened(entry, split)
        held += values.nbytes
        large = isinstance(values, np.memmap) and held > IN_MEMORY
        opened[split] = Kept(MappedArray(values) if large else np.asarray(values), indices)
    return once, opened


def _key(steps: Sequence[Preprocess], splits: Mapping[str, Array]) -> str:
    """Return the digest of all that the values depend on."""
    digest = hashlib.sha256(f"{VERSION} {tf.tensorflow_version()}".encode())
    digest.update(json.dumps([step.model_dump() for step in steps], sort_keys=True).encode())
    for step in steps:
        for file in step.files:
            digest.update(located(file).read_bytes())
    for split, array in splits.items():
        digest.update(f"{split} {array.dtype} {array.shape}".encode())
        digest.update(identity(array))
    return digest.hexdigest()[:32]


def identity(array: Array) -> bytes:
    """Return a digest of the values of an array, or of the files that hold them."""
    digest = hashlib.sha256()
    if (known := identity_of(array)) is not None:
        return known
    for start in range(0, len(array), 4096):
        hash_values(digest, array[start : start + 4096])
    return digest.digest()


def _fill(entry: Path, before: FieldPreprocessing, steps: Sequence[Preprocess], splits: Mapping[str, Array]) -> None:
    """Write an entry of the cache, whole or not at all; that of another process, which was faster, stays."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _make_room(entry.parent)
    once = fit_steps(before, steps, splits["train"])
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=PARTIAL) as temporary:
        partial = Path(temporary) / "entry"
        partial.mkdir()
        (partial / "fitted.json").write_text(json.dumps([step.plain() for step in once.kept]), encoding="utf-8")
        for split, array in splits.items():
            _write(partial, split, once, array)
        try:
            partial.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise


def _write(folder: Path, split: str, once: FieldPreprocessing, array: Array) -> None:
    """Write the values of a split as they are computed."""
    indices: list[np.ndarray] = []
    file = folder / f"{split}.npy"
    with file.open("wb") as opened, closing(_same_shape(once, array)) as values:
        for chosen, batch in values:
            if not indices:
                layout = {"descr": batch.dtype.str, "fortran_order": False, "shape": (len(array), *batch.shape[1:])}
                np.lib.format.write_array_header_1_0(opened, layout)
                end = opened.tell() + len(array) * batch[0].nbytes
            opened.write(np.ascontiguousarray(batch).data)  # Faster than a map, whose pages the system adds one by one.
            indices.append(chosen)
        if indices:
            opened.truncate(end)
    kept = np.concatenate(indices) if indices else np.zeros(0, np.int64)
    np.save(folder / f"{split}.indices.npy", kept, allow_pickle=False)


def _opened(entry: Path, split: str) -> tuple[Any, np.ndarray]:
    """Return the values of a split, a memory map unless there are none, and the indices of their examples."""
    indices = np.load(entry / f"{split}.indices.npy", allow_pickle=False)
    if not len(indices):
        return np.zeros(0, np.float32), indices
    return np.load(entry / f"{split}.npy", mmap_mode="r", allow_pickle=False)[: len(indices)], indices


def _in_memory(once: FieldPreprocessing, array: Array) -> Kept:
    with closing(_same_shape(once, array)) as batches:
        found = list(batches)
    return Kept(np.concatenate([values for _, values in found]), np.concatenate([indices for indices, _ in found]))


def _same_shape(once: FieldPreprocessing, array: Array) -> Batches:
    """Yield the computed batches of a field, whose examples all have one shape.

    Raises:
        DataError: they do not.
    """
    shape: tuple[int, ...] | None = None
    with closing(computed(once, array)) as batches:  # Its session is closed here, not when the garbage is collected.
        for indices, values in batches:
            shape = values.shape[1:] if shape is None else shape
            if values.shape[1:] != shape:
                fix = (
                    "add {kind: resize, size: [HEIGHT, WIDTH]}" if len(shape) > 1 else "end with {kind: pad, length: N}"
                )
                sizes = f"{list(values.shape[1:])}, those before it {list(shape)}"
                message = f"{name_of(array, int(indices[0]))} has the shape {sizes}; {fix}"
                raise DataError.at(f"data.preprocess.{once.field}", message)
            yield indices, values


def _make_room(folder: Path) -> None:
    """Delete the entries that were not used for the longest time, until the cache is within its size."""
    whole = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(PARTIAL)]
    entries = sorted(whole, key=lambda path: path.stat().st_mtime)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in entries}
    total = sum(sizes.values())
    for path in entries:
        if total <= MOST_CACHED:
            break
        _log.info("deleting %s from the cache: %.1f MB", path.name, sizes[path] / 1e6)
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]
