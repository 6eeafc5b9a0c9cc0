"""Output of a verb to the terminal or to a file."""

from __future__ import annotations

from pathlib import Path

from expkit.errors import ExpkitError
from expkit.fs import atomic_write_text, cannot_write

__all__ = ["print_or_write", "write"]


def print_or_write(text: str, file: str | None) -> None:
    """Print a text, or write it to a file and report that.

    Raises:
        ExpkitError: the file cannot be written.
    """
    if file is None:
        print(text, end="")
    else:
        write(file, text, "FILE")
        print(f"wrote {file}")


def write(file: str, text: str, at: str) -> None:
    """Write a text to a file, which keeps its content when this fails.

    Args:
        file: the file.
        text: its new content.
        at: the argument that named it, for the error.

    Raises:
        ExpkitError: the file cannot be written.
    """
    try:
        atomic_write_text(Path(file), text)
    except OSError as error:
        raise ExpkitError.at(at, cannot_write(file, error)) from None
