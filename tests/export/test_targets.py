"""Targets whose readers do not take a graph as it is: how it is rewritten, and the messages where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.converters.job import Conversion
from expkit.export.converters.opencv import convert
from expkit.export.doors import open_door, without_values
from expkit.export.exporter import export
from expkit.export.failures import blamed
from expkit.export.folding import folded
from expkit.export.freeze import freeze, read_frozen
from expkit.export.targets import converting, runtimes
from expkit.export.targets.base import ExportOptions, ExportSource, target
from expkit.export.targets.processes import ChildFailed, Runtime
from expkit.export.tensor_lists import without_tensor_lists
from expkit.training.inference import Predictor, infer_graph
from support.networks import spec_of

LOOP = """
inputs: {x: {shape: [null, 3]}, count: {shape: [], dtype: int32}}
layers:
  both: {kind: gru, input: x, units: 4, direction: both, lengths: count, return_sequences: true}
  last: {kind: lstm, input: both, units: 5, direction: backward}
"""
UNROLLED = """
inputs: {x: {shape: [4, 3]}}
layers:
  lstm: {kind: lstm, units: 5}
  out: {kind: dense, units: 2}
"""
RANDOM = """
inputs: {x: {shape: [4]}}
layers:
  noise: {kind: random, batch_of: x, shape: [4]}
  out: {kind: add, input: [x, noise]}
"""


def exported(network: str, folder: Path) -> ExportSource:
    """Return a frozen graph with random values."""
    built, draw = infer_graph(spec_of(network), {}), np.random.default_rng(0)
    with Predictor(built) as predictor:
        shapes = {name: variable.shape.as_list() for name, variable in built.variables.items()}
        predictor.load({name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
        (folder / "frozen.pb").write_bytes(freeze(built, predictor, {"name": "odd"}))
    return ExportSource(file=folder / "frozen.pb", frozen=read_frozen(folder / "frozen.pb"))


def outputs(graph_def: Any, fetches: list[str], feed: dict[str, Any]) -> list[np.ndarray]:
    """Return tensors of a graph."""
    with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
        tf.import_graph_def(graph_def, name="")
        found: list[np.ndarray] = session.run(fetches, feed)
    return found


def operations(graph_def: Any) -> set[str]:
    """Return the operations of a graph and of its functions."""
    functions = (node for function in graph_def.library.function for node in function.node_def)
    return {node.op for node in (*graph_def.node, *functions)}


def test_loops_without_lists_give_the_same_bits(tmp_path: Path) -> None:
    door = open_door(exported(LOOP, tmp_path).frozen, "raw")
    made = without_tensor_lists(door.graph_def)
    assert any(name.startswith("TensorList") for name in operations(door.graph_def))
    assert not any(name.startswith("TensorList") for name in operations(made))
    x = np.random.default_rng(1).normal(size=(3, 7, 3)).astype(np.float32)
    feed = {"x:0": x, "count:0": np.array([7, 2, 0], np.int32)}
    tensors = [item["tensor"] for item in door.outputs.values()]
    for one, other in zip(outputs(door.graph_def, tensors, feed), outputs(made, tensors, feed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_operation_of_a_loop_is_blamed_on_the_layer_of_the_loop(tmp_path: Path) -> None:
    graph_def = exported(LOOP, tmp_path).frozen.graph_def
    inner = next(node.name for function in graph_def.library.function for node in function.node_def if "Set" in node.op)
    text = blamed(f"error: failed to legalize operation TensorListSetItem ({inner})", graph_def)
    assert text == f"it could not take TensorListSetItem '{inner}' of layer 'both'"


def test_graphs_without_lists_stay_as_they_are(tmp_path: Path) -> None:
    door = open_door(exported(UNROLLED, tmp_path).frozen, "raw")
    assert without_tensor_lists(door.graph_def) is door.graph_def


def test_a_door_without_values_has_all_operations(tmp_path: Path) -> None:
    door = open_door(exported(UNROLLED, tmp_path).frozen, "raw")
    made = without_values(door)
    assert [(node.name, node.op) for node in made.graph_def.node] == [
        (node.name, node.op) for node in door.graph_def.node
    ]
    assert made.graph_def.ByteSize() < door.graph_def.ByteSize() - 100
    assert (made.inputs, made.outputs, made.batch) == (door.inputs, door.outputs, door.batch)


def test_folding_reaches_through_splits_and_identities_of_several_tensors(tmp_path: Path) -> None:
    door = open_door(exported(UNROLLED, tmp_path).frozen, "raw", batch=1)
    assert {"SplitV", "IdentityN"} <= operations(door.graph_def)
    part = folded(door.graph_def, {"x": "x:0"}, {"out": "out:0"})
    assert not operations(part) & {"SplitV", "Identity", "IdentityN", "Shape"}
    x = np.random.default_rng(1).normal(size=(1, 4, 3)).astype(np.float32)
    (expected,), (got,) = (outputs(graph, ["out:0"], {"x:0": x}) for graph in (door.graph_def, part))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_two_outputs_of_one_tensor_are_both_folded(tmp_path: Path) -> None:
    door = open_door(exported(UNROLLED, tmp_path).frozen, "raw", batch=1)
    part = folded(door.graph_def, {"x": "x:0"}, {"one": "out:0", "two": "out:0"})
    one, two = outputs(part, ["one:0", "two:0"], {"x:0": np.ones((1, 4, 3), np.float32)})
    np.testing.assert_array_equal(one, two)


def test_outputs_that_others_read_are_had_from_opencv(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="expkit[opencv] is not installed")
    network = """
    inputs: {x: {shape: [3]}}
    layers:
      code: {kind: dense, units: 4}
      relu: {kind: activation, function: relu}
      last: {kind: dense, units: 2}
    outputs: {code: code, relu: relu, last: last}
    """
    source = exported(network, tmp_path)
    door, x = open_door(source.frozen, "raw", batch=1), np.array([[1.0, -2.0, 3.0]], np.float32)
    (tmp_path / "door.pb").write_bytes(door.graph_def.SerializeToString())
    into = tmp_path / "model.pb"
    convert(
        Conversion(
            target="opencv", graph=str(tmp_path / "door.pb"), inputs=door.inputs, outputs=door.outputs, into=str(into),
            name="net",
        )
    )  # fmt: skip
    opened = runtimes.Opencv(str(into), target("opencv").signature(door, several=False))
    got, again = opened.run({"x": x}), read_frozen(into, fetch=["code", "relu", "last"]).predict({"x": x})
    for name, expected in source.frozen.predict({"x": x}).items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(again[name], expected, rtol=1e-5, atol=1e-6)


def test_what_opencv_reads_wrongly_is_named_with_its_layer(tmp_path: Path) -> None:
    network = """
    inputs: {x: {shape: [4, 4, 4, 2]}}
    layers: {conv: {kind: conv3d, filters: 2, kernel_size: 3}, out: {kind: flatten}}
    """
    log = (  # As OpenCV 5 writes it; it computes wrong numbers then.
        "[ERROR:0@5.361] global tf_importer.cpp:3196 parseNode DNN/TF: Can't parse layer for node='conv/Conv3D' of "
        "type='Conv3D'. Exception: OpenCV(5.0.0) convolution_layer.cpp:350: error: (-215:Assertion failed) ngroups > 0"
    )
    assert blamed(log, exported(network, tmp_path).frozen.graph_def) == (
        "it could not take Conv3D 'conv/Conv3D' of layer 'conv'"
    )


def test_a_layer_that_a_converter_cannot_take_is_named_with_a_substitute(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(exported(RANDOM, tmp_path), [target("tflite")], ExportOptions(), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("--to tflite: the converter failed; it could not take ")
    assert "of layer 'noise'" in message
    assert "give random numbers as an input" in message
    assert not (tmp_path / "out").exists()


def test_a_package_that_cannot_be_imported_is_reported_with_the_command_that_installs_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenCV's package on a machine without a library of the system."""
    text = "libGL.so.1: cannot open shared object file"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({text!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = f"a package that it needs cannot be loaded (ImportError: {text}); install it anew: pip install "
    with pytest.raises(ExportError) as caught, Runtime("opencv", tmp_path / "model.pb", signature="{}"):
        pass
    assert str(caught.value) == f"model.pb: {told}--force-reinstall 'expkit[opencv]'"

    assert converter_message(
        tmp_path, monkeypatch, ChildFailed("failed", f"Traceback (most recent call last):\nImportError: {text}\n")
    ) == (f"--to openvino: {told}--force-reinstall 'expkit[openvino]'")


def converter_message(folder: Path, monkeypatch: pytest.MonkeyPatch, failed: ChildFailed) -> str:
    """Return the message for a converter that fails."""

    def failing(*arguments: Any) -> None:
        raise failed

    monkeypatch.setattr(converting, "run_child", failing)
    graph = folder / "graph.pb"
    job = Conversion(target="openvino", graph=str(graph), inputs={}, outputs={}, into="model.xml", name="net")
    with pytest.raises(ExportError) as caught:
        converting.convert_in_child(job, tf.GraphDef(), folder, 1)
    return str(caught.value)


def test_a_converter_that_takes_too_long_is_reported_with_the_way_to_give_it_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = "did not end within 1 seconds and was stopped"
    assert converter_message(tmp_path, monkeypatch, ChildFailed(stopped, "", in_time=False)) == (
        f"--to openvino: the converter {stopped}; --timeout SECONDS gives it longer"
    )


class Full(type(target("opencv"))):  # the class of a target
    """A target whose file is on a device that is full."""

    def _convert(self, source: Any, options: Any, doors: Any, into: Path) -> None:
        into.symlink_to("/dev/full")
        super()._convert(source, options, doors, into)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_fills_while_a_converter_writes_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="expkit[opencv] is not installed")
    source, folder = exported(UNROLLED, tmp_path), tmp_path / "in"
    folder.mkdir()
    with pytest.raises(ExportError) as caught:
        export(source, [Full()], ExportOptions(), folder / "out")
    assert str(caught.value) == (
        f"--output: cannot write {folder / 'out'} (No space left on device); nothing was written"
    )
    assert list(folder.iterdir()) == []


def test_an_export_to_openvino_reports_itself_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's package makes an identity of the user below the home folder and sends it with every import."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    (home := tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(home))
    source = exported("{inputs: {x: {shape: [3]}}, layers: {out: {kind: dense, units: 2}}}", tmp_path)
    export(source, [target("openvino")], ExportOptions(), tmp_path / "out")
    assert list((tmp_path / "out").rglob("model.xml"))
    assert not (home / "intel").exists()
