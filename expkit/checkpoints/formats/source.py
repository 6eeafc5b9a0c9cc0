"""A source of variables: names, shapes and dtypes are read at once, values on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import CheckpointError, reading
from expkit.tensor_spec import TensorSpec

__all__ = ["USE_ANOTHER", "VariableSource"]

USE_ANOTHER = "use another checkpoint"


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

    def __post_init__(self) -> None:
        for name in self.variables:
            name.encode()  # A lone surrogate could neither be printed nor written.

    def read(self, name: str) -> np.ndarray:
        """Return the value of a variable; strings as an array of ``bytes`` objects.

        Raises:
            CheckpointError: the file is damaged.
        """
        with reading(self.at, f"{self.path} is damaged or incomplete", raises=CheckpointError, fix=USE_ANOTHER):
            return np.asarray(self.get(name), object if self.variables[name].dtype == "string" else None)
