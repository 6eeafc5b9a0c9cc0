"""A source of variables: names, shapes and dtypes at once, values when they are asked for."""

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

__all__ = ["Source", "damage_told"]

_DAMAGE = (OSError, ValueError, TypeError, RuntimeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error)
"""What TensorFlow (RuntimeError, IndexError, ...), NumPy and the standard library raise at damaged files."""


@dataclass(frozen=True)
class Source:
    """A file of variables, opened; names are sorted."""

    path: Path
    """Prefix of a checkpoint, or the file."""
    format: str
    """``V2``, ``V1``, ``object-based``, ``npz`` or ``safetensors``."""
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """TensorFlow's names of dtypes, by name: ``float32``, ``bfloat16``, ``string``."""
    get: Callable[[str], Any]
    """How the format reads one."""
    at: str
    """What named the file, for errors."""

    def read(self, name: str) -> np.ndarray:
        """Return the values under a name of ``shapes``; strings as an array of ``bytes`` objects.

        Raises:
            CheckpointError: the file is damaged.
        """
        with damage_told(self.path, self.at):
            return np.asarray(self.get(name), object if self.dtypes[name] == "string" else None)


@contextmanager
def damage_told(path: Path, at: str) -> Iterator[None]:
    """Turn what is raised while a damaged file is read into a ``CheckpointError``."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, _DAMAGE) and not type(error).__module__.startswith(("tensorflow", "google.protobuf")):
            raise
        raise CheckpointError.at(
            at, f"{path} is damaged or incomplete: {error_message(error)}; use another checkpoint"
        ) from None
