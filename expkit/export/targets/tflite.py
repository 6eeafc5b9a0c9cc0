"""The target ``tflite``: a file for TensorFlow Lite (LiteRT), quantized on request."""

from __future__ import annotations

from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET"]


class TfliteTarget(GraphTarget):
    """A TFLite file of TFLite's own operations, with the signature ``serving_default``."""

    name = "tflite"
    file = "model.tflite"
    extra = "tflite"
    modules = {"ai_edge_litert|tensorflow.lite": "ai-edge-litert|tensorflow"}
    quantizes = True
    refused = frozenset({"string", "float64"})  # It has no arithmetic of float64.
    takes = (*GraphTarget.takes, "quantize")


TARGET = TfliteTarget()
