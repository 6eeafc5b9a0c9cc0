"""Arrays of a .npz file, read row by row, so that a file may be larger than memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import DataError, reading

__all__ = ["ArrayInFile", "open_arrays"]

_MOST_EXPANDED = 1100
"""Deflate expands a byte to less than this many."""
_FIX = "give a .npz file with one array per input, as np.savez('inputs.npz', NAME=array) writes"


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, ArrayInFile]]:
    """Yield the arrays of a ``.npz`` file, by name; only their headers are read.

    Raises:
        DataError: it is missing, damaged or of another kind, then or when rows are read.
    """
    at = str(path)
    if not path.exists():
        raise DataError.at(at, f"no such file; {_FIX}")
    if not path.is_file():
        raise DataError.at(at, f"not a regular file; {_FIX}")
    with reading(at, "not a readable .npz file", raises=DataError, fix=_FIX):
        with path.open("rb") as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise DataError.at(at, f"a .npy file: its array has no name; {_FIX}")
        archive = zipfile.ZipFile(path)
    with archive:
        with reading(at, "not a readable .npz file", raises=DataError, fix=_FIX):
            arrays = {info.filename.removesuffix(".npy"): ArrayInFile(at, archive, info) for info in archive.infolist()}
            if len(arrays) < len(archive.infolist()):
                raise ValueError("two arrays have the same name")
        yield arrays


class ArrayInFile:
    """An array in an archive: slices of rows are read one after another."""

    def __init__(self, at: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._at, self._archive, self._info = at, archive, info
        self._file: Any = None
        self._row = 0
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in header:
                raise ValueError(f"arrays of version {version} are unknown")
            self.shape, self._fortran, self.dtype = header[version](file)
            self._start = file.tell()
        if self.dtype.hasobject:
            raise ValueError(f"array '{info.filename}' holds pickled Python objects, which are never read")
        size = self._start + math.prod(self.shape) * self.dtype.itemsize
        if size != info.file_size or size > _MOST_EXPANDED * (info.compress_size + 1):
            raise ValueError(f"array '{info.filename}' has another size than its header declares")

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows, or with ``...`` the whole array."""
        with reading(self._at, f"array '{self._info.filename}' cannot be read", raises=DataError):
            if rows is ... or self._fortran:
                with self._archive.open(self._info) as file:
                    whole: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
                    file.read(1)  # The checksum is compared at the end of the file.
                return whole if rows is ... else whole[rows]
            first, after, _ = rows.indices(self.shape[0])
            self._go_to(first)
            row = math.prod(self.shape[1:]) * self.dtype.itemsize
            content = self._file.read((after - first) * row)
            self._row = after
            if after == self.shape[0]:
                self._file.read(1)
            return np.frombuffer(content, self.dtype).reshape(after - first, *self.shape[1:])

    def _go_to(self, row: int) -> None:
        if self._file is None or row != self._row:
            self._file = self._archive.open(self._info)
            self._file.seek(self._start + row * math.prod(self.shape[1:]) * self.dtype.itemsize)
