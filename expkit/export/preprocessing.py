"""The preprocessing of an exported file that cannot read what the source gives: a frozen graph beside it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit.export.feeding import cast
from expkit.export.freeze import METADATA, FrozenGraph
from expkit.export.subgraph import operation_of, subgraph

__all__ = ["KEPT", "PREPROCESSING", "preprocess", "write_preprocessing"]

PREPROCESSING = "preprocess.pb"
KEPT = ("name", "columns", "missing", "delimiter", "encoding", "decimal", "thousands")
"""Metadata of the frozen graph that is kept: how its source is read."""


def write_preprocessing(frozen: FrozenGraph, names: Collection[str], path: Path) -> None:
    """Write the part of a frozen graph from what the source gives to what the network reads.

    Args:
        frozen: the graph.
        names: inputs of the network.
        path: the file, which is a frozen graph as others.
    """
    metadata = frozen.metadata
    outputs = {name: item for name, item in metadata["preprocessed"].items() if name in names}
    part = subgraph(frozen.graph_def, (operation_of(item["tensor"]) for item in outputs.values()))
    nodes = {node.name for node in part.node}
    inputs = {name: item for name, item in metadata["inputs"].items() if operation_of(item["tensor"]) in nodes}
    for node in part.node:
        node.attr.pop(METADATA, None)
    carrier = next(node for node in part.node if node.op == "Placeholder")
    kept = {key: metadata[key] for key in KEPT if key in metadata}
    carrier.attr[METADATA].s = json.dumps({**kept, "inputs": inputs, "outputs": outputs}).encode()
    part.node.sort(key=lambda node: node.name != carrier.name)
    path.write_bytes(part.SerializeToString(deterministic=True))


def preprocess(
    before: FrozenGraph, batch: Mapping[str, np.ndarray], inputs: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Return the inputs of a file, computed from the values that the source gives.

    Args:
        before: the preprocessing beside the file.
        batch: arrays as the source gives them.
        inputs: dtype by name of what the file reads; what the preprocessing does not make is taken from the batch.
    """
    read = before.metadata["inputs"]
    made = before.predict({name: array for name, array in batch.items() if name in read})
    plain = {name: array for name, array in batch.items() if name in inputs and name not in made}
    return {**plain, **{name: cast(array, inputs[name]["dtype"]) for name, array in made.items()}}
