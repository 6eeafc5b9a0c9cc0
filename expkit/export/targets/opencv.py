"""The target ``opencv``: a ``.pb`` that OpenCV's own reader of TensorFlow's graphs takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from expkit.errors import Problem
from expkit.export.doors import Door
from expkit.export.folding import source
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET", "products"]


_OPERATION = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_./-]*")
_SUMS = ("BiasAdd", "Add", "AddV2")


class OpencvTarget(GraphTarget):
    """A frozen graph of one example, its constants folded and its identities removed.

    OpenCV reads few operations, and some of them wrongly, which the proof shows; the way that takes more is ONNX.
    """

    name = "opencv"
    file = "model.pb"
    extra = "opencv"
    modules = {"cv2": "opencv-python-headless"}
    batch = 1
    refused = frozenset({"string", "float64", "uint8", "int32", "int64"})  # It casts nothing to float32.
    hint = "OpenCV's reader does not take it; use onnx, which OpenCV reads as well: cv2.dnn.readNetFromONNX"

    def problems(self, source: ExportSource, options: ExportOptions) -> list[Problem]:
        """Return the problems of the settings: outputs are operations in the file, which have TensorFlow's names."""
        wrong = [name for name in options.rename_outputs.values() if not _OPERATION.fullmatch(name)]
        rule = (
            "is not a name of an operation, as opencv needs; allowed: letters, digits, _ . - /, a letter or digit first"
        )
        return super().problems(source, options) + [Problem("--rename-output", f"'{name}' {rule}") for name in wrong]

    def signature(self, door: Door, *, several: bool) -> str:
        """Return the outputs with the products that they add a bias to, as JSON."""
        return products(door.graph_def, {name: item["tensor"] for name, item in door.outputs.items()})


def products(graph_def: Any, outputs: Mapping[str, str]) -> str:
    """Return the operations whose layer in OpenCV has an output, where it is a product with a bias, as JSON.

    Args:
        graph_def: the graph.
        outputs: tensors by name.
    """
    nodes = {node.name: node for node in graph_def.node}
    found: dict[str, str | None] = {}
    for name, tensor in outputs.items():
        node = nodes[source(nodes, tensor)[0]]
        found[name] = source(nodes, node.input[0])[0] if node.op in _SUMS and len(node.input) == 2 else None
    return json.dumps(found)


TARGET = OpencvTarget()
