"""Frozen graphs: only what the outputs need, what they say of themselves, and which files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.freeze import freeze, read_frozen
from expkit.training.graphs import train_graph
from expkit.training.inference import Predictor, infer_graph
from expkit.training.sessions import Executor
from support.experiments import CNN, Values, config_of, loaded
from support.networks import spec_of


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Values, Values]:
    """Return a frozen graph, a batch, and what the session it was frozen from made of the batch."""
    folder = tmp_path_factory.mktemp("frozen")
    config = config_of(folder, network=CNN)
    checked, data = loaded(config)
    spec = checked.spec
    with Executor(train_graph(checked, data)) as executor:
        executor.initialize()
        executor.run(3)
        values = executor.values(spec.variables)
    built = infer_graph(spec, data.preprocessing)
    with Predictor(built) as predictor:
        predictor.load(values)
        batch = {"x": data.splits["test"]["x"]}
        wanted = predictor.predict(batch)
        (folder / "frozen.pb").write_bytes(freeze(built, predictor, {"name": "small", "step": 3, "weights": "ema"}))
    return folder / "frozen.pb", batch, wanted


def graph_of(file: Path) -> Any:
    return tf.GraphDef.FromString(file.read_bytes())


def reached(graph_def: Any, outputs: list[str]) -> set[str]:
    """Return the nodes that outputs depend on."""
    nodes = {node.name: node for node in graph_def.node}
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [source.lstrip("^").partition(":")[0] for source in nodes[name].input]
    return found


def test_a_frozen_graph_has_constants_for_variables_and_an_empty_library(frozen: Any) -> None:
    graph_def = graph_of(frozen[0])
    kinds = {node.op for node in graph_def.node}
    assert not {kind for kind in kinds if "Variable" in kind or "VarHandle" in kind or "Assign" in kind}
    assert not {kind for kind in kinds if "Save" in kind or "Restore" in kind or "Random" in kind}
    assert len(graph_def.library.function) == 0
    constants = {node.name for node in graph_def.node if node.op == "Const"}
    assert {"conv/kernel", "norm/gamma", "norm/moving_mean", "logits/kernel", "logits/bias"} <= constants


LOOP = """
inputs: {x: {shape: [null, 4]}, count: {shape: [], dtype: int32}}
layers:
  rnn: {kind: gru, input: x, units: 3, lengths: count, direction: both, return_sequences: true}
  parts: {kind: split, parts: 2}
  out: {kind: add, input: [parts/0, parts/1]}
"""


def test_a_frozen_loop_keeps_the_functions_it_calls_and_no_others(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    built = infer_graph(spec_of(LOOP), {})
    batch = {"x": draw.normal(size=(2, 6, 4)).astype(np.float32), "count": np.array([6, 2], np.int32)}
    with Predictor(built) as predictor:
        shapes = {name: variable.shape.as_list() for name, variable in built.variables.items()}
        predictor.load({name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
        wanted = predictor.predict(batch)
        (tmp_path / "frozen.pb").write_bytes(freeze(built, predictor, {}))
    graph_def = graph_of(tmp_path / "frozen.pb")
    called = {item.func.name for node in graph_def.node for item in node.attr.values() if item.func.name}
    assert len(called) == 4, "a condition and a body for each direction"
    assert {function.signature.name for function in graph_def.library.function} == called
    np.testing.assert_array_equal(read_frozen(tmp_path / "frozen.pb").predict(batch)["out"], wanted["out"])


def test_a_frozen_graph_has_only_nodes_that_its_outputs_need_and_placeholders_for_inputs(frozen: Any) -> None:
    graph_def = graph_of(frozen[0])
    assert {node.name for node in graph_def.node} == reached(graph_def, ["logits"])
    assert [node.name for node in graph_def.node if node.op == "Placeholder"] == ["x"]


def test_plain_import_graph_def_gives_the_sessions_numbers(frozen: Any) -> None:
    file, batch, wanted = frozen
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_of(file), name="")
        got = session.run("logits:0", {"x:0": batch["x"]})
    np.testing.assert_allclose(got, wanted["logits"], rtol=0, atol=1e-5)


def test_predict_gives_the_sessions_numbers_for_any_batch_size(frozen: Any) -> None:
    file, batch, wanted = frozen
    for size in (1, 10):
        got = read_frozen(file).predict({"x": batch["x"][:size]})
        np.testing.assert_allclose(got["logits"], wanted["logits"][:size], rtol=0, atol=1e-5)


def test_predict_casts_inputs_of_the_same_kind(frozen: Any) -> None:
    file, batch, wanted = frozen
    got = read_frozen(file).predict({"x": batch["x"].astype(np.float64)})
    np.testing.assert_allclose(got["logits"], wanted["logits"], rtol=0, atol=1e-5)


def test_the_file_says_what_it_is(frozen: Any) -> None:
    assert read_frozen(frozen[0]).metadata == {
        "name": "small",
        "step": 3,
        "weights": "ema",
        "inputs": {"x": {"tensor": "x:0", "dtype": "float32", "shape": [None, 6, 6, 1]}},
        "outputs": {"logits": {"tensor": "logits:0", "dtype": "float32", "shape": [None, 3]}},
    }


@pytest.mark.parametrize(
    ("arrays", "problems"),
    [
        (
            {"y": np.zeros((1, 6, 6, 1))},
            ["input x: missing; arrays given: y", "input y: unknown; the graph reads: x"],
        ),
        ({"x": np.zeros((1, 6, 6))}, ["input x: the graph reads shape [?, 6, 6, 1], got [1, 6, 6]"]),
        ({"x": np.zeros((1, 5, 6, 1))}, ["input x: the graph reads shape [?, 6, 6, 1], got [1, 5, 6, 1]"]),
        ({"x": np.full((1, 6, 6, 1), "a")}, ["input x: the graph reads float32, got <U1"]),
        ({"x": np.zeros((1, 6, 6, 1), complex)}, ["input x: the graph reads float32, got complex128"]),
    ],
)
def test_predict_says_which_inputs_do_not_fit(frozen: Any, arrays: Values, problems: list[str]) -> None:
    with pytest.raises(ExportError) as caught:
        read_frozen(frozen[0]).predict(arrays)
    assert [str(problem) for problem in caught.value.problems] == problems


def foreign(folder: Path, build: Callable[[], Any]) -> Path:
    """Write the graph of a program that knows nothing of expkit."""
    with tf.Graph().as_default() as graph:
        build()
    (folder / "foreign.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return folder / "foreign.pb"


def test_a_foreign_graph_is_read_its_inputs_and_outputs_worked_out(tmp_path: Path) -> None:
    def build() -> None:
        x = tf.placeholder(tf.float32, (None, 2), name="in/x")
        free = tf.placeholder(tf.int32, None, name="free")
        tf.identity(2 * x, name="twice")
        tf.identity(free + 1, name="more")

    graph = read_frozen(foreign(tmp_path, build))
    assert graph.metadata["inputs"] == {
        "in/x": {"tensor": "in/x:0", "dtype": "float32", "shape": [None, 2]},
        "free": {"tensor": "free:0", "dtype": "int32", "shape": None},
    }
    assert set(graph.metadata["outputs"]) == {"twice", "more"}
    got = graph.predict({"in/x": np.array([[1.0, 2.0]]), "free": np.array([[[3]]])})
    np.testing.assert_array_equal(got["twice"], [[2, 4]])
    np.testing.assert_array_equal(got["more"], [[[4]]])


def py_func() -> Any:
    return tf.py_func(lambda: np.float32(1), [], tf.float32, name="out")


def read_in_a_function() -> Any:
    from tensorflow import function  # compat.v1 has no tf.function of its own name

    return tf.identity(function(lambda: tf.io.read_file("/etc/hostname"), autograph=False)(), name="out")


def read_in_a_branch() -> Any:
    def read() -> Any:
        return tf.io.read_file("/etc/hostname")

    x = tf.placeholder(tf.bool, (), name="x")
    return tf.identity(tf.cond(x, read, lambda: tf.constant("a")), name="out")


def read_in_a_function_of_a_function() -> Any:
    from tensorflow import function

    inner = function(lambda: tf.io.read_file("/etc/hostname"), autograph=False)
    return tf.identity(function(lambda: tf.identity(inner()), autograph=False)(), name="out")


def dump_tensor() -> Any:
    texts = dict.fromkeys(("log_dir_path", "file_name", "func_name", "node_name"), b"/tmp/dumped")
    attributes = {name: tf.AttrValue(s=value) for name, value in texts.items()} | {"enabled": tf.AttrValue(b=True)}
    return tf.get_default_graph().create_op("DumpTensor", [tf.constant(1.0)], [], attrs=attributes)


def debug_identity() -> Any:
    one = tf.constant(1.0)
    return tf.raw_ops.DebugIdentityV2(
        input=one,
        tfdbg_context_id="",
        op_name="",
        output_slot=0,
        tensor_debug_mode=2,
        debug_urls=["file:///tmp/x"],
        circular_buffer_size=1,
        tfdbg_run_id="",
    )


REACHING: dict[str, Callable[[], Any]] = {
    "ReadFile": lambda: tf.io.read_file("/etc/hostname", name="out"),
    "WriteFile": lambda: tf.io.write_file("/tmp/x", "x", name="out"),
    "MatchingFiles": lambda: tf.io.matching_files("/*", name="out"),
    "PyFunc": py_func,
    "SaveV2": lambda: tf.raw_ops.SaveV2(prefix="x", tensor_names=["v"], shape_and_slices=[""], tensors=[1.0]),
    "RestoreV2": lambda: tf.raw_ops.RestoreV2(
        prefix="x", tensor_names=["v"], shape_and_slices=[""], dtypes=[tf.float32]
    ),
    "MergeV2Checkpoints": lambda: tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=["a"], destination_prefix="b"),
    "LoadAndRemapMatrix": lambda: tf.raw_ops.LoadAndRemapMatrix(
        ckpt_path="a",
        old_tensor_name="v",
        row_remapping=[0],
        col_remapping=[0],
        initializing_values=[],
        num_rows=1,
        num_cols=1,
    ),
    "GenerateVocabRemapping": lambda: tf.raw_ops.GenerateVocabRemapping(
        new_vocab_file="a", old_vocab_file="b", new_vocab_offset=0, num_new_vocab=1
    ),
    "DebugIdentityV2": debug_identity,
    "PrintV2": lambda: tf.raw_ops.PrintV2(input="x", output_stream="file:///tmp/x"),
    "TextLineReaderV2": lambda: tf.TextLineReader(),
    "SummaryWriter": lambda: tf.raw_ops.SummaryWriter(),
    "CollectiveReduce": lambda: tf.raw_ops.CollectiveReduce(
        input=[1.0], group_size=2, group_key=1, instance_key=1, merge_op="Add", final_op="Id", subdiv_offsets=[0]
    ),
    "ReadFile in a function": read_in_a_function,
    "ReadFile in a branch of a condition": read_in_a_branch,
    "ReadFile in a function of a function": read_in_a_function_of_a_function,
    "ImmutableConst": lambda: tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=(1,), memory_region_name="/etc/hostname"),
    "DumpTensor": dump_tensor,
    "RecordInput": lambda: tf.raw_ops.RecordInput(file_pattern="/etc/hostname"),
    "FixedUnigramCandidateSampler": lambda: tf.raw_ops.FixedUnigramCandidateSampler(
        true_classes=[[0]], num_true=1, num_sampled=1, unique=False, range_max=1, vocab_file="/etc/hostname"
    ),
    "DecodeProtoV2": lambda: tf.raw_ops.DecodeProtoV2(
        bytes="x", message_type="m", field_names=[], output_types=[], descriptor_source="/etc/hostname"
    ),
    "EncodeProto": lambda: tf.raw_ops.EncodeProto(
        sizes=[[1]], values=[[[1]]], field_names=["f"], message_type="m", descriptor_source="/etc/hostname"
    ),
    "CopyHost": lambda: tf.raw_ops.CopyHost(input=1.0, debug_ops_spec=["DebugIdentity;file:///tmp/x;0"]),
    "Print": lambda: tf.raw_ops.Print(input=1.0, data=[1.0]),
    "FIFOQueueV2": lambda: tf.raw_ops.FIFOQueueV2(component_types=[tf.float32]),
    "Abort": lambda: tf.raw_ops.Abort(),
}


@pytest.mark.parametrize("operation", REACHING)
def test_operations_that_reach_outside_the_graph_are_refused(tmp_path: Path, operation: str) -> None:
    file, name = foreign(tmp_path, REACHING[operation]), operation.partition(" ")[0]
    with pytest.raises(ExportError) as caught:
        read_frozen(file)
    assert str(caught.value) == (
        f"{file}: refused: {name}: not known to be pure functions of their inputs, so they may reach files, network or "
        f"Python; freeze the graph without them, or allow what you trust: --allow-op {name}"
    )


def test_random_and_control_flow_of_a_foreign_graph_are_no_reason_to_refuse(tmp_path: Path) -> None:
    def build() -> None:
        x = tf.placeholder(tf.float32, (), name="x")
        loop = tf.while_loop(lambda i: i < 3, lambda i: (i + 1,), [tf.constant(0)])
        tf.add(tf.cond(x > 0, lambda: x, lambda: -x), tf.cast(loop, tf.float32) + 0 * tf.random.uniform(()), name="y")

    assert read_frozen(foreign(tmp_path, build)).predict({"x": np.float32(-2)})["y"] == 5


def test_a_missing_file_is_reported_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        read_frozen(tmp_path / "frozen.pb")
    assert str(caught.value) == (
        f"{tmp_path}/frozen.pb: no such file; `expkit freeze RUN` writes the frozen graph of a run"
    )


@pytest.mark.parametrize("content", [b"garbage", b"", b"\x00" * 64, b"PK\x03\x04not a graph"])
def test_a_file_that_is_no_graph_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pb").write_bytes(content)
    with pytest.raises(ExportError) as caught:
        read_frozen(tmp_path / "x.pb")
    assert str(caught.value).startswith(f"{tmp_path}/x.pb: not a graph of TensorFlow")


def test_a_frozen_file_cut_off_anywhere_is_an_error_with_words(frozen: Any, tmp_path: Path) -> None:
    content = frozen[0].read_bytes()
    nodes = graph_of(frozen[0]).node
    ends = [len(tf.GraphDef(node=nodes[: count + 1]).SerializeToString()) for count in range(len(nodes) - 1)]
    for end in [*ends, *range(1, len(content), len(content) // 40)]:
        (tmp_path / "x.pb").write_bytes(content[:end])
        with pytest.raises(ExportError) as caught:
            read_frozen(tmp_path / "x.pb").predict(frozen[1])
        assert str(caught.value).startswith(f"{tmp_path}/x.pb: not a"), end


def test_metadata_that_is_damaged_is_an_error_with_words(frozen: Any, tmp_path: Path) -> None:
    graph_def = graph_of(frozen[0])
    for node in graph_def.node:
        if "_expkit" in node.attr:
            node.attr["_expkit"].s = b'{"inputs": '
    (tmp_path / "x.pb").write_bytes(graph_def.SerializeToString())
    with pytest.raises(ExportError) as caught:
        read_frozen(tmp_path / "x.pb")
    assert str(caught.value).startswith(f"{tmp_path}/x.pb: not a frozen graph: its metadata is damaged")


def test_operations_that_tensorflow_does_not_know_are_an_error_with_words(tmp_path: Path) -> None:
    graph_def = tf.GraphDef()
    graph_def.node.add(name="x", op="OperationOfAnotherWorld")
    (tmp_path / "x.pb").write_bytes(graph_def.SerializeToString())
    with pytest.raises(ExportError) as caught:
        read_frozen(tmp_path / "x.pb").predict({})
    assert "OperationOfAnotherWorld" in str(caught.value)


def test_tables_are_reported_as_tables(tmp_path: Path) -> None:
    def build() -> None:
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        tf.raw_ops.LookupTableFindV2(table_handle=table, keys="a", default_value=tf.constant(0, tf.int64))

    file = foreign(tmp_path, build)
    with pytest.raises(ExportError) as caught:
        read_frozen(file)
    assert str(caught.value) == (
        f"{file}: refused: HashTableV2, LookupTableFindV2: it looks up in tables, whose contents are not in the graph; "
        "do that before, and freeze the graph without them, or allow it: --allow-op HashTableV2"
    )


def test_an_operation_that_is_allowed_by_name_runs(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    file = foreign(tmp_path, lambda: tf.io.read_file(str(tmp_path / "text"), name="out"))
    assert read_frozen(file, allowed=["ReadFile"]).predict({})["out"] == b"hello"


def test_a_function_that_has_the_name_of_an_operation_does_not_hide_it(tmp_path: Path) -> None:
    from tensorflow import function

    with tf.Graph().as_default() as graph:
        tf.identity(function(lambda: tf.constant("a"), autograph=False)(), name="out")
        tf.io.read_file("/etc/hostname", name="read")
    graph_def = graph.as_graph_def()
    graph_def.library.function[0].signature.name = "ReadFile"
    next(node for node in graph_def.node if "Call" in node.op).attr["f"].func.name = "ReadFile"
    (tmp_path / "foreign.pb").write_bytes(graph_def.SerializeToString())
    with pytest.raises(ExportError, match=r"not a graph that TensorFlow can read: .*ReadFile"):
        read_frozen(tmp_path / "foreign.pb")


def test_what_a_result_does_not_need_is_neither_refused_nor_loaded(tmp_path: Path) -> None:
    def build() -> None:
        tf.identity(tf.constant(2.0), name="y")
        tf.io.write_file(str(tmp_path / "written"), "x")

    file = foreign(tmp_path, build)
    assert read_frozen(file, fetch=["y"]).predict({}) == {"y": 2.0}
    assert not (tmp_path / "written").exists()
