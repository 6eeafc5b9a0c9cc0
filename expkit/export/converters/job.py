"""The job of a converter: a graph in a file, and what is to be made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["JOB", "Conversion", "Quantize"]

JOB = "job.json"
"""File of a job, in a folder of its own."""
Quantize = Literal["none", "float16", "dynamic", "int8"]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A graph to convert."""

    target: str
    graph: str
    """File of the ``GraphDef``, with a placeholder for each input."""
    inputs: Mapping[str, Mapping[str, Any]]
    """Tensor, dtype and shape by input name."""
    outputs: Mapping[str, Mapping[str, Any]]
    into: str
    """The file or folder to write."""
    quantize: Quantize = "none"
    opset: int | None = None
    """Opset of ONNX; the target's own by default."""
    calibration: str | None = None
    """A ``.npz`` file with examples by input, for ``int8``."""
    second_inputs: Mapping[str, Mapping[str, Any]] | None = None
    """Inputs of a second door in the same graph: what the network reads behind its preprocessing."""
    name: str
    """Name of the graph."""
