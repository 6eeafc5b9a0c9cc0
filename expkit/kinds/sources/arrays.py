"""Files of NumPy arrays: ``.npz`` in memory, ``.npy`` on disk."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from expkit.errors import DataError, comma_list, reading
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.machine import machine_memory, size_text
from expkit.registry import register

if TYPE_CHECKING:
    import numpy as np

    from expkit.npy_files import NpyHeader

__all__ = ["NpyFiles", "Npz"]


@register
class Npz(Source):
    """Arrays of a NumPy ``.npz`` file, each a field."""

    kind: Literal["npz"] = "npz"
    path: str
    """The file."""
    fields: dict[str, str] = {}
    """Field names by array name, for the arrays to load; all, under their own names, when not given."""

    @model_validator(mode="after")
    def _distinct(self) -> Npz:
        for field, count in Counter(self.fields.values()).items():
            if count > 1:
                names = comma_list(name for name, given in self.fields.items() if given == field)
                raise ValueError(f"arrays {names} cannot all be the field '{field}'")
        return self

    def load(self) -> Fields:
        """Return the arrays."""
        from expkit.npy_files import npz_headers, read_member

        file = existing(self.path, "path")
        problem = f"{file} is not a readable .npz file"
        if not zipfile.is_zipfile(file):
            raise DataError.at("data.source.path", f"{problem}: it is not a zip archive")
        with reading("data.source.path", problem, raises=DataError), zipfile.ZipFile(file) as archive:
            found = npz_headers(archive)
            if missing := [name for name in self.fields if name not in found]:
                raise DataError.at("data.source.fields", f"no array {comma_list(missing)} in {file}")
            chosen = {self.fields.get(name, name): found[name] for name in self.fields or found}
            headers = {name: header for name, (_, header) in chosen.items()}
            if not headers:
                raise DataError.at("data.source.path", f"{file} has no arrays")
            _check("data.source.path", f"the arrays of {file}", headers)
            size = sum(math.prod(header.shape) * header.dtype.itemsize for header in headers.values())
            if size > machine_memory():
                raise DataError.at(
                    "data.source.path",
                    f"the arrays of {file} need {size_text(size)}, this machine has {size_text(machine_memory())}; "
                    "write them as .npy files, which data=arrays reads by index",
                )
            arrays = {name: read_member(archive, info) for name, (info, _) in chosen.items()}
        return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}


def _check(at: str, subject: str, headers: Mapping[str, NpyHeader]) -> None:
    """Check that arrays hold numbers of the same number of examples."""
    for name, header in headers.items():
        if header.dtype.hasobject:
            raise DataError.at(at, f"{subject}: '{name}' holds pickled Python objects, which are never read")
        if not header.shape or 0 in header.shape:
            raise DataError.at(
                at,
                f"{subject}: '{name}' has shape {list(header.shape)}; needs a first dimension that counts examples, "
                "and no size of 0",
            )
    if len({header.shape[0] for header in headers.values()}) > 1:
        sizes = comma_list(f"{name} {header.shape[0]}" for name, header in headers.items())
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

        from expkit.kinds.sources.mapped import MappedArray
        from expkit.npy_files import npy_header

        headers: dict[str, NpyHeader] = {}
        maps: dict[str, np.memmap] = {}
        for name, path in self.fields.items():
            at = f"data.source.fields.{name}"
            file = existing(path, f"fields.{name}")
            with reading(at, f"{file} is not a readable .npy file", raises=DataError):
                with file.open("rb") as opened:
                    header = npy_header(opened, file.stat().st_size)
                _check(at, str(file), {name: header})
                headers[name] = header
                order: Literal["F", "C"] = "F" if header.fortran else "C"
                maps[name] = np.memmap(file, header.dtype, "r", header.start, header.shape, order)
        _check("data.source.fields", "the files", headers)
        return {name: MappedArray(array) for name, array in maps.items()}
