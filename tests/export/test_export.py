"""Exports: every format computes what left, a wrong one is caught, and nothing is written by half."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.converters.tflite import calibration_batches
from expkit.export.differences import difference
from expkit.export.doors import layer_of, open_door
from expkit.export.exported_examples import Batches, door_examples, frozen_outputs
from expkit.export.exporter import RECORD, export
from expkit.export.failures import failure_message
from expkit.export.feeding import batches
from expkit.export.folding import folded
from expkit.export.freeze import freeze, read_frozen
from expkit.export.runtime_graph import RuntimeGraph
from expkit.export.targets.base import (
    TARGETS,
    Exported,
    ExportOptions,
    ExportSource,
    Proof,
    Target,
    chosen_targets,
    target,
)
from expkit.export.targets.processes import Runtime
from expkit.export.targets.verdicts import failures_of
from expkit.training.inference import Predictor, infer_graph
from support.networks import spec_of

MLP = """
inputs: {x: {shape: [6]}}
layers:
  hidden: {kind: dense, units: 8, activation: tanh}
  out: {kind: dense, units: 3}
"""


def frozen_file(folder: Path, network: str = MLP) -> Path:
    """Write a frozen graph with random values."""
    built, draw = infer_graph(spec_of(network), {}), np.random.default_rng(0)
    with Predictor(built) as predictor:
        shapes = {name: variable.shape.as_list() for name, variable in built.variables.items()}
        predictor.load({name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
        (folder / "frozen.pb").write_bytes(freeze(built, predictor, {"name": "mlp"}))
    return folder / "frozen.pb"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ExportSource:
    file = frozen_file(tmp_path_factory.mktemp("frozen"))
    return ExportSource(file=file, frozen=read_frozen(file))


def test_onnx_is_proven_by_onnx_runtime_with_free_batch_and_new_names(source: ExportSource, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="expkit[onnx] is not installed")
    pytest.importorskip("tf2onnx", reason="expkit[onnx] is not installed")
    options = ExportOptions(rename_outputs={"out": "scores"}, opset=17)
    made = export(source, [target("onnx")], options, tmp_path / "out")
    (file,) = made.targets[0].files
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(session.run(["scores"], {"x": x})[0], source.frozen.predict({"x": x})["out"], atol=1e-5)
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["targets"]["onnx"]["verdict"] == "proven"
    assert record["targets"]["onnx"]["files"]["model.onnx"]["bytes"] == file.stat().st_size
    graph = RuntimeGraph(file)
    assert graph.metadata["format"] == "onnx"
    assert graph.metadata["verdict"] == "proven"
    assert graph.metadata["inputs"] == {"x": {"tensor": "x", "dtype": "float32", "shape": [None, 6]}}
    np.testing.assert_allclose(
        graph.predict({"x": x}, batch_size=2)["scores"], session.run(None, {"x": x})[0], atol=1e-6
    )
    with pytest.raises(ExportError, match="input x: missing; arrays given: y"):
        graph.predict({"y": x})
    outputs, control = made.targets[0].proofs
    assert outputs.difference < 1e-4 < control.difference


def test_a_wrong_converter_is_caught_100_of_100(source: ExportSource) -> None:
    door = open_door(source.frozen, "raw")
    examples = door_examples(source, door)
    (expected,) = frozen_outputs(source, door, examples)
    draw, caught = np.random.default_rng(0), 0
    for _ in range(100):
        graph_def = tf.GraphDef.FromString(source.file.read_bytes())
        kernels = [node for node in graph_def.node if node.op == "Const" and node.name.endswith("kernel")]
        node = kernels[draw.integers(len(kernels))]
        value = np.array(tf.make_ndarray(node.attr["value"].tensor))
        one, other = draw.choice(value.size, 2, replace=False)
        value.reshape(-1)[[one, other]] = value.reshape(-1)[[other, one]]
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
        (got,) = frozen_outputs(replace(source, frozen=replace(source.frozen, graph=graph)), door, examples)
        caught += difference(expected, got) > ExportOptions().tolerance
    assert caught == 100


def test_the_runtime_of_a_large_graph_starts_when_its_converter_has_ended(
    source: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[bool] = []

    class Watched(Runtime):
        def __init__(self, kind: str, path: Path, **more: Any) -> None:
            converted.append(path.exists())
            super().__init__(kind, path, **more)

    monkeypatch.setattr("expkit.export.targets.graph_target.Runtime", Watched)
    for size in (source.file.stat().st_size, source.file.stat().st_size - 1):
        monkeypatch.setattr("expkit.export.reference.LARGE", size)
        assert export(source, [target("openvino")], ExportOptions(), tmp_path / str(size)).targets[0].problems == []
    assert converted == [False, True]


@pytest.mark.parametrize(("dtype", "words"), [("string", "text"), ("bfloat16", "bfloat16")])
def test_inputs_that_only_a_saved_model_reads_are_named(tmp_path: Path, dtype: str, words: str) -> None:
    with tf.Graph().as_default() as graph:
        tf.identity(tf.placeholder(getattr(tf, dtype), (None, 3), name="x"), name="y")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    source = ExportSource(file=tmp_path / "graph.pb", frozen=read_frozen(tmp_path / "graph.pb"))
    with pytest.raises(ExportError) as caught:
        export(source, [target("tflite")], ExportOptions(), tmp_path / "out")
    assert str(caught.value) == f"--to tflite: input x is {words}, which the format cannot read; use savedmodel"


def test_a_graph_all_of_whose_inputs_have_defaults_is_read_from_them(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder_with_default(np.ones((1, 3), np.float32), (None, 3), name="x")
        tf.multiply(x, tf.placeholder_with_default(2.0, (), name="scale"), name="y")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    frozen = read_frozen(tmp_path / "graph.pb")
    door = open_door(frozen, "raw")
    assert list(door.inputs) == ["x", "scale"]
    examples = door_examples(ExportSource(file=tmp_path / "graph.pb", frozen=frozen), door)
    assert {name: array.shape for name, array in examples.inputs.items()} == {"x": (8, 3), "scale": ()}


def test_calibration_has_batches_of_the_size_that_the_graph_is_fixed_to(tmp_path: Path) -> None:
    x = np.arange(8.0).reshape(4, 2)
    np.savez(tmp_path / "calibration.npz", scale=np.float32(3), x=x)
    batches = list(calibration_batches(str(tmp_path / "calibration.npz"), 2))
    assert [batch["scale"] for batch in batches] == [3, 3]
    np.testing.assert_array_equal([batch["x"] for batch in batches], [x[:2], x[2:]])


class Damaging(type(target("savedmodel"))):  # type: ignore[misc]  # the class of a target
    """A converter that swaps two weights."""

    def _convert(self, source: Any, options: Any, doors: Any, into: Path) -> None:
        door = doors[0]
        node = next(node for node in door.graph_def.node if node.name == "hidden/kernel")
        value = np.array(tf.make_ndarray(node.attr["value"].tensor))
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value[::-1]))
        super()._convert(source, options, doors, into)


class Failing(Target):
    """A target whose proof fails."""

    name = "npz"

    def write(self, source: Any, options: Any, into: Path, say: Any) -> Exported:
        (into / "file").write_text("half")
        return Exported(target="npz", files=[into / "file"], proofs=[], problems=["it differs"])


class Proven(Failing):
    """A target whose proof holds."""

    name = "savedmodel"

    def write(self, source: Any, options: Any, into: Path, say: Any) -> Exported:
        return replace(super().write(source, options, into, say), target="savedmodel", problems=[])


def test_what_is_not_proven_is_not_written(source: ExportSource, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(source, [Failing()], ExportOptions(), tmp_path / "out")
    fix = "nothing was written; --keep-anyway writes it with this verdict"
    assert str(caught.value) == f"--to npz: it differs; {fix}"
    assert list(tmp_path.iterdir()) == []


def test_what_is_proven_beside_a_target_that_fails_is_reported(source: ExportSource, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(source, [Failing(), Proven()], ExportOptions(), tmp_path / "out")
    last = "--to: savedmodel: proven, but not written, because all are or none is"
    assert [str(problem) for problem in caught.value.problems][1:] == [last]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_proven_is_kept_anyway_with_its_verdict(source: ExportSource, tmp_path: Path) -> None:
    made = export(source, [Damaging()], ExportOptions(keep_anyway=True), tmp_path / "out")
    kept = json.loads((tmp_path / "out" / RECORD).read_text())["targets"]["savedmodel"]
    assert kept["verdict"] == "not proven, kept anyway"
    first, second = made.targets[0].problems
    assert first.startswith("outputs (raw) differ from the frozen graph by")
    assert "the first layer that differs is 'hidden'" in second


def test_what_decides_on_a_quantized_file_without_metrics_is_reported() -> None:
    off = Proof(target="tflite", door="raw", difference=0.1, allowed=0.01)
    (first, second) = failures_of([off], quantized=True)
    assert first == "outputs (raw) differ from the frozen graph by 0.1 of the largest output, allowed 0.01"
    assert second == "no metric of a run can be computed from the outputs, so --tolerance decides"
    error = replace(off, compared="metric mae", note="0.5000 -> 0.6000", allowed=0.1, difference=0.2)
    assert failures_of([error], quantized=True) == [
        "metric mae rises by 0.2 of its value, from 0.5000 to 0.6000, allowed is 0.1"
    ]


def test_unknown_targets_are_named_with_the_nearest() -> None:
    with pytest.raises(ExportError, match="no target 'onx'; did you mean 'onnx'\\? allowed: savedmodel, tflite, onnx"):
        chosen_targets(["onx"], "--to")


def test_every_target_is_the_one_of_its_name() -> None:
    assert [target(name).name for name in TARGETS] == list(TARGETS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rename_outputs": {"outs": "scores"}}, "--rename-output: no output 'outs'; did you mean 'out'?"),
        ({"rename_outputs": {"out": "x"}}, "--rename-output: x would name two tensors"),
        ({"input_shapes": {"y": [1, 6]}}, "--input-shape: no input 'y'"),
        ({"input_shapes": {"x": [1, 7]}}, "--input-shape: x is [?, 6], which [1, 7] does not fit"),
        ({"opset": 3}, "--opset: 3: allowed: 13 to 18"),
        (
            {"batch": 2, "input_shapes": {"x": [3, 6]}},
            "--input-shape: x would have 3 examples, --batch says 2; give one of both",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_converted(
    source: ExportSource, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError) as caught:
        export(source, [target("onnx")], ExportOptions(**options), tmp_path / "out")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_names_that_no_operation_has_are_refused_for_opencv(source: ExportSource) -> None:
    (problem,) = target("opencv").problems(source, ExportOptions(rename_outputs={"out": "sc ö"}))
    assert problem.path == "--rename-output"
    assert problem.message.startswith("'sc ö' is not a name of an operation, as opencv needs; allowed: letters, digits")
    assert not target("opencv").problems(source, ExportOptions(rename_outputs={"out": "a/b.c-1_x"}))


def test_int8_needs_examples(source: ExportSource, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--quantize: int8 is calibrated on examples of the training part"):
        export(source, [target("tflite")], ExportOptions(quantize="int8"), tmp_path / "out")


def test_a_folder_with_files_is_left_alone(source: ExportSource, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="has files; give a new folder, or remove it"):
        export(source, [target("savedmodel")], ExportOptions(), tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("made", [True, False])
def test_a_link_in_place_of_the_folder_is_refused_before_anything_is_converted(
    made: bool, source: ExportSource, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real" if made else "gone")
    with pytest.raises(ExportError) as caught:
        export(source, [target("savedmodel")], ExportOptions(), tmp_path / "out")
    assert str(caught.value) == f"--output: {tmp_path / 'out'} is a symbolic link; give a new folder"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out", "real"]


def test_a_missing_extra_is_one_message_with_its_command(
    source: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expkit.export.targets.base.is_installed", lambda module: False)
    with pytest.raises(ExportError) as caught:
        export(source, [target("onnx"), target("openvino")], ExportOptions(), tmp_path / "out")
    assert str(caught.value) == (
        "--to: onnx needs tf2onnx and onnx and onnxruntime; openvino needs openvino, not installed; "
        "pip install 'expkit[onnx,openvino]'"
    )


def test_a_full_disk_leaves_nothing(source: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *text: Any, **more: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        ExportError, match=r"--output: cannot write .* \(No space left on device\); nothing was written"
    ):
        export(source, [target("savedmodel")], ExportOptions(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_names_the_operation_and_its_layer(source: ExportSource) -> None:
    log = "ERROR: Tensorflow op [hidden/Tanh: Tanh] is not supported\nUnsupported ops: Counter({'Tanh': 1})"
    text = failure_message(log, source.frozen.graph_def)
    assert text.startswith("it could not take Tanh 'hidden/Tanh' of layer 'hidden'; ")
    assert layer_of("out/MatMul", source.frozen.graph_def) == "out"


def test_folding_keeps_the_numbers_and_names(source: ExportSource) -> None:
    door = open_door(source.frozen, "raw", batch=1)
    part = folded(door.graph_def, {"x": "x:0"}, {"out": "out:0"})
    assert not {node.op for node in part.node} & {"Identity", "Shape"}
    x = np.ones((1, 6), np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(part, name="")
        np.testing.assert_allclose(session.run("out:0", {"x:0": x}), source.frozen.predict({"x": x})["out"], atol=1e-6)


def test_outputs_of_batches_are_joined_whatever_their_other_sizes_are() -> None:
    examples = Batches({"x": np.arange(3)}, 2)
    joined = examples.joined(
        [{"y": np.ones((2, 2)), "z": np.ones((2, 3))}, {"y": np.zeros((1, 2)), "z": np.ones((1, 4))}]
    )
    assert joined["y"].tolist() == [[1, 1], [1, 1], [0, 0]]
    assert joined["z"].shape == (10,)


def test_a_batch_of_strings_has_so_many_bytes_at_most_as_if_all_were_as_long_as_the_longest() -> None:
    texts = np.array([b"a" * size for size in (1, 2, 30, 1, 1, 400, 1, 1)], object)
    inputs = {"text": texts, "number": np.arange(8)}
    expected = {"text": {"shape": [None]}, "number": {"shape": [None]}}

    def cut(size: int, most_bytes: int | None) -> list[tuple[int, int]]:
        found = batches(expected, inputs, size, most_bytes=most_bytes)
        assert all(part["text"] == part["number"] for part in found)
        return [(part["text"].start, part["text"].stop) for part in found]

    assert cut(4, None) == [(0, 4), (4, 8)]
    assert cut(4, 60) == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 8)]
    assert cut(8, 10**6) == [(0, 8)]


def test_a_number_without_dimensions_is_fed_with_every_batch() -> None:
    rate, x = np.array(0.5), np.arange(3)
    for examples in (Batches({"rate": rate, "x": x}, 2), Batches.of({"rate": rate, "x": x})):
        assert [batch["rate"].shape for batch in examples] == [()] * len([*examples])
        assert sum(len(batch["x"]) for batch in examples) == examples.count == 3
        assert examples.permuted().inputs["x"].tolist() == [2, 1, 0]
        assert examples.one(None)["x"].tolist() == [0]


@pytest.mark.parametrize(
    ("expected", "got", "wanted"),
    [
        ([2.0, 4.0], [2.0, 3.0], 0.25),
        ([0.0, 0.0], [0.0, 0.5], 0.5),
        ([1, 2], [1, 3], float("inf")),
        ([1, 2], [1.0, 2.5], float("inf")),
        ([2j, 4j], [2j, 3j], 0.25),
        ([1.0, 2.0], [1.0, float("nan")], float("inf")),
        ([1.0, 2.0], [1.0], float("inf")),
    ],
)
def test_difference_is_a_fraction_of_the_largest_output(expected: Any, got: Any, wanted: float) -> None:
    assert difference({"out": np.array(expected)}, {"out": np.array(got)}) == wanted
