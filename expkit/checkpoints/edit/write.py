"""Writer of new checkpoints: values are read one after another, and the result is complete or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.writer import write_values
from expkit.errors import CheckpointError
from expkit.fs import cannot_write, force_to_disk

__all__ = ["mean", "new_prefix", "write_new"]

_BYTES_AT_ONCE = 128_000_000


def new_prefix(output: str, at: str) -> Path:
    """Return the prefix of a checkpoint that does not exist yet.

    Raises:
        CheckpointError: the name is taken, or its folder does not exist.
    """
    try:
        prefix = Path(output).expanduser()
        if not prefix.name or prefix.exists() or any(_files(prefix)):
            raise CheckpointError.at(at, f"{output} already exists; give the prefix of a new checkpoint")
        if not prefix.parent.is_dir():
            raise CheckpointError.at(at, f"cannot write {output}: folder {prefix.parent} does not exist")
    except (OSError, RuntimeError) as error:  # No permission, a name too long, or an unknown home folder.
        raise CheckpointError.at(at, cannot_write(output, error)) from None
    return prefix


def write_new(
    prefix: Path, values: Mapping[str, Callable[[], np.ndarray]], at: str, *, bytes_at_once: int = _BYTES_AT_ONCE
) -> None:
    """Write a checkpoint in the V2 format of ``tf.train.Saver``.

    Args:
        prefix: a prefix that ``new_prefix`` returned.
        values: functions that read the values, by name.
        at: argument to report in problems.
        bytes_at_once: limit of the values held in memory, unless a single one is larger; shards are merged at the end.

    Raises:
        CheckpointError: it cannot be written; no file of it is left.
    """
    moved: list[Path] = []
    done = False
    try:
        with tempfile.TemporaryDirectory(".partial", f".{prefix.name}.", prefix.parent) as folder:
            partial = Path(folder)
            _merge(list(_shards(partial, values, bytes_at_once)), partial / prefix.name)
            new_prefix(str(prefix), at)
            for file in sorted(_files(partial / prefix.name), key=lambda file: file.suffix == ".index"):
                moved.append(prefix.with_name(file.name))
                force_to_disk(file)
                os.replace(file, moved[-1])  # The index last: without it the checkpoint does not exist.
            force_to_disk(prefix.parent)
        done = True
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith("tensorflow"):
            raise
        raise CheckpointError.at(at, cannot_write(prefix, error)) from None
    finally:
        for file in () if done else moved:
            file.unlink(missing_ok=True)


def mean(sources: Sequence[VariableSource], name: str) -> np.ndarray:
    """Return the mean of one variable, summed in float64 (complex128) and rounded once.

    Raises:
        CheckpointError: a source is damaged.
    """
    value = sources[0].read(name)
    dtype = value.dtype
    total = value.astype(np.complex128 if dtype.kind == "c" else np.float64)
    for source in sources[1:]:
        total += source.read(name)
    total /= len(sources)
    return total.astype(dtype)


def _shards(folder: Path, values: Mapping[str, Callable[[], np.ndarray]], bytes_at_once: int) -> Iterator[str]:
    """Write the values as checkpoints of limited size; yield their prefixes."""
    held: dict[str, np.ndarray] = {}
    size = 0
    for number, name in enumerate(sorted(values), 1):
        held[name] = values[name]()
        size += held[name].nbytes
        if size >= bytes_at_once or number == len(values):
            (folder / str(number)).mkdir()
            write_values(str(folder / str(number) / "shard"), held)
            held, size = {}, 0
            yield str(folder / str(number) / "shard")


def _merge(shards: list[str], prefix: Path) -> None:
    """Merge checkpoints into one."""
    with tf.Graph().as_default() as graph:
        merge = tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=shards, destination_prefix=str(prefix), delete_old_dirs=False
        )
    with tf.plain_session(graph) as session:
        session.run(merge)


def _files(prefix: Path) -> list[Path]:
    starts = (f"{prefix.name}.index", f"{prefix.name}.data-")
    return [file for file in prefix.parent.glob("*") if file.name.startswith(starts)] if prefix.parent.is_dir() else []
