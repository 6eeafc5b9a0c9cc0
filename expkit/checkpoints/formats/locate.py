"""The location of a file of variables, given by prefix, folder, run or file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expkit.errors import CheckpointError, reading

__all__ = ["ALLOWED", "Format", "VariableFile", "checkpoints_in_folder", "locate"]

_log = logging.getLogger(__name__)

Format = Literal["v2", "v1", "npz", "safetensors"]

ALLOWED = (
    "allowed: a checkpoint's prefix (FILE of FILE.index), a folder of checkpoints, a run folder, a SavedModel folder, "
    "a checkpoint file of TensorFlow's V1 format, a .npz or .safetensors file"
)
_LATEST_LINE = re.compile(rb"""^model_checkpoint_path:\s*(["'])((?:\\.|(?!\1).)*)\1""", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_TABLE_END = bytes.fromhex("57fb808b247547db")
_SHARD = re.compile(r"(.*)-[0-9?]{5}-of-(\d{5})\Z")


@dataclass(frozen=True)
class VariableFile:
    """A file of variables on disk, or the files of a checkpoint."""

    path: Path
    """A prefix for ``v2``, a file otherwise; for a sharded V1 checkpoint the pattern that matches all shards."""
    format: Format


def locate(source: str, at: str) -> VariableFile:
    """Return the file of variables that a user gave by prefix, folder, run or file.

    Raises:
        CheckpointError: it is missing, cannot be read, or has an unknown format.
    """
    with reading(at, f"cannot read {source}", raises=CheckpointError, fix=ALLOWED):
        return _located(source, at)


def _located(source: str, at: str) -> VariableFile:
    if not source.strip():  # An unset shell variable must not mean the working folder.
        raise CheckpointError.at(at, f"is empty; {ALLOWED}")
    path = Path(source).expanduser()
    if path.suffix == ".index" and path.is_file():
        path = path.with_suffix("")
    if (found := _checkpoint(path)) is not None:
        return found
    if path.is_file():
        found = _file(path)
        if found is None:
            raise CheckpointError.at(at, f"{source} is damaged or not a file of variables; {ALLOWED}")
        return found
    for folder in (path / "variables", path, path / "checkpoints"):
        if (found := _in_folder(folder, at)) is not None:
            return found
    raise CheckpointError.at(at, f"no checkpoint at {source}; {ALLOWED}")


def _in_folder(folder: Path, at: str) -> VariableFile | None:
    pointer = folder / "checkpoint"
    if pointer.is_file() and (match := _LATEST_LINE.search(pointer.read_bytes())):
        named = Path(os.fsdecode(_ESCAPE.sub(_unescaped, match[2])))
        if (found := _at(folder / named)) is not None:
            return found
        # A folder that was moved keeps the path that it had.
        for moved in [folder.joinpath(*named.parts[-count:]) for count in (1, 2)] if named.is_absolute() else []:
            if (found := _at(moved)) is not None:
                _log.warning("%s names %s, which is missing; %s is read in its place", pointer, named, moved)
                return found
        raise CheckpointError.at(at, f"{pointer} names {named}, whose .index file is missing")
    inside = checkpoints_in_folder(folder)
    if len(inside) > 1:
        names = ", ".join(found.path.name for found in inside)
        raise CheckpointError.at(at, f"several checkpoints in {folder}; give the prefix of one: {names}")
    return inside[0] if inside else None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """Return the bytes of an escape of protocol buffers' text format, in which TensorFlow writes the pointer."""
    octal, hexadecimal, letter = escape.groups()
    if letter is None:
        return bytes([int(octal, 8) % 256 if octal is not None else int(hexadecimal, 16)])
    return _ESCAPED.get(letter, letter)


def _at(path: Path) -> VariableFile | None:
    return _checkpoint(path) or (_file(path) if path.is_file() else None)


def checkpoints_in_folder(folder: Path) -> list[VariableFile]:
    """Return the V1 and V2 checkpoints whose files are directly in a folder, by name."""
    files = sorted(file for file in folder.glob("*") if file.is_file())
    found = {VariableFile(file.with_suffix(""), "v2"): None for file in files if file.suffix == ".index"}
    for file in files:
        if file.suffix != ".index" and _ends_as_table(file):
            match = _SHARD.match(file.name)
            name = f"{match[1]}-?????-of-{match[2]}" if match else file.name
            found[VariableFile(file.with_name(name), "v1")] = None
    return sorted(found, key=lambda item: item.path.name)


def _checkpoint(path: Path) -> VariableFile | None:
    """Return the V1 or V2 checkpoint of a prefix, or ``None``."""
    if Path(f"{path}.index").is_file():
        return VariableFile(path, "v2")
    if match := _SHARD.match(path.name):
        path = path.with_name(match[1])
    shards = sorted(_shards(path))
    return VariableFile(path.with_name(f"{path.name}-?????-of-{shards[-1]}"), "v1") if shards else None


def _shards(path: Path) -> Iterator[str]:
    """Yield the number of shards that each shard of a V1 checkpoint declares."""
    if path.parent.is_dir() and path.name:
        for file in path.parent.iterdir():
            match = _SHARD.match(file.name)
            if match and match[1] == path.name and _ends_as_table(file):
                yield match[2]


def _file(path: Path) -> VariableFile | None:
    if path.suffix == ".safetensors":
        return VariableFile(path, "safetensors")
    if path.suffix == ".npz":
        return VariableFile(path, "npz")
    return VariableFile(path, "v1") if _ends_as_table(path) else None


def _ends_as_table(path: Path) -> bool:
    """Return True if a file ends as TensorFlow's tables do."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(_TABLE_END)))
            return file.read() == _TABLE_END
    except OSError:
        return False
