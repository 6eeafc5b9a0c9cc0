"""Graphs of other programs: their inputs, outputs, variables and batches."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.errors import ExpkitError, ExportError
from expkit.export.doors import open_door
from expkit.export.exported_examples import Batches, frozen_outputs
from expkit.export.freeze import read_frozen
from expkit.export.operations import VARIABLES, nodes_of
from expkit.runs.exported import export_source
from support.command_line import call


def written(folder: Path, build: Callable[[], Any], change: Callable[[Any], Any] = lambda graph_def: None) -> Path:
    """Write the graph that a program builds, changed."""
    with tf.Graph().as_default() as graph:
        build()
    graph_def = graph.as_graph_def()
    change(graph_def)
    (folder / "foreign.pb").write_bytes(graph_def.SerializeToString())
    return folder / "foreign.pb"


def test_a_graph_without_placeholders_is_computed_without_a_file_of_inputs(tmp_path: Path) -> None:
    file = written(tmp_path, lambda: tf.add(tf.constant([1.0]), tf.constant([2.0]), name="sum"))
    done = call("predict", file, "--output", "out.npz", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "sum float32 [1]\n[3.]\nwritten to out.npz\n", "")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["sum"], [3])
    done = call("info", file, cwd=tmp_path)
    assert done.out.splitlines()[:3] == ["inputs:", "outputs:", "  sum: sum:0 float32 [1]"]


def several() -> None:
    x = tf.placeholder(tf.float32, (None, 4), name="x")
    tf.nn.top_k(x, 2, name="top_k")
    tf.split(2 * x, 2, axis=1, name="split")
    tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, (-1, 1, 1, 4)), scale=[1.0] * 4, offset=[0.0] * 4, mean=[0.0] * 4, variance=[1.0] * 4,
        is_training=False, epsilon=0.0, name="norm",
    )  # fmt: skip


def test_every_tensor_of_an_operation_that_ends_a_graph_is_an_output(tmp_path: Path) -> None:
    def build() -> None:
        several()
        tf.identity(tf.get_default_graph().get_tensor_by_name("norm:0"), name="y")

    x = np.float32([[1, 4, 3, 2]])
    got = read_frozen(written(tmp_path, build)).predict({"x": x})
    assert {name: array.ravel().tolist() for name, array in got.items()} == {
        "top_k:0": [4, 3], "top_k:1": [1, 2], "split:0": [2, 8], "split:1": [6, 4], "y": [1, 4, 3, 2]
    }  # fmt: skip


def test_a_tensor_that_nothing_reads_is_an_output_though_another_of_its_operation_is_read(tmp_path: Path) -> None:
    def build() -> None:
        several()
        tf.identity(tf.get_default_graph().get_tensor_by_name("top_k:0"), name="best")
        with tf.control_dependencies([tf.identity(tf.constant(7.0), name="controlled")]):
            tf.no_op(name="group")

    got = read_frozen(written(tmp_path, build)).predict({"x": np.float32([[1, 4, 3, 2]])})
    assert {"top_k:1", "best", "split:0", "split:1", "controlled"} <= set(got)
    assert "top_k:0" not in got
    assert got["controlled"] == 7


def two_inputs() -> None:
    x, y = tf.placeholder(tf.float32, (None, 2), name="x"), tf.placeholder(tf.float32, (None,), name="y")
    rate = tf.placeholder_with_default(tf.constant(0.5), (), name="rate")
    hidden = tf.multiply(x, rate, name="scope/hidden")
    tf.add(tf.reduce_sum(hidden, 1), y, name="z")


def test_any_tensor_is_computed_by_its_name_from_the_inputs_that_it_depends_on(tmp_path: Path) -> None:
    file = written(tmp_path, two_inputs)
    x, y = np.ones((3, 2), np.float32), np.zeros(3, np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    for given in ("x.npz", "both.npz"):
        done = call("predict", file, given, "--fetch", "scope/hidden", "--fetch", "rate:0", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("scope/hidden float32 [3, 2]\n[[0.5 0.5]")
        assert "rate:0 float32 []\n0.5" in done.out
    done = call("predict", file, "x.npz", cwd=tmp_path)
    assert done.errors == ["error: input y: missing; arrays given: x"]
    for name, said in (
        ("scope/hiden", "no tensor 'scope/hiden' to fetch; did you mean 'scope/hidden'? allowed: "),
        ("z:3", "no such tensor: "),
    ):
        done = call("predict", file, "x.npz", "--fetch", name, cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert done.errors[0].startswith(f"error: {file}: {said}")


def test_a_placeholder_with_a_default_may_be_fed(tmp_path: Path) -> None:
    graph = read_frozen(written(tmp_path, two_inputs))
    assert graph.metadata["inputs"]["rate"] == {"tensor": "rate:0", "dtype": "float32", "shape": [], "optional": True}
    inputs = {"x": np.ones((1, 2), np.float32), "y": np.zeros(1, np.float32)}
    assert graph.predict(inputs)["z"] == 1
    assert graph.predict({**inputs, "rate": np.float32(2)})["z"] == 4


def test_a_placeholder_of_an_old_producer_has_an_unknown_shape(tmp_path: Path) -> None:
    def age(graph_def: Any) -> None:
        graph_def.versions.producer = 21
        for node in graph_def.node:
            if node.op == "Placeholder":
                node.attr["shape"].shape.Clear()

    file = written(tmp_path, lambda: tf.identity(2 * tf.placeholder(tf.float32, None, name="x"), name="y"), age)
    graph = read_frozen(file)
    assert graph.metadata["inputs"]["x"]["shape"] is None
    np.testing.assert_array_equal(graph.predict({"x": np.float32([[1, 2]])})["y"], [[2, 4]])


def test_devices_and_colocations_in_a_file_do_not_matter(tmp_path: Path) -> None:
    def build() -> None:
        with tf.device("/job:worker/replica:0/task:3/device:GPU:7"):
            loop = tf.while_loop(lambda i: i < 3, lambda i: (i + 1,), [tf.constant(0)])
            tf.identity(loop, name="y")

    def colocate(graph_def: Any) -> None:
        for node in graph_def.node:
            node.attr["_class"].list.s.append(b"loc:@gone")

    assert read_frozen(written(tmp_path, build, colocate)).predict({})["y"] == 3


def variables() -> None:
    w = tf.get_variable("layer/w", (2, 3), use_resource=False)
    b = tf.get_variable("layer/b", (3,), initializer=tf.zeros_initializer(), use_resource=True)
    tf.identity(tf.matmul(tf.placeholder(tf.float32, (None, 2), name="x"), w) + b, name="y")


@pytest.mark.parametrize("verb", ["predict", "info"])
def test_an_unfrozen_graph_is_reported_with_its_variables(tmp_path: Path, verb: str) -> None:
    done = call(verb, written(tmp_path, variables), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors == [
        f"error: {tmp_path}/foreign.pb: not frozen: layer/w, layer/b are variables, and no file beside it gives their "
        "values; freeze the graph, or give a .meta file beside its checkpoint (FILE.meta, FILE.index) or a SavedModel "
        "folder"
    ]


def trained(folder: Path) -> np.ndarray:
    """Write a program's checkpoint with its training graph, and a SavedModel; return the kernel."""
    with tf.Graph().as_default(), tf.Session() as session:
        variables()
        y = tf.get_default_graph().get_tensor_by_name("y:0")
        tf.train.AdamOptimizer().minimize(tf.reduce_mean(y))
        saver = tf.train.Saver()
        session.run(tf.global_variables_initializer())
        saver.save(session, str(folder / "model.ckpt"), 7)
        builder = tf.saved_model.Builder(str(folder / "saved"))
        signature = tf.saved_model.predict_signature_def(
            {"rows": tf.get_default_graph().get_tensor_by_name("x:0")}, {"logits": y}
        )
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
        return np.asarray(session.run("layer/w:0"))


def test_a_meta_graph_with_its_checkpoint_and_a_saved_model_run(tmp_path: Path) -> None:
    w = trained(tmp_path)
    x = np.float32([[1, 2], [3, 4]])
    got = read_frozen(tmp_path / "model.ckpt-7.meta", fetch=["y"]).predict({"x": x})
    np.testing.assert_allclose(got["y"], x @ w, rtol=1e-6)
    for path in (tmp_path / "saved", tmp_path / "saved/saved_model.pb"):
        graph = read_frozen(path)
        assert (list(graph.metadata["inputs"]), list(graph.metadata["outputs"])) == (["rows"], ["logits"])
        np.testing.assert_allclose(graph.predict({"rows": x})["logits"], x @ w, rtol=1e-6)
    np.savez(tmp_path / "rows.npz", rows=x)
    done = call("predict", "saved", "rows.npz", cwd=tmp_path)
    assert (done.code, done.err, done.out.splitlines()[0]) == (0, "", "logits float32 [2, 3]")
    done = call("info", "saved", cwd=tmp_path)
    assert (done.code, done.out.splitlines()[1]) == (0, "  rows: x:0 float32 [batch, 2]")
    for address in ("saved", "model.ckpt-7.meta"):
        with export_source(str(tmp_path / address)) as (source, default):
            assert default == tmp_path / f"{Path(address).stem}-export"
            assert not {node.op for node in source.frozen.graph_def.node} & VARIABLES
            door = open_door(source.frozen, "raw")
            (name,) = door.inputs
            (expected,) = frozen_outputs(source, door, Batches.of({name: x}))
            alone = read_frozen(source.file, fetch=[item["tensor"] for item in door.outputs.values()])
            got = alone.predict({"x": x})
        if address == "saved":
            np.testing.assert_allclose(expected["logits"], x @ w, rtol=1e-6)
        for array, other in zip(expected.values(), got.values(), strict=True):
            np.testing.assert_array_equal(array, other)
    for given in ("model.ckpt-7", "model.ckpt-7.index", "."):
        with pytest.raises(ExportError, match=r"no graph; its graph is in .*model\.ckpt-7\.meta; give that; allowed: "):
            read_frozen(tmp_path / given)
    for file in tmp_path.glob("model.ckpt-7.*"):
        if file.suffix != ".meta":
            file.unlink()
    with pytest.raises(ExportError, match=r"meta: not frozen: layer/w, layer/b are variables"):
        read_frozen(tmp_path / "model.ckpt-7.meta", fetch=["y"])


def test_a_saved_model_of_functions_and_objects_runs(tmp_path: Path) -> None:
    from tensorflow import TensorSpec, Variable, float32, function
    from tensorflow import saved_model as saved

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = Variable([[1.0], [2.0]], name="w")
            self.other = Variable([[10.0], [20.0]], name="w")  # In the graph it has another name.

        @function(input_signature=[TensorSpec((None, 2), float32)], autograph=False)
        def __call__(self, x: Any) -> Any:
            return {"y": x @ self.w + x @ self.other}

    saved.save(Model(), str(tmp_path / "saved"))
    (name,) = read_frozen(tmp_path / "saved").metadata["inputs"]
    got = read_frozen(tmp_path / "saved").predict({name: np.float32([[1, 2]])})
    assert {key: array.tolist() for key, array in got.items()} == {"y": [[55]]}
    with export_source(str(tmp_path / "saved")) as (source, _):
        assert not {node.op for node in nodes_of(source.frozen.graph_def)} & VARIABLES
        (value,) = read_frozen(source.file).predict({"serving_default_x": np.float32([[1, 2]])}).values()
        assert value.tolist() == [[55]]


def test_a_checkpoint_that_does_not_fit_the_graph_beside_it_is_reported(tmp_path: Path) -> None:
    trained(tmp_path)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("layer/w", (2, 4))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"), 7, write_meta_graph=False)
    with pytest.raises(ExportError) as caught:
        read_frozen(tmp_path / "model.ckpt-7.meta", fetch=["y"])
    at, prefix = tmp_path / "model.ckpt-7.meta", tmp_path / "model.ckpt-7"
    assert [str(problem) for problem in caught.value.problems] == [
        f"{at}: variable 'layer/w' is (2, 3) float32, {prefix} has [2, 4] float32",
        f"{at}: variable 'layer/b' is (3,) float32, {prefix} has nothing",
    ]


def test_what_tensorflow_cannot_compute_is_one_message(tmp_path: Path) -> None:
    def build() -> None:
        x = tf.placeholder(tf.float32, None, name="x")
        tf.matmul(x, tf.ones((3, 2)), name="y")

    file = written(tmp_path, build)
    np.savez(tmp_path / "x.npz", x=np.ones((4, 5), np.float32))
    done = call("predict", file, "x.npz", cwd=tmp_path)
    assert (done.code, done.out, len(done.errors)) == (2, "", 1)
    assert done.errors[0].startswith("error: predict: TensorFlow cannot compute it: ")
    assert "[4,5]" in done.errors[0]


def rows(folder: Path, axis: int = 1) -> Path:
    return written(folder, lambda: tf.nn.softmax(tf.placeholder(tf.float32, (None, 3), name="x"), axis=axis, name="y"))


@pytest.mark.parametrize("compressed", [False, True])
def test_batches_give_what_all_examples_at_once_give(tmp_path: Path, compressed: bool) -> None:
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "x.npz", x=x if compressed else np.asfortranarray(x))
    file = rows(tmp_path)
    whole = read_frozen(file).predict({"x": x})["y"]
    for size in (1, 3, 10, 11):
        done = call("predict", file, "x.npz", "--batch-size", str(size), "--output", "out", cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], whole)
    done = call("predict", file, "x.npz", "--batch-size", "0", cwd=tmp_path)
    assert done.code == 2
    assert "'0' is not a positive whole number" in done.err


def test_arrays_larger_than_a_batch_are_not_held_in_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((400_000, 16), np.float32))
    file = written(tmp_path, lambda: tf.reduce_sum(tf.placeholder(tf.float32, (None, 16), name="x"), 1, name="y"))
    call("predict", file, "x.npz", "--batch-size", "1000", cwd=tmp_path)
    tracemalloc.start()
    try:
        done = call("predict", file, "x.npz", "--batch-size", "1000", cwd=tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.code == 0
    assert peak < 12e6, "the array has 25.6 MB"


def test_arrays_larger_than_memory_are_reported_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expkit.export.input_file.machine_memory", lambda: 2000)
    x = np.zeros((100, 3), np.float32)
    np.savez_compressed(tmp_path / "x.npz", x=x)
    file, told = rows(tmp_path), "error: x.npz: array 'x.npy' has 1,200 bytes to be read at once, more than half of the"
    done = call("predict", file, "x.npz", cwd=tmp_path)
    assert (done.code, done.errors) == (2, [f"{told} memory; give fewer examples at once: --batch-size N"])
    assert call("predict", file, "x.npz", "--batch-size", "10", cwd=tmp_path).code == 0
    np.savez_compressed(tmp_path / "x.npz", x=np.asfortranarray(x))
    done = call("predict", file, "x.npz", "--batch-size", "10", cwd=tmp_path)
    assert (done.code, done.errors) == (2, [f"{told} memory; save it with np.ascontiguousarray"])


def test_batches_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    def build() -> None:
        x, other = tf.placeholder(tf.float32, (None, 3), name="x"), tf.placeholder(tf.float32, (None,), name="other")
        tf.reduce_mean(x, name="mean")
        tf.identity(other, name="same")

    graph = read_frozen(written(tmp_path, build))
    x = np.ones((4, 3), np.float32)
    for inputs, said in (
        (
            {"x": x, "other": x[:, 0]},
            "output mean: has shape [] for a batch of 2 examples, not a row for each; give the",
        ),
        (
            {"x": x, "other": x[:3, 0]},
            "batch size: the inputs differ in their number of examples: x has 4, other has 3",
        ),
    ):
        with pytest.raises(ExpkitError) as caught:
            graph.predict(inputs, batch_size=2)
        assert str(caught.value).startswith(said)


def test_strings_go_in_and_come_out(tmp_path: Path) -> None:
    file = written(tmp_path, lambda: tf.strings.join([tf.placeholder(tf.string, (None,), name="x"), "!"], name="y"))
    np.savez(tmp_path / "x.npz", x=np.array(["a", "\u00e9"]))
    done = call("predict", file, "x.npz", "--output", "out.npz", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert np.load(tmp_path / "out.npz")["y"].tolist() == [b"a!", "\u00e9!".encode()]
    np.savez(tmp_path / "x.npz", x=np.array([1.0]))
    done = call("predict", file, "x.npz", cwd=tmp_path)
    assert done.errors == ["error: input x: the graph reads string, got float64"]


def test_a_pipe_is_not_read_as_a_graph(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pb")
    done = call("info", "fifo.pb", cwd=tmp_path)
    assert done.errors[0].startswith("error: fifo.pb: not a regular file; allowed: ")


REACHING: dict[str, Callable[[], Any]] = {
    "ReadFile": lambda: tf.io.read_file("secret"),
    "WriteFile": lambda: tf.io.write_file("written", "x"),
    "PyFunc": lambda: tf.py_func(lambda: open("written", "w").close() or 1.0, [], tf.float32),
}


@pytest.mark.parametrize("operation", REACHING)
def test_a_saved_model_that_reaches_outside_is_neither_computed_nor_exported(tmp_path: Path, operation: str) -> None:
    (tmp_path / "secret").write_text("secret")
    with tf.Graph().as_default() as graph, tf.Session() as session:
        made = REACHING[operation]()
        x = tf.placeholder(tf.float32, (None,), name="x")
        with tf.control_dependencies([made]):
            y = tf.identity(x, name="y")
        builder = tf.saved_model.Builder(str(tmp_path / "saved"))
        signature = tf.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    assert graph.get_operation_by_name(operation) is not None
    np.savez(tmp_path / "x.npz", x=np.ones(2, np.float32))
    for words in (("predict", "saved", "x.npz"), ("info", "saved"), ("export", "saved", "--to", "savedmodel")):
        done = call(*words, cwd=tmp_path)
        assert (done.code, done.out) == (2, "")
        assert done.errors == [
            f"error: saved: refused: {operation}: not known to be pure functions of their inputs, so they may reach "
            f"files, network or Python; freeze the graph without them, or allow what you trust: --allow-op {operation}"
        ]
    with export_source(str(tmp_path / "saved"), allowed=[operation]) as (source, default):
        assert (source.file, default) == (tmp_path / "saved" / "saved_model.pb", tmp_path / "saved-export")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "secret", "x.npz"]


def test_a_file_of_variables_is_no_graph_and_the_way_to_list_it_is_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "variables.npz", x=np.ones(2))
    done = call("info", "variables.npz", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors[0].startswith(
        "error: variables.npz: a file of variables, not a graph; `expkit checkpoint show variables.npz` lists them; "
    )
