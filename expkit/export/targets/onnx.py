"""The target ``onnx``: a file for ONNX Runtime and whatever else reads ONNX."""

from __future__ import annotations

from expkit.errors import Problem
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET"]

OPSETS = range(13, 19)
"""Opsets that tf2onnx writes and that have what today's layers need."""


class OnnxTarget(GraphTarget):
    """An ONNX file; its inputs and outputs have the names of the network's."""

    name = "onnx"
    file = "model.onnx"
    extra = "onnx"
    takes = (*GraphTarget.takes, "opset")
    modules = {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"}

    def problems(self, source: ExportSource, options: ExportOptions) -> list[Problem]:
        """Return the problems of the opset."""
        found = super().problems(source, options)
        if options.opset is not None and options.opset not in OPSETS:
            found.append(Problem("--opset", f"{options.opset}: allowed: {OPSETS.start} to {OPSETS.stop - 1}"))
        return found


TARGET = OnnxTarget()
