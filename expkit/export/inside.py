"""Facts inside exported files, the run and the verdict of the proof, where a format has a place for them."""

from __future__ import annotations

import html
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from expkit.fs import read_json

__all__ = ["KEY", "checked", "read_inside", "write_inside"]

KEY = "expkit"
_FILE = f"{KEY}.json"
_LONGEST = 1 << 20
"""Bytes of facts that are read."""


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    name: str | None = None
    weights: str | None = None
    step: int | None = None
    run: str | None = None
    mlflow_run_id: str | None = None
    checkpoint: str | None = None
    verdict: str | None = None
    classes: dict[str, list[str]] | None = None
    columns: dict[str, list[str]] | None = None
    labels: dict[str, list[str]] | None = None
    predicts: dict[str, str] | None = None
    label_steps: dict[str, dict[str, Any]] | None = None
    missing: list[str] | None = None
    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None


def write_inside(kind: str, path: Path, about: Mapping[str, Any]) -> None:
    """Add facts to a file of a format; what it computes stays as it was proven.

    Args:
        kind: name of the target; of others than ``onnx``, ``tflite``, ``openvino`` and ``savedmodel`` nothing is added.
        path: the file or folder.
        about: plain facts.
    """
    text = json.dumps(about)
    if kind == "onnx":  # A repeated field at the end of a message is one more entry: of metadata_props.
        entry = _field(1, KEY.encode()) + _field(2, text.encode())
        with path.open("ab") as file:
            file.write(_field(14, entry))
    elif kind == "tflite":  # As TFLite's own metadata has further files: an archive behind the graph.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(_FILE), text)
    elif kind == "openvino":
        before, end, after = path.read_text().rpartition("</rt_info>")
        if end:
            path.write_text(f'{before}\t<{KEY} value="{html.escape(text)}" />\n\t{end}{after}')
    elif kind == "savedmodel":
        (path / "assets.extra").mkdir()
        (path / "assets.extra" / _FILE).write_text(text + "\n")


def _field(number: int, value: bytes) -> bytes:
    """Return a field of bytes in the wire format of protocol buffers."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def read_inside(kind: str, path: Path) -> dict[str, Any]:
    """Return the facts inside a file that is not ONNX, whose runtime reads them; empty where there are none."""
    try:
        if kind == "tflite" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open(_FILE) as member:
                return checked(json.loads(member.read(_LONGEST)))
        if kind == "openvino":
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LONGEST), os.SEEK_SET)
                _, found, text = file.read().decode(errors="replace").rpartition(f'<{KEY} value="')
            return checked(json.loads(html.unescape(text.partition('"')[0]))) if found else {}
        if kind == "savedmodel" and (path / "assets.extra" / _FILE).is_file():
            return checked(read_json(path / "assets.extra" / _FILE))
    except Exception:
        return {}  # Others may write anything there, and damaged archives raise whatever their codecs do.
    return {}


def checked(about: Any) -> dict[str, Any]:
    """Return facts if all are of their type: files of others may have anything in their place.

    Raises:
        ValueError: one is not.
    """
    return _Facts.model_validate(about).model_dump(exclude_none=True)
