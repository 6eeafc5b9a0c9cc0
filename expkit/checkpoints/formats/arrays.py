"""Files of named arrays, ``.npz`` or safetensors, as sources of variables.

safetensors files are read here instead of by the package of that name: its NumPy interface cannot return bfloat16 or
float8, and the format is a length, a JSON header and bytes.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.formats.source import VariableSource
from expkit.errors import CheckpointError
from expkit.npy_files import npz_headers, read_member
from expkit.tensor_spec import TensorSpec

__all__ = ["SAFETENSORS", "bytes_of", "open_npz", "open_safetensors"]

_NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
SAFETENSORS = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex64",
    "F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""Dtypes by the format's names for them."""
_SIZES = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
_LONGEST_HEADER = 100_000_000
"""Bytes, the limit of the format."""


def open_npz(path: Path, at: str) -> VariableSource:
    """Open a ``.npz`` file; arrays of Python objects are never unpickled."""
    archive = zipfile.ZipFile(path)
    members = dict(sorted(npz_headers(archive).items()))
    for name, (_, header) in members.items():
        if header.dtype.hasobject:
            raise CheckpointError.at(at, f"{path}: array '{name}' holds pickled Python objects, which are never read")
    dtypes = {name: _npz_dtype(header.dtype, name, path, at) for name, (_, header) in members.items()}
    variables = {name: TensorSpec.of_variable(header.shape, dtypes[name]) for name, (_, header) in members.items()}

    def get(name: str) -> np.ndarray:
        array = read_member(archive, members[name][0])
        if array.dtype.kind == "U":
            array = np.char.encode(array, "utf-8")
        return array.astype(object if dtypes[name] == "string" else dtypes[name], copy=False)

    return VariableSource(path=path, format="npz", variables=variables, get=get, at=at)


def _npz_dtype(dtype: np.dtype, name: str, path: Path, at: str) -> str:
    if dtype.kind in "SU":
        return "string"
    if dtype.name not in _NUMBERS:
        raise CheckpointError.at(
            at,
            f"{path}: array '{name}' is {dtype}; allowed: {', '.join(_NUMBERS)}, strings (NumPy alone has no bfloat16)",
        )
    return str(dtype.name)


def open_safetensors(path: Path, at: str) -> VariableSource:
    """Open a safetensors file; the format has no checksums, so a flipped bit in a value is not detected."""
    entries, start = _safetensors_header(path)
    for name, entry in entries.items():
        if entry["dtype"] not in SAFETENSORS:
            raise CheckpointError.at(
                at, f"{path}: tensor '{name}' is {entry['dtype']}; allowed: {', '.join(SAFETENSORS)}"
            )
    variables = {
        name: TensorSpec.of_variable(entry["shape"], SAFETENSORS[entry["dtype"]]) for name, entry in entries.items()
    }
    end = 0
    for name in sorted(entries, key=lambda name: entries[name]["data_offsets"]):
        first, last = entries[name]["data_offsets"]
        if first != end or last - first != bytes_of(variables[name]):
            raise ValueError(f"the offsets of tensor '{name}' do not fit its shape")
        end = last
    if start + end != path.stat().st_size:
        raise ValueError(f"{start + end} bytes are expected, the file has {path.stat().st_size}")

    def get(name: str) -> np.ndarray:
        spec = variables[name]
        dtype = np.dtype(spec.dtype if spec.dtype in _NUMBERS else tf.as_dtype(spec.dtype).as_numpy_dtype)
        first = start + entries[name]["data_offsets"][0]
        return np.fromfile(path, dtype, math.prod(spec.sizes), offset=first).reshape(spec.sizes)

    return VariableSource(path=path, format="safetensors", variables=variables, get=get, at=at)


def bytes_of(spec: TensorSpec) -> int:
    """Return the size of the values."""
    return math.prod(spec.sizes) * (_SIZES.get(spec.dtype) or np.dtype(spec.dtype).itemsize)


def _safetensors_header(path: Path) -> tuple[dict[str, Mapping[str, Any]], int]:
    """Return the header's entries by tensor name, and the offset of the first value."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - 8):
            raise ValueError("no safetensors header")
        header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError("no safetensors header")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        whole = isinstance(entry, dict) and entry.keys() >= {"dtype", "shape", "data_offsets"}
        if not whole or len(entry["data_offsets"]) != 2 or not _counts([*entry["shape"], *entry["data_offsets"]]):
            raise ValueError(f"the header's entry of tensor '{name}' is not valid")
    return dict(sorted(header.items())), 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _counts(numbers: list[Any]) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
