"""Conversion of a graph in a process of its own: a folder holds the job, and gets the files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expkit.errors import ExportError
from expkit.export.converters.job import JOB, Conversion
from expkit.export.doors import Door
from expkit.export.failures import cause_of, failure_message
from expkit.export.packages import cannot_load, is_loading_failure
from expkit.export.targets.processes import ChildFailed, run_child

__all__ = ["convert_in_child", "write_job"]


def convert_in_child(conversion: Conversion, graph_def: Any, folder: Path, timeout: float) -> None:
    """Convert a door of a graph.

    Args:
        conversion: what to convert and to what.
        graph_def: the graph's operations, for the message; their values are not needed.
        folder: the folder of the job, which ``write_job`` filled.
        timeout: seconds after which the converter is stopped.

    Raises:
        ExportError: it failed, crashed or hung; the message names the operation, and the layer that made it.
    """
    try:
        run_child(["-m", "expkit.export.converters", str(folder)], timeout)
    except ChildFailed as failed:
        place = f"--to {conversion.target}"
        if is_loading_failure(cause := cause_of(failed.log)):
            raise ExportError.at(place, cannot_load(conversion.target, cause)) from None
        if not failed.in_time:
            raise ExportError.at(place, f"the converter {failed}; --timeout SECONDS gives it longer") from None
        fix = "leave this target out, or put another layer in its place"
        raise ExportError.at(
            place, f"the converter {failed}; {failure_message(failed.log, graph_def)}; {fix}"
        ) from None


def write_job(conversion: Conversion, door: Door, folder: Path) -> None:
    """Write a door's graph, and what to do with it, into a folder."""
    Path(conversion.graph).write_bytes(door.graph_def.SerializeToString())
    (folder / JOB).write_text(json.dumps(asdict(conversion)))
