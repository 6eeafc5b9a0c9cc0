"""Frozen graphs: the inference graph with its variables as constants, in one file with its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.errors import ExportError, Problem, comma_list, error_message
from expkit.tensor_spec import accepts
from expkit.training.graphs import InferGraph
from expkit.training.sessions import Predictor

__all__ = ["FrozenGraph", "freeze", "read_frozen"]

METADATA = "_expkit"
"""Attribute of the first placeholder that holds the metadata; TensorFlow and others ignore attributes with ``_``."""

# Operations of a foreign graph that reach outside it: files, network, Python.
_REFUSED = (
    *("PyFunc", "File", "Save", "Restore", "Checkpoint", "Remap", "Dataset", "Reader", "Lookup", "SummaryWriter"),
    *("SummaryDb", "Print", "Debug", "Rpc", "RPC", "Send", "Recv", "Collective", "Remote"),
)
_ALLOWED = ("ReadVariableOp",)


@dataclass(frozen=True)
class FrozenGraph:
    """A frozen graph, read from its file."""

    graph_def: Any
    metadata: Mapping[str, Any]
    """The metadata inside the file; for a foreign file only ``inputs`` and ``outputs``, derived from the graph."""

    def predict(self, inputs: Mapping[str, np.ndarray], *, plain: bool = True) -> dict[str, np.ndarray]:
        """Return the outputs of a batch.

        Args:
            inputs: arrays by input name.
            plain: run the graph as it is written; otherwise as an ordinary session rewrites it.

        Raises:
            ExportError: an input is missing, unknown, or of a wrong shape or dtype.
        """
        self._check(inputs)
        feed = {f"{name}:0": inputs[name].astype(item["dtype"]) for name, item in self.metadata["inputs"].items()}
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(self.graph_def, name="")
        graph.finalize()
        with tf.plain_session(graph) if plain else tf.Session(graph=graph) as session:
            return dict(session.run({name: f"{name}:0" for name in self.metadata["outputs"]}, feed))

    def _check(self, inputs: Mapping[str, np.ndarray]) -> None:
        expected = self.metadata["inputs"]
        problems = [
            Problem(f"input {name}", f"missing; arrays given: {comma_list(inputs)}")
            for name in expected
            if name not in inputs
        ]
        for name, array in inputs.items():
            if name not in expected:
                problems.append(Problem(f"input {name}", f"unknown; the graph reads: {comma_list(expected)}"))
                continue
            shape, got = expected[name]["shape"], list(array.shape)
            fits = shape is None or (
                len(got) == len(shape) and all(s is None or s == g for s, g in zip(shape, got, strict=True))
            )
            if not fits:
                shown = ", ".join("?" if size is None else str(size) for size in shape)
                problems.append(Problem(f"input {name}", f"the graph reads shape [{shown}], got {got}"))
            elif not accepts(expected[name]["dtype"], array.dtype):
                problems.append(
                    Problem(f"input {name}", f"the graph reads {expected[name]['dtype']}, got {array.dtype}")
                )
        if problems:
            raise ExportError(*problems)


def freeze(built: InferGraph, predictor: Predictor, metadata: Mapping[str, Any]) -> bytes:
    """Return the serialized frozen graph: the operations that the outputs need, variables as constants, and metadata.

    Args:
        built: the inference graph.
        predictor: a session on it, with its variables loaded.
        metadata: facts to keep inside the file; inputs and outputs are added.
    """
    names = [tensor.op.name for tensor in built.outputs.values()]
    graph_def = tf.graph_util.convert_variables_to_constants(predictor.session, built.graph.as_graph_def(), names)
    _drop_unreached_functions(graph_def)
    left = sorted({node.op for node in graph_def.node if "Variable" in node.op or node.op == "VarHandleOp"})
    assert not left, f"variables are left after freezing: {left}"
    content = {
        **metadata,
        "inputs": {name: _tensor_info(tensor) for name, tensor in built.inputs.items()},
        "outputs": {name: _tensor_info(tensor) for name, tensor in built.outputs.items()},
    }
    carrier = next(node for node in graph_def.node if node.op == "Placeholder")
    carrier.attr[METADATA].s = json.dumps(content).encode()
    return bytes(graph_def.SerializeToString(deterministic=True))


def _drop_unreached_functions(graph_def: Any) -> None:
    """Keep only the functions that the graph's own operations call, as a loop over steps does."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    reached: set[str] = set()
    waiting = list(graph_def.node)
    while waiting:
        for value in waiting.pop().attr.values():
            for called in (value.func, *value.list.func):
                if called.name in functions and called.name not in reached:
                    reached.add(called.name)
                    waiting += functions[called.name].node_def
    kept = [functions[name] for name in sorted(reached)]
    graph_def.ClearField("library")
    if kept:
        graph_def.library.function.extend(kept)


def read_frozen(path: Path) -> FrozenGraph:
    """Return the graph of a ``.pb`` file.

    Raises:
        ExportError: the file is missing, is not a graph, or has operations that reach files, network or Python.
    """
    if not path.is_file():
        raise ExportError.at(str(path), "no such file; `expkit freeze RUN` writes the frozen graph of a run")
    graph_def = tf.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module differs between its implementations
        raise ExportError.at(str(path), f"not a frozen graph ({error}); it is damaged or no .pb file") from None
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    if not nodes:
        raise ExportError.at(str(path), "not a frozen graph: it has no operations")
    reaching = sorted({node.op for node in nodes if node.op not in _ALLOWED and any(w in node.op for w in _REFUSED)})
    if reaching:
        raise ExportError.at(
            str(path),
            f"refused: its operations reach files, network or Python: {comma_list(reaching)}; freeze it without them",
        )
    return FrozenGraph(graph_def, _checked_metadata(path, graph_def))


def _checked_metadata(path: Path, graph_def: Any) -> Mapping[str, Any]:
    """Return the metadata of a graph, checked: it can be imported, and its inputs and outputs exist."""
    try:
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name="")
    except (tf.errors.OpError, ValueError) as error:
        raise ExportError.at(
            str(path),
            f"not a frozen graph TensorFlow can read: {error_message(error)}; it is cut off or from elsewhere",
        ) from None
    try:
        metadata = _metadata(graph_def)
        named = {*metadata["inputs"], *metadata["outputs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError.at(str(path), f"not a frozen graph (its metadata is damaged: {error})") from None
    if absent := sorted(named - {node.name for node in graph_def.node}):
        raise ExportError.at(str(path), f"not a frozen graph: it is cut off before {comma_list(absent)}")
    if not metadata["inputs"] or not metadata["outputs"]:
        raise ExportError.at(str(path), "not a frozen graph: it has no inputs (placeholders) or no outputs")
    return metadata


def _tensor_info(tensor: Any) -> dict[str, Any]:
    return {"tensor": tensor.name, "dtype": tensor.dtype.base_dtype.name, "shape": tensor.shape.as_list()}


def _metadata(graph_def: Any) -> dict[str, Any]:
    for node in graph_def.node:
        if METADATA in node.attr:
            return dict(json.loads(node.attr[METADATA].s))
    read = {name.split(":")[0].lstrip("^") for node in graph_def.node for name in node.input}
    inputs = {
        node.name: {
            "tensor": f"{node.name}:0",
            "dtype": tf.as_dtype(node.attr["dtype"].type).name,
            "shape": _placeholder_shape(node),
        }
        for node in graph_def.node
        if node.op == "Placeholder"
    }
    ends = [node.name for node in graph_def.node if node.name not in read and node.op not in ("Const", "NoOp")]
    return {"inputs": inputs, "outputs": {name: {"tensor": f"{name}:0"} for name in ends}}


def _placeholder_shape(node: Any) -> list[int | None] | None:
    shape = node.attr["shape"].shape
    if shape.unknown_rank or "shape" not in node.attr:
        return None
    return [None if dim.size < 0 else int(dim.size) for dim in shape.dim]
