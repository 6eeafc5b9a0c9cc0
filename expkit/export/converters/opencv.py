"""Conversion to the graphs that OpenCV's reader takes: constants folded, identities removed."""

from __future__ import annotations

from pathlib import Path

from expkit import tf1 as tf
from expkit.export.converters.job import Conversion
from expkit.export.folding import folded

__all__ = ["convert"]


def convert(job: Conversion) -> None:
    """Write a ``.pb`` file."""
    graph_def = tf.GraphDef.FromString(Path(job.graph).read_bytes())
    inputs = {name: item["tensor"] for name, item in job.inputs.items()}
    outputs = {name: item["tensor"] for name, item in job.outputs.items()}
    Path(job.into).write_bytes(folded(graph_def, inputs, outputs).SerializeToString())
