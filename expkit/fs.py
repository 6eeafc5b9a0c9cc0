"""Files on disk: atomic writes, locks between processes, the message for an unwritable path.

A process that is killed, or a disk that is full, leaves the old file or the new one, never half of either; at most a
hidden ``.NAME.XXXXXXXX.partial`` stays behind. Two writers of one file do not disturb each other: the last one wins.

After a power loss, a durable write that returned is there. One with ``durable=False`` may be lost, or be empty: that is
for files that can be created again, such as plots, and saves the wait for the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, TextIO

from expkit.errors import error_message

__all__ = [
    "Locked",
    "atomic_write",
    "atomic_write_text",
    "cannot_write",
    "file_digest",
    "file_lock",
    "force_to_disk",
    "partial_folder",
    "read_json",
]


class Locked(Exception):
    """Raised when another process holds a lock."""


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary file to write, which replaces ``path`` at the end of the block; an error leaves ``path`` as is.

    Args:
        path: the file, in a folder that exists.
        durable: wait until the file and its name are on the disk.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        if durable:
            force_to_disk(partial)
        os.replace(partial, path)
        if durable:
            force_to_disk(path.parent)
    finally:
        with suppress(OSError):  # After the replacement there is none.
            partial.unlink()


def atomic_write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text as UTF-8; arguments and errors are those of ``atomic_write``."""
    with atomic_write(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside a path, to be put in its place; at the end it is removed if it is still there.

    Those that killed processes left behind are removed first. A lock tells that a process still writes into one.

    Args:
        path: the folder that is to be written; folders above it are created.

    Raises:
        OSError: the folder cannot be created.
    """
    for left in path.parent.glob(f".{escape(path.name)}.{'[0-9a-f]' * 8}.partial"):
        with suppress(OSError), _locked_folder(left):
            shutil.rmtree(left)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        with _locked_folder(partial):
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked_folder(path: Path) -> Iterator[None]:
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one where the file is missing, damaged or holds something else."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def force_to_disk(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, would survive a power loss."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def file_digest(path: Path) -> str:
    """Return the SHA-256 hash of a file's content."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def file_lock(path: Path, *, wait: bool = False) -> Iterator[TextIO]:
    """Hold an exclusive lock on a file, and yield the file, opened for appending; it is created where it is missing.

    The system releases the lock when the process ends, however it ends. It does not hinder readers or writers that do
    not ask for it, nor SQLite, whose locks are of another kind.

    Args:
        path: the file.
        wait: wait for the lock while another process holds it.

    Raises:
        Locked: another process holds it.
        OSError: the file cannot be opened.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Locked(path) from None
        yield file


def cannot_write(path: Path | str, error: Exception, fix: str = "") -> str:
    """Return the message for a file or folder that cannot be written, with the way out if there is one."""
    cause = error.strerror if isinstance(error, OSError) else None
    return f"cannot write {path} ({cause or error_message(error)})" + (f"; {fix}" if fix else "")
