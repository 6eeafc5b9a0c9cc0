"""Variables of graphs of other programs: their values from the checkpoint beside the file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.formats.open import open_variables
from expkit.errors import ExportError, Problem, comma_list, limit_problems
from expkit.importer.graph_file import GraphFile

__all__ = ["check_variables", "initializers_of"]

_VARIABLES = ("VarHandleOp", "Variable", "VariableV2")


def check_variables(part: Any, file: GraphFile, at: str) -> None:
    """Raise ExportError if a graph has variables, but nothing gives their values."""
    names = [node.name for node in part.node if node.op in _VARIABLES]
    if names and file.checkpoint is None:
        raise ExportError.at(
            at,
            f"not frozen: {comma_list(names)} are variables, and no file beside it gives their values; freeze the "
            "graph, or give a .meta file beside its checkpoint (FILE.meta, FILE.index) or a SavedModel folder",
        )


def initializers_of(graph: Any, file: GraphFile, at: str) -> list[tuple[Any, Callable[[], np.ndarray]]]:
    """Add operations that assign the checkpoint's values to the variables; return each with what reads its value."""
    variables = [operation for operation in graph.get_operations() if operation.type in _VARIABLES]
    if not variables:
        return []
    values = open_variables(str(file.checkpoint), at, by_key=bool(file.keys))
    problems: list[Problem] = []
    found: list[tuple[Any, Callable[[], np.ndarray]]] = []
    for operation in variables:
        name = file.keys.get(operation.name) or operation.get_attr("shared_name").decode() or operation.name
        spec = values.variables.get(name)
        shape, dtype = tf.TensorShape(operation.get_attr("shape")), operation.get_attr("dtype")
        if spec is None or not shape.is_compatible_with(spec.shape) or dtype.name != spec.dtype:
            has = "nothing" if spec is None else str(spec)
            problems.append(Problem(at, f"variable '{name}' is {shape} {dtype.name}, {file.checkpoint} has {has}"))
            continue
        with graph.as_default():
            value = tf.placeholder(dtype, shape)
            if operation.type == "VarHandleOp":
                assign = tf.raw_ops.AssignVariableOp(resource=operation.outputs[0], value=value)
                _add_read(graph, operation)
            else:
                assign = tf.raw_ops.Assign(ref=operation.outputs[0], value=value).op
        found.append((assign, partial(values.read, name)))
    if problems:
        raise ExportError(*limit_problems(problems))
    return found


def _add_read(graph: Any, variable: Any) -> None:
    """Add the read that TensorFlow looks for where it replaces a variable by its value, unless it is there."""
    try:
        graph.get_operation_by_name(f"{variable.name}/Read/ReadVariableOp")
    except KeyError:
        tf.raw_ops.ReadVariableOp(
            resource=variable.outputs[0], dtype=variable.get_attr("dtype"), name=f"{variable.name}/Read/ReadVariableOp"
        )
