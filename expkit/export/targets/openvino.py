"""The target ``openvino``: an ``.xml`` file with its ``.bin``, for OpenVINO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from expkit import tf1 as tf
from expkit.export.doors import Door
from expkit.export.subgraph import operation_of
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET"]


class OpenvinoTarget(GraphTarget):
    """OpenVINO's representation of the graph, its weights in float32."""

    name = "openvino"
    file = "model.xml"
    extra = "openvino"
    modules = {"openvino": "openvino"}

    def _convert(self, source: ExportSource, options: ExportOptions, doors: list[Door], into: Path) -> None:
        """Convert a graph whose outputs nothing else reads: OpenVINO does not find others."""
        super()._convert(source, options, [_ending(door) for door in doors], into)


def _ending(door: Door) -> Door:
    """Return the door with an operation of its own for every output that others read."""
    read = {operation_of(source) for node in door.graph_def.node for source in node.input}
    outputs = {name: item for name, item in door.outputs.items() if operation_of(item["tensor"]) in read}
    if not outputs:
        return door
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(door.graph_def)
    for name, item in outputs.items():
        node = graph_def.node.add(name=f"output_of_{name}", op="Identity", input=[item["tensor"]])
        node.attr["T"].type = tf.as_dtype(item["dtype"]).as_datatype_enum
        outputs[name] = {**item, "tensor": f"{node.name}:0"}
    return replace(door, graph_def=graph_def, outputs={**door.outputs, **outputs})


TARGET = OpenvinoTarget()
