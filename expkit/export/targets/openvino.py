"""The target ``openvino``: an ``.xml`` file with its ``.bin``, for OpenVINO."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.export.doors import Door
from expkit.export.subgraph import operation_of
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.converting import Conversion
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET"]


class OpenvinoTarget(GraphTarget):
    """OpenVINO's representation of the graph, its weights in float32."""

    name = "openvino"
    file = "model.xml"
    extra = "openvino"
    modules = {"openvino": "openvino"}

    def _convert(self, source: ExportSource, options: ExportOptions, doors: Sequence[Door], into: Path) -> None:
        """Convert a graph whose outputs nothing else reads: OpenVINO does not find others."""
        super()._convert(source, options, [_ending(door) for door in doors], into)

    def convert(self, job: Conversion) -> None:
        """Write an ``.xml`` file and its ``.bin``."""
        openvino = importlib.import_module("openvino")
        model = openvino.convert_model(
            job.graph,
            input=[(item["tensor"], _shape(openvino, item["shape"])) for item in job.inputs.values()],
            output=[item["tensor"] for item in job.outputs.values()],
        )
        for items, ports in ((job.inputs, model.inputs), (job.outputs, model.outputs)):
            names = {item["tensor"]: name for name, item in items.items()}
            for index, port in enumerate(ports):
                own = [names[tensor] for tensor in port.get_names() if tensor in names]
                port.get_tensor().set_names({own[0] if own else list(items)[index]})
        openvino.save_model(model, str(Path(job.into)), compress_to_fp16=False)


def _shape(openvino: Any, shape: list[int | None] | None) -> Any:
    if shape is None:
        return openvino.PartialShape.dynamic()
    return openvino.PartialShape([-1 if size is None else size for size in shape])


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
