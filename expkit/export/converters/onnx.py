"""Conversion to ONNX, by tf2onnx."""

from __future__ import annotations

import importlib
from pathlib import Path

from expkit import tf1 as tf
from expkit.export.converters.job import Conversion
from expkit.export.tensor_lists import without_tensor_lists

__all__ = ["convert"]

OPSET = 18


def convert(job: Conversion) -> None:
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
