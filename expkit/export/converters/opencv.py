"""Conversion to the graphs that OpenCV's reader takes: constants folded, identities removed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.export.converters.job import Conversion
from expkit.export.folding import folded
from expkit.export.subgraph import operation_of

__all__ = ["convert"]


def convert(job: Conversion) -> None:
    """Write a ``.pb`` file."""
    graph_def = tf.GraphDef.FromString(Path(job.graph).read_bytes())
    inputs = {name: item["tensor"] for name, item in job.inputs.items()}
    outputs = {name: item["tensor"] for name, item in job.outputs.items()}
    made = folded(graph_def, inputs, outputs)
    _end(made, outputs)
    Path(job.into).write_bytes(made.SerializeToString())


def _end(graph_def: Any, outputs: Collection[str]) -> None:
    """Compute outputs that others read once more at an end of the graph: OpenCV gives what nothing reads, alone.

    With a bias its product is computed again as well, because OpenCV makes one layer of both.
    """
    nodes = {node.name: node for node in graph_def.node}
    read = {operation_of(item) for node in graph_def.node for item in node.input}
    again = [name for name in outputs if name in read and nodes[name].op != "Placeholder"]
    again += [operation_of(nodes[name].input[0]) for name in again if nodes[name].op == "BiasAdd"]
    copies = tf.GraphDef(node=[nodes[name] for name in dict.fromkeys(again)])
    inner = {node.name: f"{node.name}/read" for node in copies.node}
    for node in graph_def.node:
        node.input[:] = [inner.get(operation_of(item), item) for item in node.input]
        node.name = inner.get(node.name, node.name)
    for node in copies.node:
        node.input[:] = [item if node.op == "BiasAdd" else inner.get(operation_of(item), item) for item in node.input]
    graph_def.node.extend(copies.node)
