"""The contents of files as a field: each file an example, read when it is needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import numpy as np

from expkit.cache import remembered
from expkit.errors import DataError, error_message
from expkit.kinds.sources.folder import AT, Listing, printable
from expkit.kinds.sources.on_disk import DiskArray, file_state
from expkit.kinds.sources.strings import strings
from expkit.kinds.sources.table_content import FIRST_BYTES, encoding_problem

__all__ = ["FileContents", "checked_contents", "first_bytes"]

LARGEST = 1 << 30
"""Size of a file from which on it is not an example: its content would be in memory, several times."""


@final
class FileContents(DiskArray):
    """The bytes of files; with an encoding the text in them, as UTF-8 without a byte order mark."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        sizes: np.ndarray,
        notes: tuple[str, ...],
        encoding: str | None = None,
        identity: bytes | None = None,
    ) -> None:
        self._root = root
        self._names = names
        self._sizes = sizes
        self._notes = notes
        self._encoding = encoding
        self._identity = identity

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, examples first."""
        return (len(self._names),)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the values, ``bytes``."""
        return np.dtype(object)

    @property
    def nbytes(self) -> int:
        """Size of all files, in bytes."""
        return int(self._sizes.sum())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the files that are left out."""
        return self._notes

    def describe(self, index: int) -> str:
        """Return the path of a file."""
        return printable(os.path.join(self._root, self._names[index]))

    def identity(self) -> bytes | None:
        """Return a digest of the names, sizes and times of change of all files when they were listed."""
        return self._identity

    def first_bytes(self, count: int) -> list[bytes]:
        """Return the first bytes of every file.

        Raises:
            DataError: a file cannot be read.
        """
        return first_bytes(self._root, self._names, count)

    def sizes(self, indices: np.ndarray) -> np.ndarray:
        """Return the sizes of files when they were listed, in bytes."""
        return self._sizes.take(indices)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Return the contents of some files.

        Raises:
            DataError: a file cannot be read, or is not in the encoding.
        """
        chosen = zip(indices.tolist(), self._sizes[indices].tolist(), strict=True)
        return strings([self._content_of(self._names[index], size) for index, size in chosen], (len(indices),))

    def _content_of(self, name: str, size: int) -> bytes:
        path = os.path.join(self._root, name)
        try:
            content = _read(path, size + 1, whole=True)
        except OSError as error:
            cause = error.strerror or error_message(error)
            raise DataError.at(
                AT, f"{printable(path)} cannot be read: {cause}; it could be when the folder was listed"
            ) from None
        if self._encoding is None:
            return content
        if problem := encoding_problem(content[:FIRST_BYTES], self._encoding):
            raise DataError.at(AT, f"{printable(path)} {problem}")
        try:
            return content.decode(self._encoding).removeprefix("\ufeff").encode("utf-8")
        except UnicodeError as error:
            raise DataError.at(
                AT,
                f"{printable(path)} is not text in {self._encoding}: {error_message(error)}; give its encoding, such "
                "as data.source.encoding=latin-1 or cp1252",
            ) from None


def checked_contents(
    listing: Listing,
    check: Callable[[Sequence[bytes]], None],
    *,
    count: int = 0,
    notes: tuple[str, ...] = (),
    encoding: str | None = None,
) -> FileContents:
    """Return the contents of listed files, of which every one can be read; those that were checked are not read again.

    Args:
        listing: the files.
        check: raises an error if the first bytes of the files are wrong.
        count: number of first bytes to check of every file.
        notes: sentences about the files that are left out.
        encoding: encoding of text.

    Raises:
        DataError: a file cannot be read.
    """
    root, sizes = os.fspath(listing.root), np.empty(len(listing.names), np.int64)
    digest = hashlib.sha256(f"{encoding} {root}".encode("utf-8", "surrogateescape"))
    for index, name in enumerate(listing.names):
        path = os.path.join(root, name)
        try:
            state = os.stat(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        if state.st_size > LARGEST:
            size = f"{printable(path)} has {state.st_size / LARGEST:,.1f} GiB, and an example at most 1"
            raise DataError.at(AT, f"{size}; remove or divide it")
        sizes[index] = state.st_size
        digest.update(f"{file_state(path, state)}\0".encode("utf-8", "surrogateescape"))
    identity = digest.digest()
    remembered(f"files-{count}-1", identity, lambda: check(first_bytes(listing.root, listing.names, count)), None)
    return FileContents(listing.root, listing.names, sizes, notes, encoding, identity)


def first_bytes(root: Path, names: Sequence[str], count: int) -> list[bytes]:
    """Return the first bytes of every file.

    Raises:
        DataError: a file cannot be read.
    """
    starts, folder = [], os.fspath(root)
    for name in names:
        path = os.path.join(folder, name)
        try:
            starts.append(_read(path, count))
        except OSError as error:
            raise _unreadable(path, error) from None
    return starts


def _read(path: str, count: int, *, whole: bool = False) -> bytes:
    """Return the first bytes of a file; with ``whole`` all of them, which are fastest read if they are less."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe in the file's place would stop the program.
    try:
        content = os.read(opened, count)
        while whole and (more := os.read(opened, max(count, len(content)))):
            content += more
        return content
    finally:
        os.close(opened)


def _unreadable(path: str, error: OSError) -> DataError:
    return DataError.at(AT, f"{printable(path)} cannot be read: {error.strerror or error_message(error)}")
