"""Graphs that draw random numbers: what they compute cannot be compared."""

from __future__ import annotations

import numpy as np

from expkit.errors import Problem, comma_list
from expkit.export.doors import Door, layer_of
from expkit.export.exported_examples import door_examples
from expkit.export.operations import RANDOM, nodes_of
from expkit.export.reference import frozen_run
from expkit.export.targets.base import ExportSource

__all__ = ["randomness_problems"]

MOST = 3
"""Operations that a message names."""


def randomness_problems(source: ExportSource, door: Door) -> list[Problem]:
    """Return a problem if outputs differ when they are computed twice, with the operations that draw random numbers.

    Only a graph with such operations is computed: a dropout that keeps everything draws numbers that change nothing.

    Args:
        source: the frozen graph.
        door: the part of it that is exported.
    """
    drawing = [node for node in nodes_of(door.graph_def) if node.op in RANDOM]
    if not drawing:
        return []
    batch = door_examples(source, door).first()
    one, other = frozen_run(source, door.outputs, door.inputs, [batch, batch])
    if all(_same(np.asarray(one[name]), np.asarray(other[name])) for name in one):
        return []
    shown = [f"{node.op} '{node.name}' of layer '{layer_of(node.name, door.graph_def)}'" for node in drawing]
    fix = "give the numbers as an input, or freeze the graph as it predicts, without dropout and noise"
    text = f"the outputs depend on random numbers, so nothing can be compared: {comma_list(shown, MOST)}; {fix}"
    return [Problem("export", text)]


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind == "O":
        return bool(one.tolist() == other.tolist())
    return one.tobytes() == other.tobytes()
