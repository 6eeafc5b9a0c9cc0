"""Parity: agreement is measured, disagreement refused, and the graph beside a checkpoint stands on its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.writer import write_values
from expkit.errors import ExportError
from expkit.export.parity import Difference, check_parity, meta_graph_outputs
from expkit.kinds.preprocess.numbers import Standardize
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import infer_graph
from expkit.training.sessions import Evaluator, Executor
from support.absence import SHOWN, without_expkit
from support.experiments import CNN, Values, checkpoint_values, config_of, loaded

ONES = {"a": np.ones((2, 3), np.float32), "b": np.ones(2, np.float32)}


def moved(by: float) -> Values:
    return {**ONES, "b": ONES["b"] + np.float32([0, by])}


def test_the_table_holds_the_largest_difference_of_every_pair() -> None:
    table = check_parity(
        {"same": (ONES, ONES), "near": (ONES, moved(0.25))}, (ONES, moved(0.125)), (ONES, moved(2)), 0.5
    )
    assert table == [
        Difference("same", 0.0, 0.5),
        Difference("near", 0.25, 0.5),
        Difference("frozen file in an ordinary session", 0.125, 0.5),
        Difference("control: raw weights", 2.0, None),
    ]
    assert table[1].as_dict() == {"name": "near", "maximum": 0.25, "allowed": 0.5}


def test_without_averages_there_is_no_control() -> None:
    names = [item.name for item in check_parity({"same": (ONES, ONES)}, (ONES, ONES), None, 1e-5)]
    assert names == ["same", "frozen file in an ordinary session"]


def test_an_ordinary_session_may_round_in_proportion_to_the_numbers() -> None:
    large = {"a": np.float32([[1000.0, -2000.0]])}
    near = {"a": large["a"] + np.float32(0.01)}
    table = check_parity({"same": (large, large)}, (large, near), None, 1e-5)
    assert table[-1].allowed == pytest.approx(0.02)
    with pytest.raises(ExportError, match=r"ordinary session differs from the evaluation graph by 0\.01"):
        check_parity({"same": (ONES, ONES)}, ({"a": np.zeros(1)}, {"a": np.array([0.01])}), None, 1e-5)


def test_every_pair_above_the_tolerance_and_a_control_that_agrees_are_refused_in_one_message() -> None:
    pairs = {"x": (ONES, moved(0.25)), "y": (ONES, moved(0.125)), "z": (ONES, ONES)}
    with pytest.raises(ExportError) as caught:
        check_parity(pairs, (ONES, ONES), (ONES, ONES), 1e-5)
    assert [str(problem) for problem in caught.value.problems] == [
        "export: x differs from the evaluation graph by 0.25, allowed by export.tolerance: 1e-05; nothing was written",
        "export: y differs from the evaluation graph by 0.125, allowed by export.tolerance: 1e-05; nothing was written",
        "export: the control failed: raw weights give the same numbers as EMA; nothing was written",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_no_agreement(value: float) -> None:
    with pytest.raises(ExportError, match="x differs from the evaluation graph by inf"):
        check_parity({"x": (moved(value), moved(value))}, (moved(value), moved(value)), None, 1e-5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Values, Any]:
    """Return a checkpoint with its graph beside it, a batch, and the evaluation graph's outputs by weights."""
    folder = tmp_path_factory.mktemp("saved")
    config = config_of(folder, network=CNN, optimizer={"kind": "adam", "learning_rate": 0.05})
    data = config.data.model_copy(update={"preprocess": {"x": (Standardize(),)}})
    config = config.model_copy(update={"data": data})
    checked, dataset = loaded(config)
    spec = checked.spec
    prefix = folder / "elsewhere" / "model"
    prefix.parent.mkdir()
    with Executor(train_graph(checked, dataset)) as executor:
        executor.initialize()
        executor.run(10)
        write_values(str(prefix), executor.values(executor.names))
    Path(f"{prefix}.meta").write_bytes(infer_graph(spec, dataset.preprocessing).meta_graph)
    batch = dataset.splits["test"]
    with Evaluator(evaluate_graph(checked, dataset), config) as evaluator:
        values = checkpoint_values(prefix)
        evaluator.load({name: values[name] for name in evaluator.names})
        outputs = evaluator.outputs(batch)
    return prefix, {"x": batch["x"]}, outputs


def test_the_graph_beside_a_checkpoint_computes_the_evaluation_graphs_numbers(saved: Any) -> None:
    prefix, batch, outputs = saved
    got = meta_graph_outputs(prefix, ["logits"], batch)
    np.testing.assert_allclose(got["logits"], outputs["raw"]["logits"], rtol=0, atol=1e-5)
    assert np.abs(got["logits"] - outputs["ema"]["logits"]).max() > 1e-2


PROGRAM = """
import sys

import numpy as np
import tensorflow.compat.v1 as tf

prefix, batch, result = sys.argv[1:]
with tf.Graph().as_default(), tf.Session() as session:
    saver = tf.train.import_meta_graph(prefix + ".meta")
    saver.restore(session, prefix)
    logits = session.run("logits:0", {"x:0": np.load(batch)})
    assert [v.name for v in tf.trainable_variables()] == [
        "conv/kernel:0", "norm/gamma:0", "norm/beta:0", "logits/kernel:0", "logits/bias:0"]
np.save(result, logits)
"""


def test_the_graph_beside_a_checkpoint_loads_where_expkit_is_not_installed(saved: Any, tmp_path: Path) -> None:
    prefix, batch, outputs = saved
    np.save(tmp_path / "batch.npy", batch["x"])
    done = subprocess.run(
        [sys.executable, "-c", SHOWN + PROGRAM, str(prefix), "batch.npy", "result.npy"],
        cwd=tmp_path,
        env=without_expkit({"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "result.npy"), outputs["raw"]["logits"], rtol=0, atol=1e-5)


def test_an_operation_that_somebody_put_into_the_graph_beside_a_checkpoint_is_refused(
    saved: Any, tmp_path: Path
) -> None:
    prefix, batch, _ = saved
    for file in prefix.parent.glob("model.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    meta = tf.MetaGraphDef.FromString((tmp_path / "model.meta").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.io.write_file(str(tmp_path / "written"), "x", name="added")
    meta.graph_def.node.extend(graph.as_graph_def().node)
    next(node for node in meta.graph_def.node if node.name == "logits").input.append("^added")
    (tmp_path / "model.meta").write_bytes(meta.SerializeToString())
    with pytest.raises(ExportError, match=r"model\.meta: refused: WriteFile: not known to be pure functions"):
        meta_graph_outputs(tmp_path / "model", ["logits"], batch)
    assert not (tmp_path / "written").exists()
