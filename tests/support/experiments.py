"""Small experiments for tests: configurations of plain data, their arrays in a .npz file, and what a run leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.config.load import validate
from expkit.config.schema import Config
from expkit.data.dataset import Dataset, load_dataset
from expkit.experiment import Experiment
from expkit.experiment import run as run_experiment
from expkit.export.freeze import freeze
from expkit.preflight import CheckedConfig, check
from expkit.result import Result
from expkit.run_folder import RunFolder
from expkit.trackers import NoTracker
from expkit.training.graphs import TrainGraph
from expkit.training.sessions import Executor

Values = dict[str, np.ndarray]

STANDARDIZED = {"x": [{"kind": "standardize"}]}
"""Preprocessing of the field ``x``."""

MLP = {
    "inputs": {"x": {"shape": [4]}},
    "layers": {
        "hidden": {"kind": "dense", "units": 5, "activation": "tanh"},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}
"""Two dense layers."""

CNN = {
    "inputs": {"x": {"shape": [6, 6, 1]}},
    "layers": {
        "conv": {"kind": "conv2d", "filters": 4, "kernel_size": 3, "use_bias": False},
        "norm": {"kind": "batch_norm", "momentum": 0.9},
        "relu": {"kind": "activation", "function": "relu"},
        "pool": {"kind": "max_pool"},
        "flat": {"kind": "flatten"},
        "drop": {"kind": "dropout", "rate": 0.4},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}
"""A convolution with batch normalization, and dropout."""

SPLIT = {"train": [0, 40], "valid": [40, 50], "test": [50, 60]}


def examples(shape: tuple[int, ...] = (4,), count: int = 60, seed: int = 0) -> Values:
    """Return inputs ``x`` and labels 0 to 2 that a network can learn from them."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, *shape)).astype(np.float32)
    return {"x": x, "label": np.argmax(x.reshape(count, -1)[:, :3], axis=1).astype(np.int64)}


def config_of(folder: Path, arrays: Mapping[str, np.ndarray] | None = None, **sections: Any) -> Config:
    """Return a small experiment whose data is in ``folder``; ``sections`` override fields of theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    network = sections.pop("network", MLP)
    shape = tuple(network["inputs"]["x"]["shape"]) if "x" in network["inputs"] else (4,)
    np.savez(folder / "data.npz", **(examples(shape) if arrays is None else arrays))
    raw: dict[str, Any] = {
        "run": {"name": "small", "folder": str(folder / "runs")},
        "network": network,
        "data": {"source": {"kind": "npz", "path": str(folder / "data.npz")}, "split": SPLIT},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "train": {
            "steps": 6,
            "batch_size": 8,
            "losses": {"main": {"kind": "sparse_softmax_cross_entropy"}},
            "metrics": {"accuracy": {"kind": "accuracy"}},
        },
        "ema": {},
        "restore": {},
        "export": {},
        "tracking": {"enabled": False},
    }
    return validate({name: {**section, **sections.get(name, {})} for name, section in raw.items()})


def loaded(config: Config) -> tuple[CheckedConfig, Dataset]:
    """Return the checked configuration and the data of an experiment."""
    checked = check(config)
    return checked, load_dataset(config, checked.spec)


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write a .npy file for every array; return the source that reads them from disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {"kind": "arrays", "fields": {name: str(folder / f"{name}.npy") for name in arrays}}


def rewritten(built: TrainGraph) -> dict[str, Any]:
    """Return the nodes by name of a graph that trains, as TensorFlow has rewritten it in a new session."""
    options, told = tf.RunOptions(output_partition_graphs=True), tf.RunMetadata()
    with Executor(built) as executor:
        executor.initialize()
        executor._session.run(built.run, {built.count: 2}, options=options, run_metadata=told)
    return {node.name: node for part in told.partition_graphs for node in part.node}


class Unseen:
    """A progress that nobody watches."""

    def start(self, step: int, last: int) -> None:
        """Show nothing."""

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Show nothing."""


def run(config: Config, path: Path, tracker: Any = None, progress: Any = None) -> Result:
    """Run an experiment in a folder, new or resumed."""
    return run_experiment(created(config, path), tracker or NoTracker(), progress or Unseen())


def created(config: Config, path: Path) -> Experiment:
    """Return an experiment whose run folder is created, or opened where it exists."""
    return Experiment.of(check(config), RunFolder.create(path, config, []))


def opened(path: Path) -> Experiment:
    """Return the experiment of a run folder."""
    return Experiment.open(RunFolder(path))


def frozen_damaged(*given: Any) -> bytes:
    """Return a frozen graph in which a bias has another value."""
    graph_def = tf.GraphDef.FromString(freeze(*given))
    node = next(node for node in graph_def.node if node.name == "logits/bias")
    values = tf.make_ndarray(node.attr["value"].tensor) + np.float32(0.01)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return bytes(graph_def.SerializeToString())


def checkpoint_values(prefix: Path | str) -> Values:
    """Return everything in a checkpoint, by name."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}


def write_checkpoint(prefix: Path, values: Mapping[str, Any]) -> Path:
    """Write arrays as a plain TensorFlow 1 program does, variables and a saver alone."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=tf.constant(value))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)
    return prefix


def assert_same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    """Assert that both have the same names, and values equal in every bit."""
    assert sorted(first) == sorted(second)
    for name, value in first.items():
        assert np.asarray(value).tobytes() == np.asarray(second[name]).tobytes(), name


def numpy_mlp(x: np.ndarray, values: Mapping[str, np.ndarray], end: str = "") -> np.ndarray:
    """Return the logits of ``MLP``, computed by NumPy; ``end`` is added to the names of the variables."""
    hidden = np.tanh(x @ values[f"hidden/kernel{end}"] + values[f"hidden/bias{end}"])
    return np.asarray(hidden @ values[f"logits/kernel{end}"] + values[f"logits/bias{end}"])


def numpy_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the sparse softmax cross-entropy per example, in float64."""
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])
