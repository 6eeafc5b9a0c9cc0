"""The target ``opencv``: a ``.pb`` that OpenCV's own reader of TensorFlow's graphs takes."""

from __future__ import annotations

import json
from pathlib import Path

from expkit import tf1 as tf
from expkit.export.doors import Door
from expkit.export.folding import folded
from expkit.export.targets.converting import Conversion
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET"]


class OpencvTarget(GraphTarget):
    """A frozen graph of one example, its constants folded and its identities removed.

    OpenCV reads few operations, and some of them wrongly, which the proof shows; the way that takes more is ONNX.
    """

    name = "opencv"
    file = "model.pb"
    extra = "opencv"
    modules = {"cv2": "opencv-python-headless"}
    batch = 1
    hint = "OpenCV's reader does not take it; use onnx, which OpenCV reads as well: cv2.dnn.readNetFromONNX"

    def signature(self, door: Door, *, several: bool) -> str:
        """Return the names of the outputs, as JSON."""
        return json.dumps(list(door.outputs))

    def convert(self, job: Conversion) -> None:
        """Write a ``.pb`` file."""
        graph_def = tf.GraphDef.FromString(Path(job.graph).read_bytes())
        inputs = {name: item["tensor"] for name, item in job.inputs.items()}
        outputs = {name: item["tensor"] for name, item in job.outputs.items()}
        Path(job.into).write_bytes(folded(graph_def, inputs, outputs).SerializeToString())


TARGET = OpencvTarget()
