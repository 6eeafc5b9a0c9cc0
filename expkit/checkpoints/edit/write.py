"""Writing a new checkpoint from values that are read one after another: whole or not at all, never over another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.writer import write_values
from expkit.errors import CheckpointError
from expkit.fs import cannot_write, force_to_disk

__all__ = ["new_prefix", "write_new"]

_BYTES_AT_ONCE = 128_000_000


def new_prefix(output: str, at: str) -> Path:
    """Return the prefix of a checkpoint that is not there yet.

    Raises:
        CheckpointError: something of this name is there, or no folder to write it to.
    """
    try:
        prefix = Path(output).expanduser()
        if not prefix.name or prefix.exists() or any(_files(prefix)):
            raise CheckpointError.at(at, f"{output} is there already; give the prefix of a new checkpoint")
        if not prefix.parent.is_dir():
            raise CheckpointError.at(at, f"cannot write {output}: there is no folder {prefix.parent}")
    except (OSError, RuntimeError) as error:  # No permission, a name too long; a home folder that nobody has.
        raise CheckpointError.at(at, cannot_write(output, error)) from None
    return prefix


def write_new(
    prefix: Path, values: Mapping[str, Callable[[], np.ndarray]], at: str, *, bytes_at_once: int = _BYTES_AT_ONCE
) -> None:
    """Write a checkpoint of ``tf.train.Saver``'s second format.

    Args:
        prefix: where to, as ``new_prefix`` returned it.
        values: how each is read, by name.
        at: what the problems are of.
        bytes_at_once: so much is held in memory, or one value if it is larger; more becomes a checkpoint in parts.

    Raises:
        CheckpointError: it cannot be written; nothing is left of it.
    """
    moved: list[Path] = []
    done = False
    try:
        with tempfile.TemporaryDirectory(".partial", f".{prefix.name}.", prefix.parent) as folder:
            partial = Path(folder)
            _merge(list(_parts(partial, values, bytes_at_once)), partial / prefix.name)
            new_prefix(str(prefix), at)
            for file in sorted(_files(partial / prefix.name), key=lambda file: file.suffix == ".index"):
                moved.append(prefix.with_name(file.name))
                force_to_disk(file)
                os.replace(file, moved[-1])  # The index last: without it there is no checkpoint.
            force_to_disk(prefix.parent)
        done = True
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith("tensorflow"):
            raise
        raise CheckpointError.at(at, cannot_write(prefix, error)) from None
    finally:
        for file in () if done else moved:
            file.unlink(missing_ok=True)


def _parts(folder: Path, values: Mapping[str, Callable[[], np.ndarray]], bytes_at_once: int) -> Iterator[str]:
    """Write values as checkpoints of so many bytes each; yield their prefixes."""
    held: dict[str, np.ndarray] = {}
    size = 0
    for place, name in enumerate(sorted(values), 1):
        held[name] = values[name]()
        size += held[name].nbytes
        if size >= bytes_at_once or place == len(values):
            (folder / str(place)).mkdir()
            write_values(str(folder / str(place) / "part"), held)
            held, size = {}, 0
            yield str(folder / str(place) / "part")


def _merge(parts: list[str], prefix: Path) -> None:
    """Make one checkpoint of several."""
    with tf.Graph().as_default() as graph:
        merge = tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=parts, destination_prefix=str(prefix), delete_old_dirs=False
        )
    with tf.plain_session(graph) as session:
        session.run(merge)


def _files(prefix: Path) -> list[Path]:
    starts = (f"{prefix.name}.index", f"{prefix.name}.data-")
    return [file for file in prefix.parent.glob("*") if file.name.startswith(starts)] if prefix.parent.is_dir() else []
