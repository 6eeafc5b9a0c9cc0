"""Fields of strings: text as UTF-8 and encoded files, an array of dtype object whose elements are ``bytes``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from expkit.errors import DataError
from expkit.kinds.sources.on_disk import Array, DiskArray

__all__ = ["dtype_text", "is_text", "string_array", "strings"]


def is_text(dtype: np.dtype) -> bool:
    """Return True if an array of a dtype holds text or Python objects; all else are numbers."""
    return dtype.kind in "SUTO"


def dtype_text(dtype: np.dtype) -> str:
    """Return the name of a dtype for messages."""
    return "text" if is_text(dtype) else str(dtype)


def strings(values: Iterator[bytes] | list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Return byte strings as an array of dtype object."""
    array = np.empty(shape, object)
    array.reshape(-1)[:] = list(values)
    return array


def string_array(name: str, array: Array) -> Array:
    """Return a field of text as an array of ``bytes``: ``str`` as UTF-8, a missing value (``None``, NaN) empty.

    Raises:
        DataError: an element is neither ``str`` nor ``bytes``.
    """
    if isinstance(array, DiskArray) and array.dtype.hasobject:
        return array
    values = array[:]
    try:
        return strings([_encoded(value) for value in values.reshape(-1).tolist()], values.shape)
    except (TypeError, UnicodeEncodeError) as error:
        raise DataError.at(f"data.source: field '{name}'", f"{error}; its elements must be str or bytes") from None


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    if value is None or value != value:  # NaN, by which pandas marks what is missing.
        return b""
    raise TypeError(f"holds an element of type {type(value).__name__}")
