"""Graphs for readers that know few operations: constants folded, identities removed, one name a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.export.subgraph import operation_of, subgraph

__all__ = ["folded", "source"]

_PASSED = ("Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "EnsureShape", "CheckNumerics")
_SIZES = ("Shape", "Size", "Rank")
_KEPT = ("Placeholder", "PlaceholderWithDefault", "NoOp", "Enter")
"""Operations that are not constants, though they depend on no input: the last starts a loop."""

Tensor = tuple[str, int]
"""Name of an operation, and index of its output."""


def folded(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """Return a graph of the same outputs, in which what does not depend on an input is a constant.

    Args:
        graph_def: the graph, the shapes of its inputs fixed.
        inputs: tensors by the name that they get.
        outputs: likewise.
    """
    nodes = {node.name: node for node in graph_def.node}
    constants = _constants(graph_def, nodes, outputs)
    new = {operation_of(tensor): name for name, tensor in inputs.items()}
    copied: dict[str, Tensor] = {}
    for name, tensor in outputs.items():
        origin = source(nodes, tensor)
        if origin[0] in new or origin[1] or origin in constants or nodes[origin[0]].op == "Const":
            copied[name] = origin
        else:
            new[origin[0]] = name
    part = tf.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for (operation, index), value in constants.items():
        _add_constant(part, _constant_name(operation, index), value)

    def reference(tensor: Tensor) -> str:
        if tensor in constants:
            return _constant_name(*tensor)
        operation, index = tensor
        return new.get(operation, operation) + (f":{index}" if index else "")

    for node in graph_def.node:
        if node.op not in _PASSED:
            copy = part.node.add()
            copy.CopyFrom(node)
            copy.name = new.get(node.name, node.name)
            del copy.input[:]
            copy.input.extend(reference(source(nodes, item)) for item in node.input if item[0] != "^")
    for name, origin in copied.items():
        identity = part.node.add(name=name, op="Identity", input=[reference(origin)])
        identity.attr["T"].CopyFrom(nodes[operation_of(outputs[name])].attr["T"])
    return subgraph(part, list(outputs))


def _constants(graph_def: Any, nodes: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[Tensor, np.ndarray]:
    """Return the values of the tensors that depend on no input, but that others need which do; also known shapes."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        known: dict[str, np.ndarray] = {}
        for operation in graph.get_operations():
            if operation.type in _SIZES and operation.inputs[0].shape.is_fully_defined():
                shape = operation.inputs[0].shape.as_list()
                value = {"Shape": shape, "Size": int(np.prod(shape)), "Rank": len(shape)}[operation.type]
                known[operation.name] = np.array(value, operation.outputs[0].dtype.as_numpy_dtype)
        free, opaque = set(known), (tf.variant, tf.resource)  # A list of tensors is not a constant.
        for operation in graph.get_operations():  # Sources come before what reads them, but in loops.
            is_constant = all(tensor.op.name in free for tensor in operation.inputs)
            if is_constant and operation.type not in _KEPT and not any(t.dtype in opaque for t in operation.outputs):
                free.add(operation.name)
        needed = [item for node in graph_def.node if node.name not in free for item in node.input if item[0] != "^"]
        sources = dict.fromkeys(source(nodes, item) for item in (*needed, *outputs.values()))
        wanted = [item for item in sources if item[0] in free and nodes[item[0]].op != "Const"]
        with tf.plain_session(graph) as session:
            values = session.run(
                [graph.get_tensor_by_name(f"{name}:{index}") for name, index in wanted],
                {f"{name}:0": value for name, value in known.items()},
            )
    return dict(zip(wanted, values, strict=True))


def source(nodes: Mapping[str, Any], tensor: str) -> Tensor:
    """Return the tensor that identities pass on."""
    while True:
        name, _, index = tensor.partition(":")
        if nodes[name].op not in _PASSED:
            return name, int(index or 0)
        tensor = nodes[name].input[int(index or 0)]


def _constant_name(operation: str, index: int) -> str:
    return f"{operation}/folded_{index}"


def _add_constant(graph_def: Any, name: str, value: np.ndarray) -> None:
    node = graph_def.node.add(name=name, op="Const")
    proto = tf.make_tensor_proto(np.asarray(value))
    node.attr["dtype"].type = proto.dtype
    node.attr["value"].tensor.CopyFrom(proto)
