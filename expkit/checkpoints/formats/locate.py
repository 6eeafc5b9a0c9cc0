"""Finding the file of variables that a user means: a checkpoint by prefix, by folder or by run, or a file of arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expkit.errors import CheckpointError, error_message

__all__ = ["ALLOWED", "Format", "Found", "checkpoints_right_in", "find"]

Format = Literal["v2", "v1", "npz", "safetensors"]

ALLOWED = (
    "allowed: a checkpoint's prefix (FILE of FILE.index), a folder of checkpoints, a run folder, a SavedModel folder, "
    "a checkpoint file of TensorFlow's V1 format, a .npz or .safetensors file"
)
_LATEST_LINE = re.compile(r'^model_checkpoint_path: "(.*)"', re.MULTILINE)
_TABLE_END = bytes.fromhex("57fb808b247547db")
_SHARD = re.compile(r"(.*)-[0-9?]{5}-of-(\d{5})\Z")


@dataclass(frozen=True)
class Found:
    """A file of variables on disk."""

    path: Path
    """A prefix for ``v2``, a file otherwise; of a V1 checkpoint in parts the pattern that all of them match."""
    format: Format


def find(source: str, at: str) -> Found:
    """Return the file that a user means.

    Raises:
        CheckpointError: there is none, it may not be read, or it is of no known format.
    """
    try:
        return _found(source, at)
    except (OSError, RuntimeError) as error:  # No permission, a name too long; a home folder that nobody has.
        raise CheckpointError.at(at, f"cannot read {source} ({error_message(error)}); {ALLOWED}") from None


def _found(source: str, at: str) -> Found:
    if not source.strip():  # A variable of the shell that is not set, not the working folder.
        raise CheckpointError.at(at, f"names nothing; {ALLOWED}")
    path = Path(source).expanduser()
    if path.suffix == ".index" and path.is_file():
        path = path.with_suffix("")
    if (found := _checkpoint(path)) is not None:
        return found
    if path.is_file():
        found = _file(path)
        if found is None:
            raise CheckpointError.at(at, f"{source} is damaged or no file of variables; {ALLOWED}")
        return found
    for folder in (path / "variables", path, path / "checkpoints"):
        if (found := _in_folder(folder, at)) is not None:
            return found
    raise CheckpointError.at(at, f"no checkpoint at {source}; {ALLOWED}")


def _in_folder(folder: Path, at: str) -> Found | None:
    pointer = folder / "checkpoint"
    if pointer.is_file() and (match := _LATEST_LINE.search(pointer.read_text(errors="replace"))):
        named = folder / match[1]
        found = _checkpoint(named) or (_file(named) if named.is_file() else None)
        if found is None:
            raise CheckpointError.at(at, f"{pointer} names {match[1]}, whose .index file is missing")
        return found
    inside = checkpoints_right_in(folder)
    if len(inside) > 1:
        names = ", ".join(found.path.name for found in inside)
        raise CheckpointError.at(at, f"several checkpoints in {folder}; give one as a prefix: {names}")
    return inside[0] if inside else None


def checkpoints_right_in(folder: Path) -> list[Found]:
    """Return the checkpoints, of either format, whose files lie in a folder itself, by name."""
    files = sorted(file for file in folder.glob("*") if file.is_file())
    found = {Found(file.with_suffix(""), "v2"): None for file in files if file.suffix == ".index"}
    for file in files:
        if file.suffix != ".index" and _ends_as_table(file):
            match = _SHARD.match(file.name)
            name = f"{match[1]}-?????-of-{match[2]}" if match else file.name
            found[Found(file.with_name(name), "v1")] = None
    return sorted(found, key=lambda item: item.path.name)


def _checkpoint(path: Path) -> Found | None:
    """Return the checkpoint of a prefix, of either format; ``None`` where it is none."""
    if Path(f"{path}.index").is_file():
        return Found(path, "v2")
    if match := _SHARD.match(path.name):
        path = path.with_name(match[1])
    shards = sorted(_shards(path))
    return Found(path.with_name(f"{path.name}-?????-of-{shards[-1]}"), "v1") if shards else None


def _shards(path: Path) -> Iterator[str]:
    """Yield how many parts there are, of each part of a V1 checkpoint."""
    if path.parent.is_dir() and path.name:
        for file in path.parent.iterdir():
            match = _SHARD.match(file.name)
            if match and match[1] == path.name and _ends_as_table(file):
                yield match[2]


def _file(path: Path) -> Found | None:
    if path.suffix == ".safetensors":
        return Found(path, "safetensors")
    if path.suffix == ".npz":
        return Found(path, "npz")
    return Found(path, "v1") if _ends_as_table(path) else None


def _ends_as_table(path: Path) -> bool:
    """Return whether a file ends as TensorFlow's tables do."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(_TABLE_END)))
            return file.read() == _TABLE_END
    except OSError:
        return False
