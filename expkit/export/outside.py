"""Files that an exported file names: only those in its own folder are read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.errors import ExportError, Problem, error_message, limit_problems, reading
from expkit.export.packages import cannot_load

__all__ = ["check_inside", "check_named_files"]

_FIX = "put the data into the folder of the file"


def check_named_files(kind: str, path: Path) -> None:
    """Check the files that a file of a format names, before its runtime opens them.

    Args:
        kind: name of the target.
        path: the file.

    Raises:
        ExportError: with every name that leads out of the file's folder, or to no regular file.
    """
    if kind == "openvino":
        check_inside(path.parent, [path.with_suffix(".bin").name], str(path))
    if kind == "onnx":
        try:
            onnx = importlib.import_module("onnx")
        except ImportError as error:
            raise ExportError.at(str(path), cannot_load(kind, error_message(error))) from None
        with reading(str(path), "not a file in ONNX", raises=ExportError, fix="it is cut off or of another kind"):
            model = onnx.load_model(str(path), format="protobuf", load_external_data=False)
        check_inside(path.parent, dict.fromkeys(_locations(model)), str(path))


def check_inside(folder: Path, names: Any, at: str) -> None:
    """Check that names lead to regular files in a folder, also where they are symbolic links; absent ones are left out.

    Raises:
        ExportError: with every name that does not.
    """
    inside = folder.resolve()
    problems = []
    for name in names:
        try:
            found = (folder / name).resolve()
            irregular = found.exists() and not found.is_file()
        except (OSError, ValueError):  # It has a zero byte, or is longer than the system takes.
            text = f"refused: it reads data from {f'{name:.100}'!r}, which cannot be a file's name; {_FIX}"
            problems.append(Problem(at, text))
            continue
        if Path(name).is_absolute() or not found.is_relative_to(inside):
            problems.append(Problem(at, f"refused: it reads data from '{name}', which is not in its folder; {_FIX}"))
        elif irregular:
            problems.append(Problem(at, f"refused: it reads data from '{name}', which is not a regular file; {_FIX}"))
    if problems:
        raise ExportError(*limit_problems(problems))


def _locations(message: Any) -> Iterator[str]:
    """Yield the locations of external data of all tensors in a message of ONNX, wherever they are."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (item.value for item in value if item.key == "location")
        elif field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                yield from _locations(item)
