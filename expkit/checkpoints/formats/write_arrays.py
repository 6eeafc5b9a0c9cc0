"""Writers of files of named arrays, ``.npz`` and safetensors: values are made one after another."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from expkit.checkpoints.formats.arrays import SAFETENSORS, bytes_of
from expkit.tensor_spec import TensorSpec

__all__ = ["write_npz", "write_safetensors"]

Values = Mapping[str, Callable[[], np.ndarray]]
"""Functions that return the values, by name."""


def write_npz(path: Path, specs: Mapping[str, TensorSpec], values: Values) -> None:
    """Write an uncompressed ``.npz`` file, whose members have the same time whenever it is written.

    Raises:
        ValueError: NumPy alone has no such dtype.
        OSError: it cannot be written.
    """
    for name, spec in specs.items():
        if spec.dtype == "bfloat16" or spec.dtype.startswith("float8"):
            raise ValueError(f"'{name}' is {spec.dtype}, which NumPy alone does not have; write safetensors")
        if spec.dtype == "string":
            raise ValueError(f"'{name}' is string, of which NumPy would drop zero bytes at the end; leave it out")
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name in sorted(specs):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values[name](), order="C"), allow_pickle=False)


def write_safetensors(path: Path, specs: Mapping[str, TensorSpec], values: Values, about: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Args:
        path: the file.
        specs: shapes and dtypes by name.
        values: the values.
        about: facts for the header, such as the run.

    Raises:
        ValueError: the format has no such dtype.
        OSError: it cannot be written.
    """
    codes = {dtype: code for code, dtype in SAFETENSORS.items()}
    header: dict[str, object] = {"__metadata__": dict(about)}
    end = 0
    for name in sorted(specs):
        spec = specs[name]
        if spec.dtype not in codes:
            raise ValueError(f"'{name}' is {spec.dtype}; safetensors has {', '.join(sorted(codes))}")
        first, end = end, end + bytes_of(spec)
        header[name] = {"dtype": codes[spec.dtype], "shape": list(spec.sizes), "data_offsets": [first, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # Values begin at a multiple of 8 bytes, for readers that map the file.
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(specs):
            array = np.asarray(values[name](), order="C")
            assert array.shape == specs[name].sizes, name
            assert array.nbytes == bytes_of(specs[name]), name
            file.write(array.reshape(math.prod(array.shape)).view(np.uint8).data)
