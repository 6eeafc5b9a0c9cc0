"""NumPy's files, whose headers are checked against the size of the file before anything is allocated."""

from __future__ import annotations

import math
import warnings
import zipfile
from dataclasses import dataclass
from typing import IO

import numpy as np

__all__ = ["NpyHeader", "npy_header", "npz_headers", "read_member"]

_MOST_EXPANDED = 1100
"""Deflate expands a byte to less than this many."""

_MOST_BETWEEN = 150
"""Bytes of an archive beside names and contents: 30 of a file's header, with its extra fields. An array has more."""


@dataclass(frozen=True, kw_only=True)
class NpyHeader:
    """The header of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    """One with ``hasobject`` stands before pickled Python objects, which are never read."""
    fortran: bool
    """True if the first index varies fastest."""
    start: int
    """Offset of the first value."""


def npy_header(file: IO[bytes], size: int) -> NpyHeader:
    """Read the header of a ``.npy`` file of a number of bytes; callers turn all exceptions into a message.

    Raises:
        ValueError: it is none, or as many bytes as it declares do not follow.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"arrays of version {version} are unknown")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 2 wrote numbers with an L.
        shape, fortran, dtype = read(file)
    start = file.tell()
    declared = math.prod(shape) * dtype.itemsize
    fits = min(shape, default=0) >= 0 and dtype.itemsize > 0 and start + declared == size
    if not fits and not dtype.hasobject:
        raise ValueError(
            f"its header declares {list(shape)} values of {dtype}, {declared:,} bytes, but {size - start:,} follow it"
        )
    return NpyHeader(shape=tuple(shape), dtype=dtype, fortran=fortran, start=start)


def npz_headers(archive: zipfile.ZipFile) -> dict[str, tuple[zipfile.ZipInfo, NpyHeader]]:
    """Return the arrays of a ``.npz`` file by name, each with its position in the archive.

    Raises:
        ValueError: a file is not an array or occurs twice, or a header is damaged.
    """
    found: dict[str, tuple[zipfile.ZipInfo, NpyHeader]] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename or name in found:
            raise ValueError(f"'{info.filename}' is not an array, or occurs twice")
        if info.file_size > _MOST_EXPANDED * (info.compress_size + 1):
            raise ValueError(f"'{info.filename}' cannot have the size that the archive declares")
        with archive.open(info) as file:
            try:
                header = npy_header(file, info.file_size)
            except ValueError as error:
                raise ValueError(f"array '{name}': {error}") from None
        found[name] = info, header
    _check_complete(archive)
    return found


def _check_complete(archive: zipfile.ZipFile) -> None:
    """Raise ValueError if bytes of the archive belong to no file: its list of files is damaged, and lacks some."""
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset - end > _MOST_BETWEEN:
            raise ValueError("its list of files is damaged: it lacks one")
        end = info.header_offset + len(info.orig_filename.encode()) + info.compress_size
    if archive.start_dir - end > _MOST_BETWEEN:
        raise ValueError("its list of files is damaged: it lacks one")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return the array of a file in a ``.npz`` file, after comparing its checksum."""
    with archive.open(info) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # The checksum is compared at the end of the file.
    return array
