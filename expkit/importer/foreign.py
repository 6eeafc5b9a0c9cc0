"""Reader of networks that other programs made: a graph (.meta, .pb, SavedModel) or a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.importer.contents import Contents, Use, in_reading_order
from expkit.importer.graph_file import read_graph_file
from expkit.tensor_spec import TensorSpec

__all__ = ["output_operations", "read_graph"]

_DTYPES = ("float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "bool")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_TRANSPARENT = ("Identity", "ReadVariableOp", "Cast", "ExpandDims", "Reshape", "Enter")
_ADDED = ("BiasAdd", "Add", "AddV2")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_LOOKUPS = ("Gather", "GatherV2", "ResourceGather")
_KERNELS = {
    "Conv2D": "conv2d",
    "Conv3D": "conv3d",
    "DepthwiseConv2dNative": "depthwise_conv2d",
    "Conv2DBackpropInput": "conv2d_transpose",
    "MatMul": "dense",
    "BatchMatMulV2": "dense",
}
_ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Elu": "elu",
    "Selu": "selu",
    "LeakyRelu": "leaky_relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
}


def read_graph(source: str) -> Contents:
    """Return the network in a graph or, without operations, in a file of variables.

    Raises:
        ExportError: the file of a graph is missing or cannot be read.
        CheckpointError: the file of variables is missing, damaged or of an unknown format.
    """
    path = Path(source).expanduser()
    if path.suffix in (".meta", ".pb"):
        return _of_graph(read_graph_file(path).graph_def)
    variables = open_variables(source, source)
    if (path / "saved_model.pb").is_file() and variables.format != "object-based":
        return _of_graph(read_graph_file(path).graph_def)  # Objects may have other names than operations.
    return _of_variables(variables)


def output_operations(graph_def: Any) -> tuple[str, ...]:
    """Return the operations that a graph without a signature probably has as outputs, without those of training."""
    return _Graph(graph_def).outputs()


def _of_variables(source: VariableSource) -> Contents:
    specs = {name: source.variables[name] for name in in_reading_order(list(source.variables))}
    return Contents(variables={name: spec for name, spec in specs.items() if spec.dtype in _DTYPES})


def _of_graph(graph_def: Any) -> Contents:
    graph = _Graph(graph_def)
    variables = {name: spec for name, spec in graph.variables() if spec.dtype in _DTYPES}
    return Contents(
        variables=variables,
        uses=dict(graph.uses(variables)),
        inputs=graph.inputs(),
        outputs=graph.outputs(),
        has_operations=True,
    )


class _Graph:
    """The nodes of a graph without training, and the readers of each."""

    def __init__(self, graph_def: Any) -> None:
        self._nodes = {node.name: node for node in graph_def.node if not _of_training(node.name)}
        self._readers: dict[str, list[Any]] = {}
        for node in self._nodes.values():
            for name in node.input:
                if not name.startswith("^"):
                    self._readers.setdefault(_base(name), []).append(node)

    def variables(self) -> Iterator[tuple[str, TensorSpec]]:
        """Yield variables, and in a frozen graph the constants that replace them."""
        for name, node in self._nodes.items():
            if node.op in _VARIABLES:
                yield name, TensorSpec.of_variable(_sizes(node.attr["shape"].shape), _dtype(node))
            elif node.op == "Const" and node.attr["value"].tensor.tensor_shape.dim and self._was_variable(name):
                yield name, TensorSpec.of_variable(_sizes(node.attr["value"].tensor.tensor_shape), _dtype(node))

    def _was_variable(self, name: str) -> bool:
        for reader in self._readers.get(name, ()):
            if reader.op == "Identity" and re.search(r"(/read|ReadVariableOp(_\d+)?)$", reader.name):
                return True
            weights = reader.op in (*_KERNELS, *_NORMS, "BiasAdd") and reader.op != "Conv2DBackpropInput"
            if weights and [_base(read) for read in reader.input].index(name) > 0:
                return True
        return False

    def uses(self, variables: Mapping[str, Any]) -> Iterator[tuple[str, Use]]:
        """Yield the first use of every variable that an operation uses."""
        done: set[str] = set()
        for node in self._nodes.values():
            read = [self._variable(name, variables) for name in node.input]
            used = next((name for name in read if name is not None and name not in done), None)
            if used is None:
                continue
            use = self._use(node, rank=len(variables[used].shape))
            if use is not None:
                done.add(used)
                yield used, use

    def _use(self, node: Any, rank: int) -> Use | None:
        if node.op in _NORMS:
            return Use(
                "batch_norm", {"epsilon": _number(node.attr["epsilon"].f)}, _then_text(self._next_operation(node))
            )
        if node.op in _LOOKUPS:
            return Use("embedding")
        if node.op not in _KERNELS or rank < 2:
            return None
        kind = "conv1d" if node.op == "Conv2D" and rank == 3 else _KERNELS[node.op]
        fields: dict[str, Any] = {}
        if kind != "dense":
            axes = slice(2, 3) if kind == "conv1d" else slice(1, -1)
            if node.attr["data_format"].s == b"NCHW":
                axes = slice(2, None)
            fields = {"strides": _one(list(node.attr["strides"].list.i)[axes]), "padding": self._padding(node, axes)}
            rates = _one(list(node.attr["dilations"].list.i)[axes] or [1])
            if rates != 1 and kind != "conv2d_transpose":
                fields["dilation_rate"] = rates
            if kind == "depthwise_conv2d" and isinstance(fields["strides"], list):
                fields["strides"] = fields["strides"][0]
        then = self._next_operation(node)
        if then in _ACTIVATIONS.values():
            return Use(kind, {**fields, "activation": then})
        return Use(kind, fields, _then_text(then))

    def _padding(self, node: Any, axes: slice) -> Any:
        padding = node.attr["padding"].s.decode(errors="replace").lower()
        if padding != "explicit":
            return padding
        ends = list(node.attr["explicit_paddings"].list.i)
        return [list(pair) for pair in list(zip(ends[::2], ends[1::2], strict=True))[axes]]

    def _next_operation(self, node: Any) -> str:
        """Return the activation or operation that follows; empty if several operations read the result."""
        seen = set()
        while node.name not in seen:
            seen.add(node.name)
            readers = [reader for reader in self._readers.get(node.name, ()) if reader.op != "Shape"]
            if len(readers) != 1:
                return ""
            node = readers[0]
            if node.op in _ACTIVATIONS:
                return _ACTIVATIONS[node.op]
            if node.op not in (*_ADDED, *_TRANSPARENT):
                return str(node.op)
        return ""

    def _variable(self, name: str, variables: Mapping[str, Any]) -> str | None:
        """Return the variable whose value a tensor is, found through operations that change no number."""
        base, seen = _base(name), set()
        while base not in variables:
            node = self._nodes.get(base)
            if node is None or node.op not in _TRANSPARENT or not node.input or base in seen:
                return None
            seen.add(base)
            base = _base(node.input[0])
        return base

    def inputs(self) -> dict[str, TensorSpec]:
        """Return the placeholders of known rank."""
        found = {}
        for name, node in self._nodes.items():
            shape = node.attr["shape"].shape
            if node.op == "Placeholder" and shape.dim and _dtype(node) in _DTYPES:
                sizes = tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim[1:])
                found[name] = TensorSpec(sizes, _dtype(node))
        return found

    def outputs(self) -> tuple[str, ...]:
        """Return the operations that read tensors, but whose own tensors no operation reads."""
        excluded = ("NoOp", "Assert", "Const", "Placeholder")
        return tuple(
            name
            for name, node in self._nodes.items()
            if name not in self._readers
            and node.op not in excluded
            and not any(word in node.op for word in ("Var", "Assign", "Apply"))
            and not (node.op == "Identity" and self._reads_variable(node))
        )

    def _reads_variable(self, node: Any) -> bool:
        return any(self._nodes[read].op in _VARIABLES for read in map(_base, node.input) if read in self._nodes)


def _then_text(then: str) -> str:
    return f"then {then}" if then else ""


def _of_training(name: str) -> bool:
    scopes = name.split("/")
    return scopes[0] == "save" or any(
        scope.startswith(("gradients", "save_")) or scope == "Initializer" for scope in scopes
    )


def _base(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(int(dim.size) for dim in shape.dim)


def _dtype(node: Any) -> str:
    try:
        return str(tf.as_dtype(node.attr["dtype"].type).base_dtype.name)
    except TypeError:
        return "unknown"


def _number(value: float) -> float:
    return float(f"{value:.6g}")


def _one(sizes: list[int]) -> int | list[int]:
    sizes = sizes or [1]
    return int(sizes[0]) if len(set(sizes)) == 1 else [int(size) for size in sizes]
