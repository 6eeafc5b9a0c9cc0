"""Files of graphs that other programs wrote, parsed: .pb, .meta, SavedModel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.errors import ExportError, reading

__all__ = ["GraphFile", "read_graph_file"]

_ALLOWED = "allowed: a .pb file, a .meta file beside its checkpoint, a SavedModel folder"
_SIGNATURE = "serving_default"


@dataclass(frozen=True, kw_only=True)
class GraphFile:
    """A parsed graph; nothing of it has been checked, imported or run."""

    graph_def: Any
    checkpoint: Path | None = None
    """Prefix of the checkpoint with the values of its variables; ``None`` where the file has none."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of the checkpoint by variable operation, where a function of the graph restores them."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Tensors by the names of the signature; empty where the file has none."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Likewise."""
    has_training: bool = False
    """True if the graph may hold the training and the saver too, not only what computes the outputs."""


def read_graph_file(path: Path, signature: str | None = None) -> GraphFile:
    """Parse a ``.pb`` or ``.meta`` file, or the ``saved_model.pb`` in a folder.

    Args:
        path: the file or folder.
        signature: name of the one whose inputs are read, if there is such; otherwise ``serving_default``.

    Raises:
        ExportError: it is missing, or not a graph.
    """
    if (path / "saved_model.pb").is_file():
        path = path / "saved_model.pb"
    if (values := _checkpoint_text(path)) is not None:
        raise ExportError.at(str(path), f"{values}; {_ALLOWED}")
    if not path.is_file():
        raise ExportError.at(str(path), f"{'not a regular file' if path.exists() else 'no such file'}; {_ALLOWED}")
    if path.suffix in (".npz", ".safetensors"):
        text = f"a file of variables, not a graph; `expkit checkpoint show {path}` lists them; {_ALLOWED}"
        raise ExportError.at(str(path), text)
    with reading(str(path), "cannot be read", raises=ExportError):
        content = path.read_bytes()
    for parse in (_of_meta_graph,) if path.suffix == ".meta" else (_of_graph, _of_saved_model):
        try:
            file = parse(content, path, signature)
        except Exception:  # protobuf's DecodeError, whose module differs between its implementations
            continue
        if file is not None and file.graph_def.node and all(node.op for node in file.graph_def.node):
            return file
    problem = "it has no operations" if not content else "the file is damaged or of another kind"
    raise ExportError.at(str(path), f"not a graph of TensorFlow: {problem}; {_ALLOWED}")


def _checkpoint_text(path: Path) -> str | None:
    """Return the way out where a checkpoint is given: prefix, file or folder of it; otherwise ``None``."""
    prefix = path.with_suffix("") if path.suffix == ".index" or ".data-" in path.suffix else path
    indexes = sorted(path.glob("*.index")) if path.is_dir() else [Path(f"{prefix}.index")]
    if not any(index.is_file() for index in indexes) or path.suffix == ".meta":
        return None
    graphs = [graph for index in indexes if (graph := index.with_suffix(".meta")).is_file()]
    text = "a checkpoint, which has values of variables, but no graph"
    if graphs:
        return f"{text}; its graph is in {graphs[-1]}; give that"
    return f"{text}; give the folder of the run, or the graph that it belongs to"


def _of_meta_graph(content: bytes, path: Path, signature: str | None) -> GraphFile:
    return _with_signature(tf.MetaGraphDef.FromString(content), path.with_suffix(""), signature)


def _of_graph(content: bytes, path: Path, signature: str | None) -> GraphFile:
    return GraphFile(graph_def=tf.GraphDef.FromString(content))


def _of_saved_model(content: bytes, path: Path, signature: str | None) -> GraphFile | None:
    graphs = tf.saved_model_proto().FromString(content).meta_graphs
    serving = [graph for graph in graphs if "serve" in graph.meta_info_def.tags] or list(graphs)
    return _with_signature(serving[0], path.parent / "variables" / "variables", signature) if serving else None


def _restored_keys(graph: Any) -> dict[str, str]:
    """Return the checkpoint's keys by variable, as the function that restores an object-based checkpoint has them.

    The name of a variable need not be that in the checkpoint: of two with one name, the second has another one here.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    restore = _operation(graph.saver_def.restore_op_name)
    call = next((node for node in graph.graph_def.node if node.name == restore), None)
    if call is None or call.attr["f"].func.name not in functions:
        return {}
    function = functions[call.attr["f"].func.name]
    given = dict(zip((item.name for item in function.signature.input_arg), call.input, strict=False))
    nodes = {node.name: node for node in function.node_def}
    found = {}
    for node in function.node_def:
        if node.op == "AssignVariableOp":
            variable, value = node.input
            if nodes[_operation(value)].op == "Identity":
                (value,) = (name for name in nodes[_operation(value)].input if not name.startswith("^"))
            read = nodes[_operation(value)]
            if read.op == "RestoreV2":
                keys = nodes[_operation(read.input[1])].attr["value"].tensor.string_val
                found[given[variable]] = keys[int(value.rpartition(":")[2])].decode()
    return found


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]


def _with_signature(graph: Any, prefix: Path, wanted: str | None) -> GraphFile:
    """Return a graph with the tensors of its signature, if it has one and that names plain tensors."""
    signatures = {
        name: item
        for name, item in sorted(graph.signature_def.items())
        if item.outputs
        and not name.startswith("__")
        and all(info.name for info in (*item.inputs.values(), *item.outputs.values()))
    }
    signature = signatures.get(wanted or "") or signatures.get(_SIGNATURE) or next(iter(signatures.values()), None)
    has_values = any(file.is_file() for file in (Path(f"{prefix}.index"), prefix))
    return GraphFile(
        graph_def=graph.graph_def,
        checkpoint=prefix if has_values else None,
        keys=_restored_keys(graph) if has_values else {},
        inputs={name: info.name for name, info in sorted(signature.inputs.items())} if signature else {},
        outputs={name: info.name for name, info in sorted(signature.outputs.items())} if signature else {},
        has_training=True,
    )
