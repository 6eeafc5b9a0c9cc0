"""A .npz file of arrays that arrive in batches of rows, whose number nobody knows in advance."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

__all__ = ["writing_arrays"]

ROWS = 1 << 16
"""Strings of various lengths that are padded at once."""


@contextmanager
def writing_arrays(path: Path) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """Yield a function that takes a batch of every array; the file is complete at the end of the block.

    Until then each array is in a nameless file in the same folder, which the system removes with the process.

    Args:
        path: the file to write; ``numpy.load`` reads it.

    Raises:
        OSError: it cannot be written.
    """
    members: dict[str, _Member] = {}
    with ExitStack() as files, path.open("wb") as target:

        def add(batch: Mapping[str, np.ndarray]) -> None:
            for name, array in batch.items():
                if name not in members:
                    members[name] = _Member(files.enter_context(tempfile.TemporaryFile(dir=path.parent)))
                members[name].add(array)

        yield add
        with zipfile.ZipFile(target, "w") as archive:
            for name, member in members.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as into:
                    member.copy(into)


class _Member:
    """An array on its way into an archive; rows of later batches follow those of the first."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._shape: tuple[int, ...] | None = None
        self._dtype = np.dtype(np.bytes_)
        self._widths = list[tuple[int, int]]()
        """Number of strings in each batch, and bytes of each string."""
        self._lengths: set[int] = set()
        self._ends_with_zero = False

    def add(self, array: np.ndarray) -> None:
        """Append a batch."""
        self._shape = array.shape if self._shape is None else (self._shape[0] + len(array), *self._shape[1:])
        if array.dtype == object:
            values = array.reshape(-1).tolist()
            self._lengths |= {*map(len, values)}
            self._ends_with_zero = self._ends_with_zero or any(value.endswith(b"\0") for value in values)
            array = np.array(values, np.bytes_)
            self._widths.append((array.size, array.itemsize))
        else:
            array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            self._dtype = array.dtype
        self._file.write(np.ascontiguousarray(array).data)

    def copy(self, into: IO[bytes]) -> None:
        """Write the array as a ``.npy`` file; strings all as long as the longest."""
        assert self._shape is not None
        self._file.seek(0)
        width = max((width for _, width in self._widths), default=0)
        # NumPy drops zero bytes at the end of strings; those of one length, as of a file, are kept as void.
        void = self._ends_with_zero and len(self._lengths) == 1
        dtype = np.dtype(f"{'V' if void else 'S'}{width}") if self._widths else self._dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(into, header)
        if {found for _, found in self._widths} <= {width}:
            shutil.copyfileobj(self._file, into)
            return
        for count, found in self._widths:
            for first in range(0, count, ROWS):
                content = self._file.read(min(ROWS, count - first) * found)
                into.write(np.frombuffer(content, f"S{found}").astype(dtype).data)
