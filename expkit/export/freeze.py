"""Frozen graphs: the inference graph with its variables as constants, in one file with its metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.errors import ExportError, comma_list, reading, unknown
from expkit.export.feeding import BATCH_BYTES, Computed, batches, cast, check_inputs, compute_each, join, own_batch_size
from expkit.export.inside import read_inside
from expkit.export.operations import check_operations
from expkit.export.outside import check_inside
from expkit.export.subgraph import keep_called_functions, operation_of, subgraph, tensor_info, unread_operations
from expkit.export.variables import check_variables, initializers_of
from expkit.importer.foreign import output_operations
from expkit.importer.graph_file import GraphFile, read_graph_file
from expkit.training.inference import InferGraph, Predictor

__all__ = ["FrozenGraph", "freeze", "read_frozen"]

METADATA = "_expkit"
"""Attribute of the first placeholder that holds the metadata; TensorFlow and others ignore attributes with ``_``."""
_PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_SEVERAL_RESULTS = ("TopK", "TopKV2", "Split", "SplitV", "Unpack")
"""Operations whose tensors are results each by itself; what others leave unread, as a norm its moments, is none."""


@dataclass(frozen=True, kw_only=True)
class FrozenGraph:
    """A graph of a file that runs: a frozen one, or one whose variables have their values from a checkpoint."""

    graph_def: Any
    """The operations that the outputs need."""
    metadata: Mapping[str, Any]
    """The metadata inside the file; for a foreign file only ``inputs`` and ``outputs``, derived from the graph."""
    graph: Any
    """The same, imported; of a graph that got constants in place of its variables the one that has the variables."""
    initializers: Sequence[tuple[Any, Callable[[], np.ndarray]]] = ()
    """Operations that assign the values of variables, with what reads the values."""
    unneeded: Collection[str] = field(default_factory=frozenset)
    """Inputs of the file on which no output depends."""

    def predict(
        self, inputs: Mapping[str, Any], *, plain: bool = True, batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return the outputs for all examples; arguments and errors are those of ``compute``."""
        return join(self.compute(inputs, plain=plain, batch_size=batch_size))

    def compute(
        self, inputs: Mapping[str, Any], *, plain: bool = True, batch_size: int | None = None
    ) -> Generator[Computed, None, None]:
        """Yield the outputs batch by batch, so that memory is bounded.

        Args:
            inputs: arrays by input name, or what has their ``shape`` and ``dtype`` and can be sliced.
            plain: run the graph as it is written; otherwise as an ordinary session rewrites it.
            batch_size: examples computed at once; when not given, up to 1,024 for a graph of expkit, all for others.

        Raises:
            ExportError: an input is missing, unknown, or of a wrong shape or dtype, or TensorFlow cannot compute it.
        """
        expected = self.metadata["inputs"]
        check_inputs(expected, self.unneeded, inputs)
        given = {name: item for name, item in expected.items() if name in inputs}
        fetches = {name: item["tensor"] for name, item in self.metadata["outputs"].items()}
        with self.session(plain=plain) as session:
            size = batch_size or own_batch_size(self.metadata, "weights")
            for cut in batches(given, inputs, size, most_bytes=None if batch_size else BATCH_BYTES):
                feed = {
                    item["tensor"]: cast(np.asarray(inputs[name][cut.get(name, ...)]), item["dtype"])
                    for name, item in given.items()
                }
                try:
                    with reading("predict", "TensorFlow cannot compute it", raises=ExportError):
                        outputs = session.run(fetches, feed)
                except ExportError:
                    for name in list(cut)[:1]:
                        compute_each(partial(session.run, fetches), feed, inputs[name], cut[name])
                    raise
                yield Computed(next((len(feed[given[name]["tensor"]]) for name in cut), 0), outputs)

    def after_preprocessing(self) -> FrozenGraph:
        """Return the same graph, which reads what preprocessing yields in place of what it preprocesses."""
        inputs = {**self.metadata["inputs"], **self.metadata.get("preprocessed", {})}
        return replace(self, metadata={**self.metadata, "inputs": inputs})

    @contextmanager
    def session(self, *, plain: bool) -> Iterator[Any]:
        """Yield a session with the values of the variables; ``plain`` is that of ``compute``."""
        with tf.plain_session(self.graph) if plain else tf.Session(graph=self.graph) as session:
            for initializer, read in self.initializers:
                session.run(initializer, {initializer.inputs[1]: read()})
            yield session


def freeze(built: InferGraph, predictor: Predictor, metadata: Mapping[str, Any]) -> bytes:
    """Return the serialized frozen graph: the operations that the outputs need, variables as constants, and metadata.

    Args:
        built: the inference graph.
        predictor: a session on it, with its variables loaded.
        metadata: facts to keep inside the file; inputs and outputs are added.
    """
    # Inputs on which no output depends stay in the file, so that it reads what the network reads.
    names = [tensor.op.name for tensor in (*built.outputs.values(), *built.inputs.values())]
    graph_def = tf.graph_util.convert_variables_to_constants(predictor.session, built.graph.as_graph_def(), names)
    keep_called_functions(graph_def)
    left = sorted({node.op for node in graph_def.node if "Variable" in node.op or node.op == "VarHandleOp"})
    assert not left, f"variables are left after freezing: {left}"
    doors = {"preprocessed": built.preprocessed} if built.preprocessed else {}
    content = {
        **metadata,
        **{door: {name: tensor_info(tensor) for name, tensor in tensors.items()} for door, tensors in doors.items()},
        "inputs": {name: tensor_info(tensor) for name, tensor in built.inputs.items()},
        "outputs": {name: tensor_info(tensor) for name, tensor in built.outputs.items()},
    }
    carrier = next(node for node in graph_def.node if node.op == "Placeholder")
    carrier.attr[METADATA].s = json.dumps(content).encode()
    graph_def.node.sort(key=lambda node: node.name != carrier.name)  # First, so that a file that is cut off is known.
    return bytes(graph_def.SerializeToString(deterministic=True))


def read_frozen(path: Path, *, fetch: Sequence[str] = (), allowed: Collection[str] = ()) -> FrozenGraph:
    """Return the graph of a ``.pb`` or ``.meta`` file or of a SavedModel folder, checked.

    Args:
        path: the file or folder.
        fetch: tensors to compute, by name, in place of the outputs; only the inputs that they depend on are needed.
        allowed: operations to allow besides those known to be pure.

    Raises:
        ExportError: the file is missing or not a graph, has variables without values, or operations that are refused.
        CheckpointError: the checkpoint beside it is damaged.
    """
    if not path.exists() and not Path(f"{path}.index").is_file():
        raise ExportError.at(str(path), "no such file; `expkit freeze RUN` writes the frozen graph of a run")
    about, at = read_inside("savedmodel", path), str(path)
    if path.is_dir():
        check_inside(path, [f"variables/{file.name}" for file in sorted((path / "variables").glob("*"))], at)
    file = read_graph_file(path, "raw" if about else None)
    metadata = _kept_metadata(file.graph_def, at)
    names = _requested(file, fetch, metadata, at)
    part = subgraph(file.graph_def, map(operation_of, names.values()))
    check_variables(part, file, at)
    check_operations(part, at, allowed=allowed, variables=file.checkpoint is not None)
    graph = tf.Graph()
    with reading(at, "not a graph that TensorFlow can read", raises=ExportError, fix="it is cut off or from elsewhere"):
        with graph.as_default():
            tf.import_graph_def(part, name="")
    with reading(at, "no such tensor", raises=ExportError):
        declared = fetch or metadata or file.outputs or file.has_training
        outputs = _outputs(graph, names) if declared else _results(graph)
    if not outputs:
        raise ExportError.at(at, "not a graph with outputs; name tensors to compute with --fetch")
    own = file.inputs if metadata is None else {name: item["tensor"] for name, item in metadata["inputs"].items()}
    with reading(at, "not a graph that TensorFlow can read", raises=ExportError):
        inputs = _inputs(graph, own)
        initializers = initializers_of(graph, file, at)
    graph.finalize()
    needed = {operation_of(item["tensor"]) for item in inputs.values()} | {*inputs}
    placeholders = {node.name for node in file.graph_def.node if node.op in _PLACEHOLDERS}
    return FrozenGraph(
        graph_def=part,
        metadata={**about, **(metadata or {}), "inputs": inputs, "outputs": outputs},
        graph=graph,
        initializers=initializers,
        unneeded=(placeholders | {*own}) - needed,
    )


def _kept_metadata(graph_def: Any, at: str) -> dict[str, Any] | None:
    """Return the metadata that ``freeze`` put into a graph, checked; ``None`` for a graph of others."""
    node = next((node for node in graph_def.node if METADATA in node.attr), None)
    if node is None:
        return None
    with reading(at, "not a frozen graph: its metadata is damaged", raises=ExportError):
        metadata = dict(json.loads(node.attr[METADATA].s))
        tensors = {item["tensor"] for kind in ("inputs", "outputs") for item in dict(metadata[kind]).values()}
    nodes = {node.name for node in graph_def.node}
    absent = sorted(str(tensor) for tensor in tensors if operation_of(str(tensor)) not in nodes)
    if absent or not graph_def.versions.producer:  # The version stands at the end of the file.
        raise ExportError.at(at, f"not a frozen graph: it is cut off before {comma_list(absent or ['its end'])}")
    return metadata


def _requested(file: GraphFile, fetch: Sequence[str], metadata: Mapping[str, Any] | None, at: str) -> Mapping[str, str]:
    """Return the tensors to compute by the names of the outputs; those of a graph without names, by operation."""
    if fetch:
        nodes = {node.name for node in file.graph_def.node}
        for name in fetch:
            if operation_of(name) not in nodes:
                raise ExportError.at(at, unknown(f"no tensor '{name}' to fetch", operation_of(name), nodes))
        return {name: name for name in fetch}
    if metadata is not None:
        return {name: item["tensor"] for name, item in metadata["outputs"].items()}
    if file.outputs:
        return file.outputs
    find = output_operations if file.has_training else unread_operations
    return {name: name for name in find(file.graph_def)}


def _outputs(graph: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the tensors that are requested; of an operation all its tensors."""
    found: dict[str, Any] = {}
    for name, requested in names.items():
        if ":" in requested:
            found[name] = tensor_info(graph.get_tensor_by_name(requested))
        else:
            operation = graph.get_operation_by_name(requested)
            found |= _named(operation, operation.outputs, name)
    return found


def _results(graph: Any) -> dict[str, Any]:
    """Return the tensors of a graph that no operation reads."""
    found: dict[str, Any] = {}
    for operation in graph.get_operations():
        unread = [tensor for tensor in operation.outputs if not tensor.consumers()]
        if len(unread) == len(operation.outputs) or operation.type in _SEVERAL_RESULTS:
            found |= _named(operation, [item for item in unread if item.dtype not in (tf.resource, tf.variant)])
    return found


def _named(operation: Any, tensors: Sequence[Any], name: str | None = None) -> dict[str, Any]:
    """Return tensors of an operation by its name, with their index where it has several."""
    alone = name or operation.name
    return {alone if len(operation.outputs) == 1 else tensor.name: tensor_info(tensor) for tensor in tensors}


def _inputs(graph: Any, declared: Mapping[str, str]) -> dict[str, Any]:
    """Return the inputs that are in a graph, by the names that are declared for them or by their own."""
    operations = {operation.name: operation for operation in graph.get_operations()}
    tensors = {
        name: graph.get_tensor_by_name(tensor)
        for name, tensor in declared.items()
        if operation_of(tensor) in operations
    }
    named = {tensor.op.name for tensor in tensors.values()}
    tensors |= {
        name: item.outputs[0] for name, item in operations.items() if item.type in _PLACEHOLDERS and name not in named
    }
    optional = {name for name, tensor in tensors.items() if tensor.op.type == "PlaceholderWithDefault"}
    return {
        name: tensor_info(tensor) | ({"optional": True} if name in optional else {}) for name, tensor in tensors.items()
    }
