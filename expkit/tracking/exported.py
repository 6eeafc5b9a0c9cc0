"""Exported files as models of MLflow: those in formats for which it has a flavor of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen

__all__ = ["models_of"]


def models_of(exported: ExportFolder, frozen: Frozen) -> Iterator[tuple[Path, Path | None, dict[str, Any]]]:
    """Yield the graph's file, that of an example, and the metadata of each file in ONNX.

    Its inputs are those of its own door; where that is behind the preprocessing there is no example.
    """
    for item in exported.targets:
        if item.target == "onnx":
            door = {key: item.settings[key] for key in ("inputs", "outputs")}
            versions = {**frozen.metadata["versions"], **item.versions}
            file = next(file for file in item.files if file.suffix == ".onnx")
            example = frozen.example if item.settings["door"] == ["raw"] else None
            yield file, example, {**frozen.metadata, **door, "versions": versions}
