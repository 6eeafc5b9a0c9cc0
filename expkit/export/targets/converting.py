"""Conversion of a graph in a process of its own: a folder holds the job, and gets the files.

Started as ``python -m expkit.export.targets.converting FOLDER``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expkit.errors import ExportError
from expkit.export.doors import Door
from expkit.export.failures import failure_message
from expkit.export.targets import base
from expkit.export.targets.processes import ChildFailed, run_child

__all__ = ["Conversion", "convert_in_child"]


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
    quantize: base.Quantize = "none"
    opset: int | None = None
    calibration: str | None = None
    """A ``.npz`` file with examples by input, for ``int8``."""
    second_inputs: Mapping[str, Mapping[str, Any]] | None = None
    """Inputs of a second door in the same graph: what the network reads behind its preprocessing."""
    name: str
    """Name of the graph."""


def convert_in_child(conversion: Conversion, door: Door, folder: Path, timeout: float) -> None:
    """Convert a door of a graph.

    Args:
        conversion: what to convert and to what; its graph is written here.
        door: the graph.
        folder: an empty folder for the job.
        timeout: seconds after which the converter is stopped.

    Raises:
        ExportError: it failed, crashed or hung; the message names the operation, and the layer that made it.
    """
    Path(conversion.graph).write_bytes(door.graph_def.SerializeToString())
    (folder / "job.json").write_text(json.dumps(asdict(conversion)))
    try:
        run_child(["-m", "expkit.export.targets.converting", str(folder)], timeout)
    except ChildFailed as failed:
        place = f"--to {conversion.target}"
        fix = "leave this target out, or put another layer in its place"
        raise ExportError.at(
            place, f"the converter {failed}; {failure_message(failed.log, door.graph_def)}; {fix}"
        ) from None


def main(folder: Path) -> None:
    """Convert what the job in a folder says."""
    job = Conversion(**json.loads((folder / "job.json").read_text()))
    base.target(job.target).convert(job)  # type: ignore[attr-defined]  # only targets of graphs have jobs


if __name__ == "__main__":
    main(Path(sys.argv[1]))
