"""Files that read no text: the preprocessing beside them, its proof, and what it may not be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.exporter import RECORD, export
from expkit.export.freeze import METADATA, FrozenGraph, read_frozen
from expkit.export.preprocessing import PREPROCESSING, write_preprocessing
from expkit.export.runtime_graph import RuntimeGraph
from expkit.export.targets import graph_target
from expkit.export.targets.base import ExportOptions, ExportSource, target
from expkit.export.targets.graph_target import GraphTarget
from expkit.runs.frozen_graph import find_graph
from support.command_line import call

WORDS = np.array([b"abc", b"de", b"f"])


def words_graph(folder: Path, factor: float = 1.0) -> FrozenGraph:
    """Return a frozen graph that reads words, and whose network reads their lengths."""
    with tf.Graph().as_default() as graph:
        words = tf.placeholder(tf.string, [None], "word")
        length = factor * tf.cast(tf.strings.length(words), tf.float32)
        made = tf.identity(tf.reshape(length, [-1, 1]), "preprocess/word")
        tf.matmul(made, tf.constant([[1.0, 10.0]]), name="y")
        graph_def = graph.as_graph_def()
    metadata = {
        "name": "net",
        "inputs": {"word": {"tensor": "word:0", "dtype": "string", "shape": [None]}},
        "preprocessed": {"word": {"tensor": made.name, "dtype": "float32", "shape": [None, 1]}},
        "outputs": {"y": {"tensor": "y:0", "dtype": "float32", "shape": [None, 2]}},
    }
    node = next(node for node in graph_def.node if node.name == "word")
    node.attr[METADATA].s = json.dumps(metadata).encode()
    (folder / "frozen.pb").write_bytes(graph_def.SerializeToString())
    return read_frozen(folder / "frozen.pb")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportSource, Path]:
    """Return a graph, and the file in ONNX with its preprocessing that was made of it."""
    pytest.importorskip("tf2onnx", reason="expkit[onnx] is not installed")
    pytest.importorskip("onnxruntime", reason="expkit[onnx] is not installed")
    folder = tmp_path_factory.mktemp("words")
    source = ExportSource(file=folder / "frozen.pb", frozen=words_graph(folder), examples={"word": WORDS})
    options = ExportOptions(input_shapes={"word": [None, 1]}, rename_outputs={"y": "z"})
    export(source, [target("onnx")], options, folder / "out")
    return source, folder / "out" / "model.onnx"


def test_a_file_reads_what_the_source_gives_by_the_graph_beside_it(exported: tuple[ExportSource, Path]) -> None:
    runtime = RuntimeGraph(exported[1])
    assert runtime.metadata["inputs"]["word"]["dtype"] == "string"
    assert runtime.metadata["preprocessed"] == {"word": {"tensor": "word", "dtype": "float32", "shape": [None, 1]}}
    wanted = [[3.0, 30.0], [2.0, 20.0], [1.0, 10.0]]
    np.testing.assert_array_equal(runtime.predict({"word": WORDS}, batch_size=2)["z"], wanted)
    tensors = np.array([[3], [2], [1]], np.float32)
    np.testing.assert_array_equal(runtime.predict({"word": tensors}, batch_size=2)["z"], wanted)
    with pytest.raises(ExportError, match=r"the graph reads shape \[\?, 1\], got \[1\]"):
        runtime.predict({"word": np.array([1])})


def numbers_graph(folder: Path) -> FrozenGraph:
    """Return a frozen graph that reads numbers of 64 bits, as of a table, and whose network reads their halves."""
    with tf.Graph().as_default() as graph:
        numbers = tf.placeholder(tf.float64, [None, 1], "word")
        made = tf.cast(0.5 * numbers, tf.float32, name="preprocess/word")
        tf.matmul(made, tf.constant([[1.0, 10.0]]), name="y")
    words = words_graph(folder)
    inputs = {"word": {"tensor": "word:0", "dtype": "float64", "shape": [None, 1]}}
    return replace(words, graph_def=graph.as_graph_def(), graph=graph, metadata={**words.metadata, "inputs": inputs})


@pytest.mark.parametrize(("name", "door"), [("tflite", "preprocessed"), ("opencv", "preprocessed"), ("onnx", "raw")])
def test_numbers_that_a_format_cannot_compute_with_are_read_by_the_graph_beside_it(
    name: str, door: str, tmp_path: Path
) -> None:
    source = ExportSource(file=tmp_path / "frozen.pb", frozen=numbers_graph(tmp_path))
    doors = cast(GraphTarget, target(name)).doors(source, ExportOptions())
    dtype = {"preprocessed": "float32", "raw": "float64"}[door]
    assert [(item.name, item.inputs["word"]["dtype"]) for item in doors] == [(door, dtype)]


def test_a_preprocessing_of_numbers_is_always_computed(exported: tuple[ExportSource, Path], tmp_path: Path) -> None:
    shutil.copy(exported[1], tmp_path)
    write_preprocessing(numbers_graph(tmp_path), ["word"], tmp_path / PREPROCESSING)
    runtime = RuntimeGraph(tmp_path / "model.onnx")
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(runtime.predict({"word": np.array([[4], [6]], dtype)})["z"], [[2, 20], [3, 30]])


def test_opencvs_file_reads_what_the_source_gives_in_its_runtime(
    exported: tuple[ExportSource, Path], tmp_path: Path
) -> None:
    pytest.importorskip("cv2", reason="expkit[opencv] is not installed")
    options = ExportOptions(input_shapes={"word": [None, 1]}, rename_outputs={"y": "z"})
    export(exported[0], [target("opencv")], options, tmp_path / "out")
    graph = find_graph(str(tmp_path / "out" / "model.pb"))
    assert (graph.metadata["format"], graph.metadata["name"], graph.metadata["verdict"]) == ("opencv", "net", "proven")
    np.testing.assert_array_equal(graph.predict({"word": WORDS})["z"], [[3.0, 30.0], [2.0, 20.0], [1.0, 10.0]])
    (tmp_path / "out" / RECORD).unlink()
    assert "format" not in find_graph(str(tmp_path / "out" / "model.pb")).metadata  # As a graph of TensorFlow.


def test_raw_examples_through_the_preprocessing_are_in_the_table_of_proofs(exported: tuple[ExportSource, Path]) -> None:
    proofs = json.loads((exported[1].parent / RECORD).read_text())["targets"]["onnx"]["proofs"]
    assert [(row["door"], row["compared"], row["examples"]) for row in proofs] == [
        (door, compared, 3)
        for door in ("preprocessed", "raw by preprocess.pb")
        for compared in ("outputs", "control: permuted input")
    ]
    assert [row["difference"] for row in proofs] == pytest.approx([0, 2 / 3, 0, 2 / 3])


def test_a_wrong_preprocessing_is_caught(
    exported: tuple[ExportSource, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, file = exported
    wrong = words_graph(tmp_path, factor=1.5)
    monkeypatch.setattr(
        graph_target, "write_preprocessing", lambda frozen, names, path: write_preprocessing(wrong, names, path)
    )
    monkeypatch.setattr(type(target("onnx")), "_convert", lambda self, *given: shutil.copy(file, given[-1]))
    options = ExportOptions(rename_outputs={"y": "z"})
    with pytest.raises(ExportError) as caught:
        export(source, [target("onnx")], options, tmp_path / "out")
    assert str(caught.value) == (
        "--to onnx: outputs (raw by preprocess.pb) differ from the frozen graph by 0.5 of the largest output, allowed "
        "2e-05; nothing was written; --keep-anyway writes it with this verdict"
    )
    assert not (tmp_path / "out").exists()


def test_a_preprocessing_by_itself_reads_files_all_at_once(exported: tuple[ExportSource, Path], tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("word")
    done = call("predict", exported[1].with_name(PREPROCESSING), "a.txt", "b.txt", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("4.") == 2


def reading_files(folder: Path) -> FrozenGraph:
    """Return a graph whose preprocessing reads the files that it is given the names of."""
    with tf.Graph().as_default() as graph:
        names = tf.placeholder(tf.string, [None], "word")
        content = tf.map_fn(tf.io.read_file, names)
        tf.identity(tf.reshape(tf.cast(tf.strings.length(content), tf.float32), [-1, 1]), "preprocess/word")
    return replace(words_graph(folder), graph_def=graph.as_graph_def(), graph=graph)


def test_a_preprocessing_that_reaches_files_is_refused_unless_it_is_allowed(
    exported: tuple[ExportSource, Path], tmp_path: Path
) -> None:
    shutil.copy(exported[1], tmp_path)
    write_preprocessing(reading_files(tmp_path), ["word"], tmp_path / PREPROCESSING)
    (tmp_path / "name.txt").write_text("secret")
    (tmp_path / "secret").write_text("x" * 4321)
    words = ("predict", "model.onnx", "name.txt")
    done = call(*words, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors == [
        "error: preprocess.pb: refused: ReadFile: not known to be pure functions of their inputs, so they may reach "
        "files, network or Python; freeze the graph without them, or allow what you trust: --allow-op ReadFile"
    ]
    done = call(*words, "--allow-op", "ReadFile", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "43210" in done.out


def test_a_file_whose_proof_failed_says_so_with_what_it_computes(
    exported: tuple[ExportSource, Path], tmp_path: Path
) -> None:
    for name in ("model.onnx", PREPROCESSING):
        shutil.copy(exported[1].with_name(name), tmp_path)
    record = json.loads((exported[1].parent / RECORD).read_text())
    record["targets"]["onnx"] |= {"verdict": "not proven, kept anyway", "problems": ["outputs (raw) differ"]}
    (tmp_path / RECORD).write_text(json.dumps(record))
    (tmp_path / "a.txt").write_text("word")
    done = call("predict", "model.onnx", "a.txt", cwd=tmp_path)
    assert (done.code, done.err) == (0, "note: this file is not proven, kept anyway; outputs (raw) differ\n")
