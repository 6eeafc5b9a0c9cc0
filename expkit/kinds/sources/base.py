"""The source of examples: named arrays whose first dimension counts examples."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from expkit.errors import DataError, did_you_mean, reading
from expkit.registry import Kind

if TYPE_CHECKING:
    from expkit.kinds.sources.on_disk import Array

__all__ = ["Fields", "Source", "existing", "located", "no_file", "square_image_shape"]

OWN = "expkit:"
EMBEDDED = Path(__file__).parent / "embedded"
"""Folder of the small files that expkit brings along."""

Fields = Mapping[str, "Array"]
"""Arrays by field name, in memory or on disk; all have the same number of examples."""


class Source(Kind):
    """A source of examples."""

    family: ClassVar[str] = "source"

    @abstractmethod
    def load(self) -> Fields:
        """Return all examples: NumPy arrays, or fields that stay on disk (``expkit.kinds.sources.on_disk``).

        Raises:
            DataError: a file is missing, damaged or of another format.
        """

    def columns_of_fields(self) -> dict[str, tuple[str, ...]]:
        """Return the columns of each field, where the source is a table, as ``load`` finds them."""
        return {}

    def image_shape(self, shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
        """Return height, width and channels of examples of a shape; ``None`` if they are not images."""
        height, width, channels = shape if len(shape) == 3 else (None, None, None)
        if height is None or width is None or channels is None or channels not in (1, 3, 4):
            return None
        return height, width, channels


def square_image_shape(shape: tuple[int | None, ...]) -> tuple[int, int, int] | None:
    """Return the shape of a square image that is flattened to a row; ``None`` if there is none."""
    if len(shape) != 1 or shape[0] is None or math.isqrt(shape[0]) ** 2 != shape[0]:
        return None
    return math.isqrt(shape[0]), math.isqrt(shape[0]), 1


def located(path: str) -> Path:
    """Return the path of a file; ``expkit:NAME`` is a small one that expkit brings along, ``~`` the home folder."""
    return EMBEDDED / path.removeprefix(OWN) if path.startswith(OWN) else Path(path).expanduser()


def no_file(path: Path) -> str:
    """Return what a path is that exists and is not a file, such as a pipe, which cannot be read twice."""
    return "a folder" if path.is_dir() else "no regular file"


def existing(path: str, field: str) -> Path:
    """Return the path of a file that exists, ``located``.

    Raises:
        DataError: it does not exist, or nobody may look whether it does.
    """
    file = located(path)
    with reading(f"data.source.{field}", f"{file} cannot be read", raises=DataError):
        if not file.is_file():
            fix = f"give the path of an existing file with data.source.{field}=PATH"
            if file.exists():
                raise DataError.at(f"data.source.{field}", f"{file} is {no_file(file)}; {fix}")
            near = did_you_mean(file.name, (p.name for p in file.parent.iterdir())) if file.parent.is_dir() else ""
            raise DataError.at(f"data.source.{field}", f"no file {file}{near or ';'} {fix}")
    return file
