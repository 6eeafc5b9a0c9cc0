"""The record of a checkpoint, ``checkpoint.json``: what was measured, with what tells whether its files are whole.

It holds the size of every file, the SHA-256 of those without values, and one of itself. The index among them holds a
CRC-32C of every value, which TensorFlow checks as it reads: so every byte is covered, and no value is read twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["RECORD", "Damage", "check_contents", "read_record", "write_record"]

RECORD = "checkpoint.json"


class Damage(Exception):
    """Raised when a checkpoint is not as it was written; says how, for a message."""


def write_record(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the record of the files that a folder holds, beside them.

    Args:
        folder: of the checkpoint.
        content: plain values to keep; ``files`` and ``sha256`` are added.
    """
    files = {
        file.name: {"bytes": file.stat().st_size} | ({} if _has_values(file) else {"sha256": _digest(file)})
        for file in sorted(folder.iterdir())
    }
    kept = {**content, "files": files}
    (folder / RECORD).write_text(json.dumps({**kept, "sha256": _own_digest(kept)}))


def read_record(folder: Path) -> dict[str, Any]:
    """Return what a record holds; sizes of the files are compared, none is read.

    Raises:
        Damage: the record is not what was written, or a file is missing or of another size.
    """
    try:
        content = dict(json.loads((folder / RECORD).read_text()))
        digest = content.pop("sha256")
    except (OSError, ValueError, KeyError, TypeError):
        raise Damage(f"{RECORD} cannot be read") from None
    if digest != _own_digest(content):
        raise Damage(f"{RECORD} has another checksum than when it was written")
    for name, file in content["files"].items():
        path = folder / name
        if not path.is_file():
            raise Damage(f"{name} is missing")
        if path.stat().st_size != file["bytes"]:
            raise Damage(f"{name} has {path.stat().st_size:,} bytes, {file['bytes']:,} were written")
    return content


def check_contents(folder: Path, files: Mapping[str, Any]) -> None:
    """Read the files without values and compare their checksums.

    Args:
        folder: of the checkpoint.
        files: what its record says of them.

    Raises:
        Damage: one is not what was written.
    """
    for name, file in files.items():
        if "sha256" in file and _digest(folder / name) != file["sha256"]:
            raise Damage(f"{name} has another checksum than when it was written")


def _has_values(file: Path) -> bool:
    return ".data-" in file.name


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _own_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
