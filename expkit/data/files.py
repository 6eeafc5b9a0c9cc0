"""Files of examples: whether they are there, and the IDX format, which NumPy does not read."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from expkit.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

__all__ = ["existing", "read_idx"]

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def existing(path: str, field: str) -> Path:
    """Return the path of a file that exists.

    Raises:
        DataError: it does not exist.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        near = did_you_mean(file.name, (p.name for p in file.parent.iterdir())) if file.parent.is_dir() else ""
        raise DataError.at(
            f"data.source.{field}",
            f"no file {file}{near or ';'} give the path of an existing file with data.source.{field}=PATH",
        )
    return file


def read_idx(path: str, field: str, *, dimensions: int) -> np.ndarray:
    """Return the array of an IDX file, gzipped or plain.

    Raises:
        DataError: the file is missing, its magic number is not IDX's or names other dimensions, or its length is not
            what its header says.
    """
    import numpy as np

    file = existing(path, field)
    at = f"data.source.{field}"
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.at(at, f"{file} cannot be read ({error}); it is truncated or damaged, fetch it again") from None
    header = 4 + 4 * dimensions
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or magic[3] != dimensions:
        wanted = f"0x000008{dimensions:02x}"
        raise DataError.at(
            at, f"{file} is not an IDX file of {dimensions} dimension(s): magic 0x{magic.hex()}, wanted {wanted}"
        )
    dtype = np.dtype(_IDX_TYPES[magic[2]])
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4")) if len(content) >= header else ()
    wanted_bytes = header + math.prod(shape) * dtype.itemsize if shape else header
    if len(content) != wanted_bytes or not shape:
        raise DataError.at(
            at, f"{file} is truncated or damaged: {len(content)} bytes, its header says {wanted_bytes}; fetch it again"
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape)
