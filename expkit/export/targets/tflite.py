"""The target ``tflite``: a file for TensorFlow Lite (LiteRT), quantized on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from expkit import tf1 as tf
from expkit.export.targets.converting import Conversion
from expkit.export.targets.graph_target import GraphTarget
from expkit.export.targets.savedmodel import SERVING, write_saved_model
from expkit.export.tensor_lists import without_tensor_lists

__all__ = ["TARGET"]


class TfliteTarget(GraphTarget):
    """A TFLite file of TFLite's own operations, with the signature ``serving_default``."""

    name = "tflite"
    file = "model.tflite"
    extra = "tflite"
    modules = {"ai_edge_litert|tensorflow.lite": "ai-edge-litert|tensorflow"}
    quantizes = True
    takes = (*GraphTarget.takes, "quantize")

    def convert(self, job: Conversion) -> None:
        """Write a TFLite file."""
        lite = tf.lite_module()
        with TemporaryDirectory(prefix="expkit-") as temporary:
            folder = f"{temporary}/savedmodel"
            write_saved_model(replace(job, into=folder), {SERVING: job.inputs}, without_tensor_lists)
            converter = lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SERVING])
            if job.quantize != "none":
                converter.optimizations = [lite.Optimize.DEFAULT]
            if job.quantize == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if job.quantize == "int8":
                converter.representative_dataset = lambda: _examples(str(job.calibration))
            Path(job.into).write_bytes(converter.convert())


def _examples(file: str) -> Iterator[dict[str, np.ndarray]]:
    with np.load(file, allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    for row in range(len(next(iter(inputs.values())))):
        yield {name: array[row : row + 1] for name, array in inputs.items()}


TARGET = TfliteTarget()
