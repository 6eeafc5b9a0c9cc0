"""The part of a graph that some of its operations need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from expkit import tf1 as tf

__all__ = [
    "called_functions",
    "keep_called_functions",
    "operation_of",
    "subgraph",
    "tensor_info",
    "unread_operations",
]

_NO_RESULT = ("Assert", "Const", "NoOp", "Placeholder", "PlaceholderV2", "PlaceholderWithDefault")


def subgraph(graph_def: Any, names: Iterable[str]) -> Any:
    """Return the operations that some operations need, in their order, with the functions that these call.

    Devices and colocations are left out: those of another machine do not matter here.
    """
    nodes = {node.name: node for node in graph_def.node}
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in found:
            found.add(name)
            waiting += map(operation_of, nodes[name].input)
    part = tf.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(node for node in graph_def.node if node.name in found)
    keep_called_functions(part)
    for node in (*part.node, *(node for function in part.library.function for node in function.node_def)):
        node.ClearField("device")
        node.attr.pop("_class", None)
    return part


def keep_called_functions(graph_def: Any) -> None:
    """Keep only the functions that the graph's own operations call, as a loop over steps does."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    reached: set[str] = set()
    waiting = list(graph_def.node)
    while waiting:
        node = waiting.pop()
        for name in (node.op, *called_functions(node.attr)):
            if name in functions and name not in reached:
                reached.add(name)
                waiting += functions[name].node_def
    graph_def.ClearField("library")
    graph_def.library.function.extend(functions[name] for name in sorted(reached))


def called_functions(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the functions in attributes, and in the attributes of these."""
    for value in attributes.values():
        for called in (value.func, *value.list.func):
            if called.name:
                yield called.name
                yield from called_functions(called.attr)


def unread_operations(graph_def: Any) -> list[str]:
    """Return the operations whose tensors no other reads: the results of a graph that does not name them."""
    read = {operation_of(name) for node in graph_def.node for name in node.input if not name.startswith("^")}
    unread = [node for node in graph_def.node if node.name not in read]
    return [node.name for node in unread if node.op not in _NO_RESULT]


def operation_of(tensor: str) -> str:
    """Return the name of the operation of a tensor or of a control input: ``split`` of ``split:1`` and ``^split``."""
    return tensor.removeprefix("^").partition(":")[0]


def tensor_info(tensor: Any) -> dict[str, Any]:
    """Return name, dtype and shape of a tensor, as the metadata of a frozen graph has them."""
    shape = tensor.shape
    return {
        "tensor": tensor.name,
        "dtype": tensor.dtype.base_dtype.name,
        "shape": None if shape.rank is None else shape.as_list(),
    }
