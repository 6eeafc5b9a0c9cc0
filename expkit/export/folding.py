"""Graphs for readers that know few operations: constants folded, identities removed, one name a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.export.subgraph import operation_of, subgraph

__all__ = ["folded"]

_PASSED = ("Identity", "StopGradient", "PreventGradient", "Snapshot", "EnsureShape", "CheckNumerics")
_SIZES = ("Shape", "Size", "Rank")


def folded(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """Return a graph of the same outputs, in which what does not depend on an input is a constant.

    Args:
        graph_def: the graph, the shapes of its inputs fixed.
        inputs: tensors by the name that they get.
        outputs: likewise.
    """
    constants = _constants(graph_def)
    nodes = {node.name: node for node in graph_def.node}
    new = {operation_of(tensor): name for name, tensor in outputs.items()}
    new = {_source(nodes, tensor, constants): name for tensor, name in new.items()} | {
        operation_of(tensor): name for name, tensor in inputs.items()
    }
    part = tf.GraphDef(versions=graph_def.versions)
    for node in graph_def.node:
        if node.op in _PASSED and node.name not in constants and node.name not in new:
            continue  # What it passes on is read from its source.
        copy = part.node.add()
        copy.CopyFrom(node)
        if node.name in constants:
            _make_constant(copy, constants[node.name])
        else:
            sources = [item for item in node.input if not item.startswith("^")]
            del copy.input[:]
            copy.input.extend(_renamed(_tensor(nodes, item, constants), new) for item in sources)
        copy.name = new.get(node.name, node.name)
    return subgraph(part, list(outputs))


def _constants(graph_def: Any) -> dict[str, np.ndarray]:
    """Return the values of the operations that depend on no input, among them shapes that are known."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        known: dict[str, np.ndarray] = {}
        for operation in graph.get_operations():
            if operation.type in _SIZES and operation.inputs[0].shape.is_fully_defined():
                shape = operation.inputs[0].shape.as_list()
                value = {"Shape": shape, "Size": int(np.prod(shape)), "Rank": len(shape)}[operation.type]
                known[operation.name] = np.array(value, operation.outputs[0].dtype.as_numpy_dtype)
        free = set(known)
        for operation in graph.get_operations():  # Sources come before what reads them, but in loops.
            if operation.type in ("Placeholder", "PlaceholderWithDefault", "NoOp") or operation.name in free:
                continue
            if all(tensor.op.name in free for tensor in operation.inputs) and len(operation.outputs) == 1:
                free.add(operation.name)
        wanted = [name for name in free if name not in known and graph.get_operation_by_name(name).type != "Const"]
        with tf.plain_session(graph) as session:
            feed = {graph.get_operation_by_name(name).outputs[0]: value for name, value in known.items()}
            values = session.run([graph.get_operation_by_name(name).outputs[0] for name in wanted], feed)
    return {**known, **dict(zip(wanted, values, strict=True))}


def _make_constant(node: Any, value: np.ndarray) -> None:
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    tensor = tf.make_tensor_proto(np.asarray(value))
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)


def _source(nodes: Mapping[str, Any], name: str, constants: Mapping[str, Any]) -> str:
    """Return the operation whose tensor an identity passes on."""
    node = nodes[name]
    while node.op in _PASSED and node.name not in constants and ":" not in node.input[0].removesuffix(":0"):
        source = nodes[operation_of(node.input[0])]
        if source.op == "Placeholder":
            break
        node = source
    return str(node.name)


def _tensor(nodes: Mapping[str, Any], tensor: str, constants: Mapping[str, Any]) -> str:
    name, _, index = tensor.partition(":")
    node = nodes[name]
    while node.op in _PASSED and name not in constants:
        name, _, index = node.input[0].partition(":")
        node = nodes[name]
    return f"{name}:{index}" if index not in ("", "0") else name


def _renamed(tensor: str, new: Mapping[str, str]) -> str:
    name, colon, index = tensor.partition(":")
    return f"{new.get(name, name)}{colon}{index}"
