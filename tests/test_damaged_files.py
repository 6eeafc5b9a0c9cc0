"""Damaged copies of every file that expkit reads: one message, never a traceback; no other value where a checksum is.

``python tests/test_damaged_files.py COUNT`` tries more copies of each than the suite does.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.listing import checkpoints_in
from expkit.checkpoints.matching.lock import read_lock
from expkit.checkpoints.store import CheckpointStore
from expkit.checkpoints.writer import write_values
from expkit.config.load import read
from expkit.export.freeze import read_frozen
from expkit.export.input_file import open_arrays
from expkit.importer.foreign import read_graph
from expkit.plots.data import Histogram, PlotData
from expkit.plots.examples_data import ExampleRow, ExampleSheet
from expkit.plots.head import Head
from expkit.run_folder import RunFolder
from expkit.sweeps.sweep_folder import RunState, SweepFolder
from expkit.tracking.journal import Journal
from support.experiments import config_of
from support.mutations import mutations, survey

COUNT = 480
"""Copies of each kind of file: 10,000 in all."""
VALUES = {
    "layer/kernel": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "layer/bias": np.array([0.5, -1.5, 3.25], np.float32),
    "layer/kernel/Adam": np.ones((2, 3), np.float32),
    "count": np.array(7, np.int64),
}


@dataclass(frozen=True)
class Kind:
    """A kind of file: how it is read, and whether a checksum covers what is read."""

    path: str
    read: Callable[[Path], Any]
    checksum: bool = False


def variables(path: Path) -> Any:
    source = open_variables(path, "SOURCE")
    return {name: (str(spec), source.read(name)) for name, spec in source.variables.items()}


def graph(path: Path) -> Any:
    found = read_frozen(path)
    return found.metadata, found.graph_def.SerializeToString(deterministic=True)


def arrays(path: Path) -> Any:
    with open_arrays(path) as found:
        return {name: [array[0:2], array[2:4]] for name, array in found.items()}


def journal(folder: Path) -> Any:
    found = Journal(folder)
    return list(found.all()), found.last_steps(), found.params(), found.has_ended(), found.last_start(), found.pending()


def run(folder: Path) -> Any:
    found = RunFolder(folder)
    return found.state(), found.metrics(), RunState.read(found)


def store(folder: Path) -> Any:
    found = CheckpointStore(folder, keep_last=3, best_metric="valid/loss", best_mode="min")
    return found.all(), found.latest(), found.best(), checkpoints_in(str(folder), "FOLDER")


KINDS: Mapping[str, Kind] = {
    "index": Kind("v2/model.index", lambda path: variables(path.with_suffix("")), checksum=True),
    "data": Kind("v2/model.data-00000-of-00001", lambda path: variables(path.parent / "model"), checksum=True),
    "pointer": Kind("v2/checkpoint", lambda path: variables(path.parent)),
    "V1": Kind("old.ckpt", variables, checksum=True),
    "npz": Kind("arrays.npz", variables, checksum=True),
    "safetensors": Kind("arrays.safetensors", variables),
    "frozen graph": Kind("frozen.pb", graph),
    "meta graph": Kind("v2/model.meta", graph),
    "SavedModel": Kind("saved/saved_model.pb", graph),
    "graph to import": Kind("frozen.pb", lambda path: read_graph(str(path))),
    "meta graph to import": Kind("v2/model.meta", lambda path: read_graph(str(path))),
    "inputs": Kind("inputs.npz", arrays, checksum=True),
    "config.yaml": Kind("run/config.yaml", read),
    "run.json": Kind("run/run.json", lambda path: run(path.parent)),
    "metrics.jsonl": Kind("run/metrics.jsonl", lambda path: run(path.parent)),
    "checkpoint.json": Kind("store/step-00000002/checkpoint.json", lambda path: store(path.parents[1])),
    "tracking.jsonl": Kind("run/tracking.jsonl", lambda path: journal(path.parent)),
    "tracking.json": Kind("run/tracking.json", lambda path: Journal(path.parent).progress()),
    "sweep.json": Kind("sweep/sweep.json", lambda path: SweepFolder(path.parent).settings()),
    "evidence.npz": Kind("run/plots/evidence.npz", PlotData.load),
    "examples.npz": Kind("run/plots/examples.npz", ExampleSheet.load),
    "lock": Kind("names.lock", read_lock),
}


def write_all(folder: Path) -> None:
    """Write a whole file of every kind."""
    for name in ("v2", "run/plots", "store", "sweep"):
        (folder / name).mkdir(parents=True)
    write_values(str(folder / "v2/model"), VALUES)
    np.savez(folder / "arrays.npz", **VALUES)
    np.savez_compressed(folder / "inputs.npz", x=np.arange(12, dtype=np.float32).reshape(4, 3), ids=np.arange(4))
    (folder / "v2/checkpoint").write_text('model_checkpoint_path: "model"\nall_model_checkpoint_paths: "model"\n')
    entries = {
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
    }
    header = json.dumps(entries).encode()
    content = VALUES["layer/kernel"].tobytes() + VALUES["count"].tobytes()
    (folder / "arrays.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content)
    with tf.Graph().as_default() as built, tf.Session() as session:
        x = tf.placeholder(tf.float32, (None, 2), name="x")
        made = {name: tf.get_variable(name, initializer=value) for name, value in VALUES.items()}
        y = tf.nn.relu(tf.matmul(x, made["layer/kernel"]) + made["layer/bias"], name="y")
        session.run(tf.global_variables_initializer())
        tf.train.Saver(write_version=tf.train.SaverDef.V1).save(
            session, str(folder / "old.ckpt"), write_meta_graph=False
        )
        tf.train.export_meta_graph(str(folder / "v2/model.meta"))
        signature = tf.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = tf.saved_model.Builder(str(folder / "saved"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
        frozen = tf.graph_util.convert_variables_to_constants(session, built.as_graph_def(), ["y"])
    (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
    config = config_of(folder / "data")
    RunFolder.create(folder / "run", config, ["train.steps=3"])
    for step in range(4):
        RunFolder(folder / "run").log_metrics(step, {"train/loss": 1 / (step + 1), "valid/accuracy": 0.5})
    written = CheckpointStore(folder / "store", keep_last=3, best_metric="valid/loss", best_mode="min")
    for step in (1, 2):

        def write(prefix: str) -> bool:
            write_values(prefix, VALUES)
            return True

        written.save(write, b"meta", step, {"valid/loss": 1 / step}, {"lr_factor": 1.0})
    book = Journal(folder / "run")
    book.append("begin", params={"a": "1"}, name="run", experiment="e", tags={}, time=1)
    book.append("metrics", step=1, values={"loss": 0.5, "accuracy": 0.25}, time=2)
    book.append("finish", status="FINISHED", time=3)
    book.save_progress(book.progress(), run_id="a" * 32, delivered=10)
    book.close()
    SweepFolder(folder / "sweep").update(key="k", name="n", runs={"a": "b"})
    head = Head(classes=["a"], pairs=np.zeros((1, 1)), worst=np.zeros(1), certainty=np.zeros(1), images={})
    histogram = Histogram(np.arange(3.0), {"raw": np.arange(2)})
    data = PlotData(step=1, weights="raw", variables=1, heads={"y": head}, histograms={"w": histogram})
    data.save(folder / "run/plots/evidence.npz")
    row = ExampleRow(label="a", images=[np.zeros((2, 2, 3), np.uint8)], captions=[""], lines=["x: 1"])
    ExampleSheet(columns=["x"], rows=[row], examples=1).save(folder / "run/plots/examples.npz")
    (folder / "names.lock").write_text("variables:\n  layer/kernel: {shape: [2, 3], dtype: float32}\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_one_message(files: Path, name: str) -> None:
    assert_explained(files, name, COUNT)


def assert_explained(folder: Path, name: str, count: int) -> None:
    kind = KINDS[name]
    path = folder / kind.path
    copies = mutations(path.read_bytes(), count, seed=sorted(KINDS).index(name))
    found = survey(path, partial(kind.read, path), copies)
    assert found.tracebacks == []
    assert not (kind.checksum and found.silent)
    assert all(message.strip() and len(message.splitlines()) <= 101 for message in found.refused)


def main(count: int) -> None:
    """Print what the readers do with more copies of each kind."""
    folder = Path("/tmp/damaged_files")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_all(folder)
    for number, (name, kind) in enumerate(KINDS.items()):
        path = folder / kind.path
        found = survey(path, partial(kind.read, path), mutations(path.read_bytes(), count, seed=1000 + number))
        print(
            f"{name:24} {count} copies: {found.read} read ({len(found.silent)} as something else), "
            f"{len(found.refused)} refused, {len(found.tracebacks)} tracebacks",
            flush=True,
        )
        for line in sorted(set(found.tracebacks)):
            print("   ", line)


if __name__ == "__main__":
    main(int(sys.argv[1]))
