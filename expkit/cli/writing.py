"""Text that a verb prints, or writes to a file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from expkit.errors import ExpkitError

__all__ = ["print_or_write", "write"]


def print_or_write(text: str, file: str | None) -> None:
    """Print a text, or write it to a file and say so.

    Raises:
        ExpkitError: the file cannot be written.
    """
    if file is None:
        print(text, end="")
    else:
        write(file, text, "FILE")
        print(f"wrote {file}")


def write(file: str, text: str, at: str) -> None:
    """Write a text to a file, whole or not at all.

    Args:
        file: the file; what it held before is kept when this fails.
        text: what it is to hold.
        at: the argument that named it, for the error.

    Raises:
        ExpkitError: the file cannot be written.
    """
    path = Path(file)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ExpkitError.at(at, f"cannot write {file} ({error.strerror})") from None
