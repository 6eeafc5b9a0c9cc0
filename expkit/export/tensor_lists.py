"""Loops without lists of tensors, for converters that do not know them: each list is one tensor, [count, ...]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.export.subgraph import operation_of

__all__ = ["without_tensor_lists"]

_LOOPS = ("While", "StatelessWhile")
_MADE = ("TensorListReserve", "TensorListFromTensor")
_OUTSIDE = (*_MADE, "TensorListStack")
_INSIDE = ("TensorListGetItem", "TensorListSetItem")
_DTYPE = "element_dtype"


def without_tensor_lists(graph_def: Any) -> Any:
    """Return a graph whose loops read and write rows of tensors in place of lists.

    A graph is returned as it is where it has none, or uses one in another way than a loop over steps does: filled from
    a tensor or reserved before the loop, read and written in it, and stacked behind it.
    """
    if not _is_known(graph_def):
        return graph_def
    made = tf.GraphDef()
    made.CopyFrom(graph_def)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    nodes = {node.name: node for node in made.node}
    functions = {function.signature.name: function for function in made.library.function}
    for loop in [node for node in made.node if node.op in _LOOPS]:
        lists = {
            index: nodes[operation_of(source)]
            for index, source in enumerate(loop.input)
            if nodes[operation_of(source)].op in _MADE
        }
        shapes = {index: _element(graph, node) for index, node in lists.items()}
        loop.attr["output_shapes"].list.ClearField("shape")
        for index, node in lists.items():
            loop.attr["T"].list.type[index] = node.attr[_DTYPE].type
        for index, source in enumerate(loop.input):
            shape = graph.get_tensor_by_name(_full(source)).shape
            if index in lists:
                shape = tf.TensorShape([None]).concatenate(shapes[index])
            loop.attr["output_shapes"].list.shape.add().CopyFrom(shape.as_proto())
        for name in ("cond", "body"):
            _change_function(functions[loop.attr[name].func.name], lists, shapes)
        states = [source for index, source in enumerate(loop.input) if index not in lists]
        for index, node in lists.items():
            if node.op == "TensorListReserve":
                like = next(
                    source
                    for source in states
                    if graph.get_tensor_by_name(_full(source)).shape.as_list() == shapes[index].as_list()
                )
                _reserve(made, node, like)
    for node in made.node:
        if node.op in ("TensorListFromTensor", "TensorListStack"):
            _pass_on(node, node.attr[_DTYPE].type)
    types = {node.name: node.attr["T"].list.type for node in made.node if node.op in _LOOPS}
    for node in made.node:
        if node.op == "Identity" and operation_of(node.input[0]) in types:
            name, _, index = node.input[0].partition(":")
            node.attr["T"].type = types[name][int(index or 0)]
    return made


def _is_known(graph_def: Any) -> bool:
    """Return whether there are lists, and all are used as loops over steps do."""
    inside = {node.op for function in graph_def.library.function for node in function.node_def}
    outside = {node.op for node in graph_def.node}
    inside, outside = ({op for op in ops if op.startswith("TensorList")} for ops in (inside, outside))
    return bool(outside) and outside <= {*_OUTSIDE} and inside <= {*_INSIDE}


def _full(tensor: str) -> str:
    return tensor if ":" in tensor else f"{tensor}:0"


def _element(graph: Any, node: Any) -> Any:
    """Return the shape of a list's items, as far as it is known."""
    if node.op == "TensorListFromTensor":
        return graph.get_tensor_by_name(_full(node.input[0])).shape[1:]
    value = tf.get_static_value(graph.get_tensor_by_name(_full(node.input[0])))
    return tf.TensorShape([None if size < 0 else int(size) for size in value])


def _change_function(function: Any, lists: Mapping[int, Any], shapes: Mapping[int, Any]) -> None:
    """Change the types of lists in a function of a loop, and the operations that read and write them."""
    arguments, results = function.signature.input_arg, function.signature.output_arg
    types = {arguments[index].name: node.attr[_DTYPE].type for index, node in lists.items()}
    ranks = {arguments[index].name: shape.rank for index, shape in shapes.items()}
    for index, node in lists.items():
        arguments[index].type = node.attr[_DTYPE].type
        function.arg_attr.pop(index, None)
        if len(results) == len(arguments):
            results[index].type = node.attr[_DTYPE].type
    added: list[Any] = []
    renamed = {}
    for node in function.node_def:
        node.attr.pop("_output_shapes", None)
        if node.op == "Identity" and node.input[0] in types:
            node.attr["T"].type = types[node.input[0]]
            types[f"{node.name}:output:0"] = node.attr["T"].type
        elif node.op == "TensorListGetItem":
            renamed[f"{node.name}:item:0"] = f"{node.name}:output:0"
            added += _read(node)
        elif node.op == "TensorListSetItem":
            renamed[f"{node.name}:output_handle:0"] = f"{node.name}:output:0"
            types[f"{node.name}:output_handle:0"] = node.attr[_DTYPE].type
            added += _write(node, ranks[node.input[0]])
    for node in function.node_def:
        for at, source in enumerate(node.input):
            node.input[at] = renamed.get(source, source)
    for name, source in [*function.ret.items()]:
        function.ret[name] = renamed.get(source, source)
    function.node_def.extend(added)


def _read(node: Any) -> list[Any]:
    """Make the reading of an item a gathering of a row; return the operations that it needs besides."""
    axis = _constant(f"{node.name}/axis", 0)
    dtype, sources = node.attr[_DTYPE].type, [*node.input[:2], f"{axis.name}:output:0"]
    _become(node, "GatherV2", sources, Tparams=dtype, Tindices=_INTEGER, Taxis=_INTEGER)
    return [axis]


def _write(node: Any, rank: int) -> list[Any]:
    """Make the writing of an item a choice, row by row; return the operations that it needs besides."""
    values, index, item = node.input[:3]
    dtype, added = node.attr[_DTYPE].type, []

    def constant(own: str, value: Any) -> str:
        added.append(_constant(f"{node.name}/{own}", value))
        return f"{added[-1].name}:output:0"

    def add(own: str, op: str, sources: Sequence[str], **types: int) -> str:
        added.append(tf.NodeDef(name=f"{node.name}/{own}"))
        _become(added[-1], op, sources, **types)
        return f"{added[-1].name}:{'z' if op == 'Equal' else 'output'}:0"

    zero, one = constant("zero", 0), constant("one", 1)
    begin, end = constant("begin", [0]), constant("end", [1])
    sizes = add("sizes", "Shape", [values], T=dtype, out_type=_INTEGER)
    count = add("count", "StridedSlice", [sizes, begin, end, end], T=_INTEGER, Index=_INTEGER)
    added[-1].attr["shrink_axis_mask"].i = 1
    steps = add("steps", "Range", [zero, count, one], Tidx=_INTEGER)
    column = constant("column", [-1, *[1] * rank])
    rows = add("rows", "Reshape", [steps, column], T=_INTEGER, Tshape=_INTEGER)
    chosen = add("chosen", "Equal", [rows, index], T=_INTEGER)
    added[-1].attr["incompatible_shape_error"].b = True
    row = add("row", "ExpandDims", [item, zero], T=dtype, Tdim=_INTEGER)
    _become(node, "SelectV2", [chosen, row, values], T=dtype)
    return added


def _reserve(graph_def: Any, node: Any, like: str) -> None:
    """Make a reserved list a tensor of zeros, whose rows are as a tensor of the graph."""
    dtype, count, name = node.attr[_DTYPE].type, node.input[1], node.name
    zero, nothing = _constant(f"{name}/zero", 0), _constant(f"{name}/nothing", 0)
    nothing.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0, tf.as_dtype(dtype)))
    nothing.attr["dtype"].type = dtype
    parts = [tf.NodeDef(name=f"{name}/{own}") for own in ("sizes", "count", "shape")]
    sizes, counts, shape = parts
    _become(sizes, "Shape", [like], T=dtype, out_type=_INTEGER)
    _become(counts, "ExpandDims", [count, zero.name], T=_INTEGER, Tdim=_INTEGER)
    _become(shape, "ConcatV2", [counts.name, sizes.name, zero.name], T=_INTEGER, Tidx=_INTEGER)
    shape.attr["N"].i = 2
    _become(node, "Fill", [shape.name, nothing.name], T=dtype, index_type=_INTEGER)
    graph_def.node.extend([zero, nothing, *parts])


def _pass_on(node: Any, dtype: int) -> None:
    _become(node, "Identity", node.input[:1], T=dtype)


_INTEGER = 3
"""``DT_INT32``."""


def _become(node: Any, op: str, sources: Sequence[str], **types: int) -> None:
    """Make a node another operation, under its name."""
    sources = list(sources)
    node.op = op
    del node.input[:]
    node.input.extend(sources)
    node.attr.clear()
    for key, value in types.items():
        node.attr[key].type = value


def _constant(name: str, value: Any) -> Any:
    """Return a constant of whole numbers."""
    node = tf.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = _INTEGER
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(value, np.int32)))
    return node
