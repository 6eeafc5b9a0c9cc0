"""Conversion to TensorFlow Lite (LiteRT)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.export.converters.job import Conversion
from expkit.export.converters.savedmodel import SERVING, write_saved_model
from expkit.export.tensor_lists import without_tensor_lists

__all__ = ["calibration_batches", "convert"]

_LEAN = "_convert_from_saved_model"
"""Private part of the converter's ``convert``, which is public but loads the SavedModel twice before, for messages with
lines of Python: of 100 MB in 4 s and 700 MB. Where TensorFlow no longer has it, ``convert`` takes its place."""


def convert(job: Conversion) -> None:
    """Write a TFLite file."""
    lite = tf.lite_module()
    with TemporaryDirectory(prefix="expkit-") as temporary:
        folder = f"{temporary}/savedmodel"
        graph_def = write_saved_model(replace(job, into=folder), {SERVING: job.inputs}, without_tensor_lists)
        converter = _converter(lite, folder)
        if job.quantize != "none":
            converter.optimizations = [lite.Optimize.DEFAULT]
        if job.quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if job.quantize == "int8":
            converter.representative_dataset = lambda: calibration_batches(str(job.calibration), _batch(job))
        lean = hasattr(converter, _LEAN)
        Path(job.into).write_bytes(getattr(converter, _LEAN)(graph_def) if lean else converter.convert())


def _converter(lite: Any, folder: str) -> Any:
    """Return the converter of a SavedModel."""
    own: Any = getattr(lite, "TFLiteSavedModelConverterV2", None)
    if hasattr(own, _LEAN):
        return own(folder, {"serve"}, [SERVING])
    return lite.TFLiteConverterV2.from_saved_model(folder, [SERVING], {"serve"})


def _batch(job: Conversion) -> int:
    """Return the number of examples that the graph is fixed to; 1 where it is open."""
    sizes = {item["shape"][0] for item in job.inputs.values() if item["shape"]}
    return next(iter(sizes - {None}), 1)


def calibration_batches(file: str, size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches; a number without dimensions is for all of them."""
    with np.load(file, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    count = max((len(array) for array in inputs.values() if array.ndim), default=1)
    for row in range(0, count, size):
        yield {name: array[row : row + size] if array.ndim else array for name, array in inputs.items()}
