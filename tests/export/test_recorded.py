"""What ``export.json`` beside a file says about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expkit.export.exporter import recorded
from expkit.fs import file_digest


def written(folder: Path, **changes: Any) -> Path:
    """Write the files of an export to OpenVINO beside other targets, and return the graph."""
    into = folder / "openvino"
    into.mkdir()
    (into / "model.xml").write_text("<net/>")
    (into / "model.bin").write_bytes(b"weights")
    files = {f"openvino/{file.name}": {"sha256": file_digest(file)} for file in into.iterdir()}
    item = {"verdict": "proven", "problems": [], "files": files, "outputs": {"y": {}}, **changes}
    (folder / "export.json").write_text(json.dumps({"targets": {"openvino": item}}))
    return into / "model.xml"


def test_the_verdict_is_of_the_files_that_were_proven(tmp_path: Path) -> None:
    file = written(tmp_path)
    found = recorded(file)
    assert found is not None
    assert (found.target, found.verdict, found.outputs) == ("openvino", "proven", ("y",))
    assert recorded(tmp_path / "other.xml") is None


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
@pytest.mark.parametrize("content", [b"weighty", None])
def test_the_verdict_is_void_where_a_file_has_changed(name: str, content: bytes | None, tmp_path: Path) -> None:
    file = written(tmp_path)
    changed = file.with_name(name)
    changed.write_bytes(content) if content is not None else changed.unlink()
    found = recorded(file)
    assert found is not None
    assert found.verdict == f"not as it was proven: openvino/{name} is not what {tmp_path / 'export.json'} says"


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ["openvino/model.xml"]},
        {"files": {"openvino/model.xml": 3}},
        {"files": {"openvino/model.xml": {"sha256": "0"}, "a\0b": {"sha256": "0"}}},
        {"verdict": 3},
        {"problems": 3},
        {"outputs": 3},
    ],
)
def test_records_that_another_wrote_say_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    assert recorded(written(tmp_path, **changes)) is None
