"""The record of a checkpoint, ``checkpoint.json``, which also detects damage to its files.

It holds the size of every file, the SHA-256 of those without values, and a SHA-256 of itself. The index among them
holds a CRC-32C of every value, which TensorFlow checks as it reads: so every byte is covered, and no value is read
twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expkit.fs import file_digest, read_json
from expkit.provenance import digest_of

__all__ = ["RECORD", "Damage", "check_contents", "read_record", "recorded", "write_record"]

RECORD = "checkpoint.json"


class Damage(Exception):
    """Raised when a checkpoint differs from what was written; the text says how, for a message."""


def write_record(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the record of the files in a folder, beside them.

    Args:
        folder: folder of the checkpoint.
        content: plain values to record; ``files`` and ``sha256`` are added.
    """
    files = {
        file.name: {"bytes": file.stat().st_size} | ({} if _has_values(file) else {"sha256": file_digest(file)})
        for file in sorted(folder.iterdir())
    }
    kept = {**content, "files": files}
    (folder / RECORD).write_text(json.dumps({**kept, "sha256": digest_of(kept)}))


def read_record(folder: Path) -> dict[str, Any]:
    """Return the contents of a record, after comparing the sizes of the files, which are not read.

    Raises:
        Damage: the record differs from what was written, or a file is missing or of another size.
    """
    content = recorded(folder)
    for name, file in content["files"].items():
        path = folder / name
        if not path.is_file():
            raise Damage(f"{name} is missing")
        if path.stat().st_size != file["bytes"]:
            raise Damage(f"{name} has {path.stat().st_size:,} bytes, {file['bytes']:,} were written")
    return content


def recorded(folder: Path) -> dict[str, Any]:
    """Return the contents of a record; no other file is looked at.

    Raises:
        Damage: it differs from what was written.
    """
    content = read_json(folder / RECORD)
    if (digest := content.pop("sha256", None)) is None:
        raise Damage(f"{RECORD} cannot be read")
    if digest != digest_of(content):
        raise Damage(f"{RECORD} does not have the checksum with which it was written")
    return content


def check_contents(folder: Path, files: Mapping[str, Any]) -> None:
    """Compare the checksums of the files without values.

    Args:
        folder: folder of the checkpoint.
        files: sizes and checksums from its record.

    Raises:
        Damage: a file differs from what was written.
    """
    for name, file in files.items():
        if "sha256" in file and file_digest(folder / name) != file["sha256"]:
            raise Damage(f"{name} does not have the checksum with which it was written")


def _has_values(file: Path) -> bool:
    return ".data-" in file.name
