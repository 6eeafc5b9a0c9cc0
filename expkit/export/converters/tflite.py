"""Conversion to TensorFlow Lite (LiteRT)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from expkit import tf1 as tf
from expkit.export.converters.job import Conversion
from expkit.export.converters.savedmodel import SERVING, write_saved_model
from expkit.export.tensor_lists import without_tensor_lists

__all__ = ["convert"]


def convert(job: Conversion) -> None:
    """Write a TFLite file."""
    lite = tf.lite_module()
    with TemporaryDirectory(prefix="expkit-") as temporary:
        folder = f"{temporary}/savedmodel"
        graph_def = write_saved_model(replace(job, into=folder), {SERVING: job.inputs}, without_tensor_lists)
        converter = lite.TFLiteSavedModelConverterV2(folder, {"serve"}, [SERVING])
        if job.quantize != "none":
            converter.optimizations = [lite.Optimize.DEFAULT]
        if job.quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if job.quantize == "int8":
            converter.representative_dataset = lambda: _examples(str(job.calibration))
        # Its `convert` loads the SavedModel twice, for messages with lines of Python: of 100 MB in 4 s and 700 MB.
        Path(job.into).write_bytes(converter._convert_from_saved_model(graph_def))


def _examples(file: str) -> Iterator[dict[str, np.ndarray]]:
    with np.load(file, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    for row in range(len(next(iter(inputs.values())))):
        yield {name: array[row : row + 1] for name, array in inputs.items()}
