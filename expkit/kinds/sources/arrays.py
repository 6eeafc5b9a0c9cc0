"""Files of NumPy arrays: ``.npz`` in memory, ``.npy`` on disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from expkit.errors import DataError, comma_list
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.registry import register

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NpyFiles", "Npz"]


@register
class Npz(Source):
    """Arrays of a NumPy ``.npz`` file, each a field."""

    kind: Literal["npz"] = "npz"
    path: str
    """The file."""
    fields: dict[str, str] = {}
    """Field names by array name, for the arrays to load; all, under their own names, when not given."""

    def load(self) -> Fields:
        """Return the arrays."""
        import numpy as np

        file = existing(self.path, "path")
        if not zipfile.is_zipfile(file):
            raise DataError.at("data.source.path", f"{file} is not a readable .npz file: it is no zip archive")
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files if not self.fields or name in self.fields}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError.at("data.source.path", f"{file} is not a readable .npz file: {error}") from None
        if missing := [name for name in self.fields if name not in arrays]:
            raise DataError.at("data.source.fields", f"no array {comma_list(missing)} in {file}")
        arrays = {self.fields.get(name, name): array for name, array in arrays.items()}
        if not arrays or any(array.ndim == 0 for array in arrays.values()):
            raise DataError.at("data.source.path", f"{file} needs arrays with a first dimension that counts examples")
        _check_sizes("data.source.path", f"the arrays of {file}", arrays)
        return arrays


def _check_sizes(at: str, subject: str, arrays: Mapping[str, np.ndarray]) -> None:
    if len({len(array) for array in arrays.values()}) > 1:
        sizes = comma_list(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError.at(at, f"{subject} differ in their number of examples: {sizes}")


@register
class NpyFiles(Source):
    """NumPy ``.npy`` files, each a field; examples are read from disk on demand, so files may exceed memory."""

    kind: Literal["arrays"] = "arrays"
    fields: dict[str, str] = Field(min_length=1)
    """Files by field name."""

    def load(self) -> Fields:
        """Return the fields, on disk."""
        import numpy as np

        from expkit.kinds.sources.on_disk import MappedArray

        maps: dict[str, np.memmap] = {}
        for name, path in self.fields.items():
            file = existing(path, f"fields.{name}")
            try:
                maps[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, EOFError, ValueError) as error:
                raise DataError.at(
                    f"data.source.fields.{name}", f"{file} is not a readable .npy file: {error}"
                ) from None
            if not isinstance(maps[name], np.memmap) or maps[name].ndim == 0:
                raise DataError.at(
                    f"data.source.fields.{name}",
                    f"{file} needs one array with a first dimension that counts examples (.npy, not .npz)",
                )
        _check_sizes("data.source.fields", "the files", maps)
        return {name: MappedArray(array) for name, array in maps.items()}
