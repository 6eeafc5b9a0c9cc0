"""Doors of a frozen graph: the part that is exported, from what it reads to what it gives, its shapes as requested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.errors import ExportError, Problem, comma_list, reading, unknown
from expkit.export.freeze import METADATA, FrozenGraph
from expkit.export.subgraph import operation_of, subgraph, tensor_info
from expkit.tensor_spec import sizes_text

__all__ = [
    "Door",
    "DoorName",
    "layer_of",
    "layer_tensors",
    "open_door",
    "read_inputs",
    "unread_inputs",
    "without_values",
]

DoorName = Literal["raw", "preprocessed"]


@dataclass(frozen=True, kw_only=True)
class Door:
    """A part of a frozen graph that is exported."""

    name: DoorName
    graph_def: Any
    """Its operations, with a placeholder for every input."""
    inputs: Mapping[str, Mapping[str, Any]]
    """Tensor, dtype and shape by input name."""
    outputs: Mapping[str, Mapping[str, Any]]
    """The same by the name that an output has in the exported file."""
    origins: Mapping[str, str]
    """Names of the outputs in the frozen graph, by the name in the exported file."""

    @property
    def batch(self) -> int | None:
        """The fixed number of examples of a batch; ``None`` where it is open."""
        sizes = {item["shape"][0] for item in self.inputs.values() if item["shape"]}
        return next(iter(sizes - {None}), None)


def open_door(
    frozen: FrozenGraph,
    name: DoorName,
    *,
    batch: int | None = None,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    rename: Mapping[str, str] | None = None,
    fetch: Mapping[str, str] | None = None,
) -> Door:
    """Return the part of a graph behind a door.

    Args:
        frozen: the graph.
        name: ``raw`` reads what the source gives, ``preprocessed`` what the network reads.
        batch: fixed number of examples.
        shapes: fixed shapes by input.
        rename: new names by output.
        fetch: tensors by name in place of the outputs.

    Raises:
        ExportError: an input or an output is unknown, or a shape does not fit.
    """
    seen = frozen.after_preprocessing() if name == "preprocessed" else frozen
    declared = read_inputs(seen.metadata["inputs"])
    outputs = {key: item["tensor"] for key, item in seen.metadata["outputs"].items()} if fetch is None else dict(fetch)
    shapes, rename = dict(shapes or {}), dict(rename or {})
    _check_names(declared, outputs, shapes, {} if fetch is not None else rename)
    names = {new if fetch is None else old: old for old in outputs for new in [rename.get(old, old)]}
    part = subgraph(frozen.graph_def, map(operation_of, outputs.values()))
    nodes = {node.name: node for node in part.node}
    for node in part.node:
        node.attr.pop(METADATA, None)
    wanted = {key: _shape(key, item["shape"], batch, shapes.get(key)) for key, item in declared.items()}
    for key, item in declared.items():
        if (operation := operation_of(item["tensor"])) in nodes:
            _make_placeholder(nodes[operation], item["dtype"], wanted[key])
    if name == "preprocessed":  # What is before the inputs is no longer needed.
        part = subgraph(part, map(operation_of, outputs.values()))
    kept = {node.name for node in part.node}
    inputs = {key: item for key, item in declared.items() if operation_of(item["tensor"]) in kept}
    if fetch is None and all(wanted[key] == item["shape"] for key, item in declared.items()):
        found = {new: dict(seen.metadata["outputs"][old]) for new, old in names.items()}
    else:
        with tf.Graph().as_default() as graph:
            with reading("--input-shape" if shapes else "--batch", "the graph cannot have it", raises=ExportError):
                tf.import_graph_def(part, name="")
                found = {new: tensor_info(graph.get_tensor_by_name(outputs[old])) for new, old in names.items()}
    if not inputs:
        raise ExportError.at("export", "no output depends on an input, so there is nothing to compare")
    return Door(
        name=name,
        graph_def=part,
        inputs={key: {**item, "shape": wanted[key]} for key, item in inputs.items()},
        outputs=found,
        origins=names,
    )


def read_inputs(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the inputs that exported files read: those without a default, or all where every one has one."""
    needed = {name: dict(item) for name, item in inputs.items() if not item.get("optional")}
    return needed or {
        name: {key: value for key, value in item.items() if key != "optional"} for name, item in inputs.items()
    }


def without_values(door: Door) -> Door:
    """Return a door with its operations, but without the values of its constants, which may need much memory."""
    part = tf.GraphDef(versions=door.graph_def.versions, library=door.graph_def.library)
    for node in door.graph_def.node:
        if node.op == "Const":
            part.node.add(name=node.name, op=node.op)
        else:
            part.node.append(node)
    return replace(door, graph_def=part)


def unread_inputs(door: Door) -> str:
    """Return words for the inputs that only a SavedModel reads: no other runtime is given such arrays."""
    words = {"string": "text", "bfloat16": "bfloat16"}
    found = [f"input {name} is {words[item['dtype']]}" for name, item in door.inputs.items() if item["dtype"] in words]
    return comma_list(found) if found else ""


def _check_names(
    inputs: Mapping[str, Any], outputs: Mapping[str, str], shapes: Mapping[str, Any], rename: Mapping[str, str]
) -> None:
    problems = [
        Problem("--input-shape", unknown(f"no input '{key}'", key, inputs)) for key in shapes if key not in inputs
    ]
    problems += [
        Problem("--rename-output", unknown(f"no output '{key}'", key, outputs)) for key in rename if key not in outputs
    ]
    names = [rename.get(key, key) for key in outputs]
    twice = sorted({key for key in names if names.count(key) > 1} | {new for new in rename.values() if new in inputs})
    if twice:
        problems.append(Problem("--rename-output", f"{comma_list(twice)} would name two tensors; give another name"))
    if problems:
        raise ExportError(*problems)


def _shape(
    name: str, declared: Sequence[int | None] | None, batch: int | None, fixed: Sequence[int | None] | None
) -> list[int | None] | None:
    if fixed is not None and declared is not None:
        fits = len(fixed) == len(declared)
        fits = fits and all(None in pair or pair[0] == pair[1] for pair in zip(fixed, declared, strict=True))
        if not fits:
            raise ExportError.at(
                "--input-shape", f"{name} is {sizes_text(declared)}, which {sizes_text(fixed)} does not fit"
            )
        declared = [given if size is None else size for given, size in zip(fixed, declared, strict=True)]
    elif fixed is not None:
        declared = list(fixed)
    if batch is not None and declared and declared[0] is None:
        declared = [batch, *declared[1:]]
    return None if declared is None else list(declared)


def _make_placeholder(node: Any, dtype: str, shape: Sequence[int | None] | None) -> None:
    del node.input[:]
    node.op = "Placeholder"
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())


def layer_tensors(graph_def: Any) -> dict[str, str]:
    """Return the tensors of layers by path, in the order in which they are computed.

    Of a graph that expkit builds every layer's output is an ``Identity`` named as its path.
    """
    names = [node.name for node in graph_def.node]
    scopes = {name[:end] for name in names for end in range(len(name)) if name[end] == "/"}
    return {
        node.name: f"{node.name}:0"
        for node in graph_def.node
        if node.op == "Identity" and node.name in scopes and not node.name.startswith("preprocess")
    }


def layer_of(operation: str, graph_def: Any) -> str:
    """Return the path of the layer that made an operation; its scope where the graph does not say."""
    layers = layer_tensors(graph_def)
    parts = operation.split("/")
    for count in range(len(parts), 0, -1):
        if (path := "/".join(parts[:count])) in layers:
            return path
    return "/".join(parts[:-1]) or operation
