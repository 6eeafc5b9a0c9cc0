"""A source of variables: names, shapes and dtypes are read at once, values on request."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import CheckpointError, error_message
from expkit.tensor_spec import TensorSpec

__all__ = ["VariableSource", "damage_reported"]

_DAMAGE = (OSError, ValueError, TypeError, RuntimeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error)
"""Errors that TensorFlow (RuntimeError, IndexError, ...), NumPy and the standard library raise for damaged files."""


@dataclass(frozen=True, kw_only=True)
class VariableSource:
    """An opened file of variables."""

    path: Path
    """Prefix of a checkpoint, or the file."""
    format: str
    """``V2``, ``V1``, ``object-based``, ``npz`` or ``safetensors``."""
    variables: Mapping[str, TensorSpec]
    """By name, sorted; dtypes by TensorFlow's names: ``float32``, ``bfloat16``, ``string``."""
    get: Callable[[str], Any]
    """Reads the value of one variable."""
    at: str
    """Setting or argument that named the file, for errors."""

    def read(self, name: str) -> np.ndarray:
        """Return the value of a variable; strings as an array of ``bytes`` objects.

        Raises:
            CheckpointError: the file is damaged.
        """
        with damage_reported(self.path, self.at):
            return np.asarray(self.get(name), object if self.variables[name].dtype == "string" else None)


@contextmanager
def damage_reported(path: Path, at: str) -> Iterator[None]:
    """Turn errors raised while a damaged file is read into a ``CheckpointError``."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, _DAMAGE) and not type(error).__module__.startswith(("tensorflow", "google.protobuf")):
            raise
        raise CheckpointError.at(
            at, f"{path} is damaged or incomplete: {error_message(error)}; use another checkpoint"
        ) from None
