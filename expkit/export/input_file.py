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
from expkit.machine import machine_memory
from expkit.npy_files import NpyHeader, npz_headers, read_member

__all__ = ["ArrayInFile", "open_arrays"]

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
            arrays = {name: ArrayInFile(at, archive, *found) for name, found in npz_headers(archive).items()}
        yield arrays


class ArrayInFile:
    """An array in an archive: slices of rows are read one after another."""

    def __init__(self, at: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: NpyHeader) -> None:
        self._at, self._archive, self._info = at, archive, info
        self._file: Any = None
        self._row = 0
        self._whole: np.ndarray | None = None
        self.shape, self._fortran, self.dtype, self._start = header.shape, header.fortran, header.dtype, header.start
        if self.dtype.hasobject:
            raise ValueError(f"array '{info.filename}' holds pickled Python objects, which are never read")

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows, or with ``...`` the whole array."""
        with reading(self._at, f"array '{self._info.filename}' cannot be read", raises=DataError):
            if rows is ... or self._fortran:
                if self._whole is None:  # Once: in Fortran's order no row stands by itself in the file.
                    self._check_memory(math.prod(self.shape) * self.dtype.itemsize)
                    whole = read_member(self._archive, self._info)
                    self._whole = whole if self._fortran else None
                else:
                    whole = self._whole
                return whole if rows is ... else whole[rows]
            first, after, _ = rows.indices(self.shape[0])
            row = math.prod(self.shape[1:]) * self.dtype.itemsize
            self._check_memory((after - first) * row)
            self._go_to(first)
            content = self._file.read((after - first) * row)
            self._row = after
            if after == self.shape[0]:
                self._file.read(1)
            return np.frombuffer(content, self.dtype).reshape(after - first, *self.shape[1:])

    def _check_memory(self, size: int) -> None:
        """Raise DataError if bytes that are read at once do not fit: a small file can unpack to any number of them."""
        if size > machine_memory() // 2:
            name = self._info.filename
            way = (
                "save it with np.ascontiguousarray" if self._fortran else "give fewer examples at once: --batch-size N"
            )
            raise DataError.at(
                self._at, f"array '{name}' has {size:,} bytes to be read at once, more than half of the memory; {way}"
            )

    def _go_to(self, row: int) -> None:
        if self._file is None or row != self._row:
            self._file = self._archive.open(self._info)
            self._file.seek(self._start + row * math.prod(self.shape[1:]) * self.dtype.itemsize)
