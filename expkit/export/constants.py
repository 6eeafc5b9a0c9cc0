"""Graphs of other programs whose variables have their values from a checkpoint, with constants in their place."""

from __future__ import annotations

from dataclasses import replace

from expkit import tf1 as tf
from expkit.errors import ExportError, comma_list, reading
from expkit.export.freeze import FrozenGraph
from expkit.export.operations import VARIABLES, nodes_of
from expkit.export.subgraph import keep_called_functions, operation_of

__all__ = ["with_constants"]


def with_constants(frozen: FrozenGraph, at: str) -> FrozenGraph:
    """Return the graph with constants in place of its variables; what it is compared with still has the variables.

    Args:
        frozen: a graph with variables.
        at: its file, for problems.

    Raises:
        ExportError: TensorFlow cannot replace the variables.
    """
    names = list(dict.fromkeys(operation_of(item["tensor"]) for item in frozen.metadata["outputs"].values()))
    fix = "freeze the graph with the program that wrote it"
    problem = "TensorFlow cannot replace its variables by constants"
    with frozen.session(plain=True) as session, reading(at, problem, raises=ExportError, fix=fix):
        graph_def = tf.graph_util.convert_variables_to_constants(session, frozen.graph_def, names)
    keep_called_functions(graph_def)
    if left := sorted({node.op for node in nodes_of(graph_def)} & VARIABLES):
        raise ExportError.at(at, f"{problem}: {comma_list(left)} are left; {fix}")
    return replace(frozen, graph_def=graph_def)
