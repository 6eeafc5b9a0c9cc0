"""Exported files say where they come from."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from expkit.errors import ExportError
from expkit.export.freeze import FrozenGraph
from expkit.export.inside import KEY, checked, read_inside, write_inside
from expkit.export.runtime_graph import RuntimeGraph
from expkit.protobuf_wire import messages

ABOUT = {
    "name": "net",
    "run": "r1",
    "step": 3,
    "checkpoint": "ab",
    "verdict": "proven",
    "classes": {"y": ["<a>", '"b']},
}


def test_facts_inside_a_file_are_read_again_and_what_it_computes_is_untouched(tmp_path: Path) -> None:
    model, xml, folder = tmp_path / "m.tflite", tmp_path / "m.xml", tmp_path / "savedmodel"
    model.write_bytes(b"graph" * 9)
    xml.write_text("<net>\n\t<layers />\n\t<rt_info>\n\t\t<info value='1' />\n\t</rt_info>\n</net>\n")
    folder.mkdir()
    for kind, path in {"tflite": model, "openvino": xml, "savedmodel": folder}.items():
        assert read_inside(kind, path) == {}
        write_inside(kind, path, ABOUT)
        assert read_inside(kind, path) == ABOUT
    assert model.read_bytes().startswith(b"graph" * 9)
    assert [item.name for item in folder.iterdir()] == ["assets.extra"]


def test_facts_of_a_file_in_onnx_are_an_entry_of_its_metadata(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    write_inside("onnx", tmp_path / "m.onnx", {"name": "x" * 300})
    (entry,) = messages((tmp_path / "m.onnx").read_bytes(), 14)
    assert [next(messages(entry, number)) for number in (1, 2)] == [KEY.encode(), b'{"name": "' + b"x" * 300 + b'"}']


@pytest.mark.parametrize("about", [{"classes": ["a"]}, {"columns": {"x": [1]}}, {"step": "1"}, []])
def test_facts_that_another_wrote_are_not_taken_where_they_are_of_another_type(tmp_path: Path, about: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        checked(about)
    (tmp_path / "m.tflite").write_bytes(b"")
    write_inside("tflite", tmp_path / "m.tflite", about)
    assert read_inside("tflite", tmp_path / "m.tflite") == {}
    assert checked({"name": "a", "other": 1}) == {"name": "a"}


@pytest.mark.parametrize(("compression", "spoiled"), [(zipfile.ZIP_DEFLATED, b"\xff"), (zipfile.ZIP_LZMA, b"\0")])
def test_facts_in_a_damaged_archive_are_none(tmp_path: Path, compression: int, spoiled: bytes) -> None:
    path = tmp_path / "m.tflite"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("expkit.json", '{"name": "a"}')
    content = path.read_bytes()
    start = 30 + len("expkit.json")  # of the member, behind its header
    path.write_bytes(content[:start] + spoiled * 12 + content[start + 12 :])
    assert read_inside("tflite", path) == {}


def test_a_bomb_in_the_place_of_facts_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.tflite", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("expkit.json", b'"' + b" " * (1 << 24) + b'"')
    assert read_inside("tflite", tmp_path / "m.tflite") == {}


def test_openvino_without_its_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hints = []
    monkeypatch.setattr("expkit.export.runtime_graph.check_installed", lambda *_: None)

    def refused(kind: str, path: Path, *, explain: Callable[[str], str]) -> Any:
        hints.append(explain(""))
        raise ExportError.at(path.name, hints[-1])

    monkeypatch.setattr("expkit.export.runtime_graph.Runtime", refused)
    (tmp_path / "m.xml").write_text("<net />")
    with pytest.raises(ExportError, match=r"its weights are missing: .*m\.bin"):
        RuntimeGraph(tmp_path / "m.xml")
    (tmp_path / "m.bin").touch()
    with pytest.raises(ExportError):
        RuntimeGraph(tmp_path / "m.xml")
    assert hints[1:] == [""]


def test_facts_of_a_run_name_its_folder_only() -> None:
    from expkit.export.targets.base import ExportSource

    run: Any = SimpleNamespace(checkpoint=SimpleNamespace(files={"a/model.index": {"sha256": "ab"}}))
    frozen = FrozenGraph(graph_def=None, metadata={"name": "net", "step": 3, "inputs": {}}, graph=None)
    source = ExportSource(file=Path("x"), frozen=frozen, run=run, run_folder=Path("/home/me/runs/r1"))
    assert source.about == {"name": "net", "step": 3, "run": "r1", "checkpoint": "ab"}
