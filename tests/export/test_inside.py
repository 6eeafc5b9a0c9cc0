"""Exported files say where they come from, and read the source by the preprocessing beside them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.freeze import FrozenGraph
from expkit.export.inside import KEY, checked, read_inside, write_inside
from expkit.export.preprocessing import PREPROCESSING, write_preprocessing
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


def test_a_bomb_in_the_place_of_facts_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.tflite", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("expkit.json", b'"' + b" " * (1 << 24) + b'"')
    assert read_inside("tflite", tmp_path / "m.tflite") == {}


def words_graph() -> FrozenGraph:
    """Return a graph that reads words, and whose network reads their lengths."""
    with tf.Graph().as_default() as graph:
        words = tf.placeholder(tf.string, [None], "word")
        length = tf.cast(tf.strings.length(words), tf.float32)
        made = tf.identity(tf.reshape(length, [-1, 1]), "preprocess/word")
    graph.finalize()
    metadata = {
        "name": "net",
        "inputs": {"word": {"tensor": "word:0", "dtype": "string", "shape": [None]}},
        "preprocessed": {"word": {"tensor": made.name, "dtype": "float32", "shape": [None, 1]}},
        "outputs": {},
    }
    return FrozenGraph(graph_def=graph.as_graph_def(), metadata=metadata, graph=graph)


def test_a_file_behind_the_preprocessing_reads_what_the_source_gives_by_the_graph_beside_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="expkit[onnx] is not installed")
    pytest.importorskip("onnxruntime", reason="expkit[onnx] is not installed")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node("MatMul", ["word", "kernel"], ["y"])],
        "graph",
        [make.make_tensor_value_info("word", number, [None, 1])],
        [make.make_tensor_value_info("y", number, [None, 2])],
        [onnx.numpy_helper.from_array(np.array([[1, 10]], np.float32), "kernel")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10), path)
    write_inside("onnx", path, ABOUT)
    write_preprocessing(words_graph(), ["word"], tmp_path / PREPROCESSING)
    runtime = RuntimeGraph(path)
    assert {key: runtime.metadata[key] for key in ABOUT} == ABOUT
    assert runtime.metadata["inputs"]["word"]["dtype"] == "string"
    assert runtime.metadata["preprocessed"] == {"word": {"tensor": "word", "dtype": "float32", "shape": [None, 1]}}
    wanted = [[3.0, 30.0], [2.0, 20.0], [1.0, 10.0]]
    words = np.array([b"abc", b"de", b"f"])
    np.testing.assert_array_equal(runtime.predict({"word": words}, batch_size=2)["y"], wanted)
    tensors = np.array([[3], [2], [1]], np.float32)
    np.testing.assert_array_equal(runtime.predict({"word": tensors}, batch_size=2)["y"], wanted)
    with pytest.raises(ExportError, match=r"the graph reads shape \[\?, 1\], got \[1\]"):
        runtime.predict({"word": np.array([1])})


def test_openvino_without_its_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hints = []
    monkeypatch.setattr("expkit.export.runtime_graph.check_installed", lambda *_: None)

    def refused(kind: str, path: Path, *, hint: str) -> Any:
        hints.append(hint)
        raise ExportError.at(path.name, hint)

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
