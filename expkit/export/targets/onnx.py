"""The target ``onnx``: a file for ONNX Runtime and whatever else reads ONNX."""

from __future__ import annotations

import importlib
from pathlib import Path

from expkit import tf1 as tf
from expkit.errors import Problem
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.converting import Conversion
from expkit.export.targets.graph_target import GraphTarget
from expkit.export.tensor_lists import without_tensor_lists

__all__ = ["TARGET"]

OPSET = 18
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
        """Return what is wrong with the opset."""
        found = super().problems(source, options)
        if options.opset is not None and options.opset not in OPSETS:
            found.append(Problem("--opset", f"{options.opset}: allowed: {OPSETS.start} to {OPSETS.stop - 1}"))
        return found

    def convert(self, job: Conversion) -> None:
        """Write an ONNX file."""
        graph_def = without_tensor_lists(tf.GraphDef.FromString(Path(job.graph).read_bytes()))
        both = {**job.inputs, **job.outputs}
        model, _ = importlib.import_module("tf2onnx.convert").from_graph_def(
            graph_def,
            name=job.name,
            input_names=[item["tensor"] for item in job.inputs.values()],
            output_names=[item["tensor"] for item in job.outputs.values()],
            opset=job.opset or OPSET,
            tensors_to_rename={item["tensor"]: name for name, item in both.items()},
        )
        Path(job.into).write_bytes(model.SerializeToString())


TARGET = OnnxTarget()
