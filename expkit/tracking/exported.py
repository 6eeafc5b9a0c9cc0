"""Exported files as models of MLflow: those in formats for which it has a flavor of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen

__all__ = ["models_of"]


def models_of(exported: ExportFolder, frozen: Frozen, relative: Callable[[Path], str]) -> Iterator[dict[str, Any]]:
    """Yield the values of a journal's entry for each file in ONNX.

    Its inputs are those of its own door; where that is behind the preprocessing there is no example.
    """
    for item in exported.targets:
        if item.target == "onnx":
            door = {key: item.settings[key] for key in ("inputs", "outputs")}
            versions = {**frozen.metadata["versions"], **item.versions}
            file = next(file for file in item.files if file.suffix == ".onnx")
            yield {
                "graph": relative(file),
                "example": relative(frozen.example) if item.settings["door"] == ["raw"] else None,
                "metadata": {**frozen.metadata, **door, "versions": versions},
                "register": None,
                "alias": None,
                "flavor": "onnx",
            }
