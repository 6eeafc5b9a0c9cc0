"""The target ``opencv``: a ``.pb`` that OpenCV's own reader of TensorFlow's graphs takes."""

from __future__ import annotations

import json

from expkit.export.doors import Door
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


TARGET = OpencvTarget()
