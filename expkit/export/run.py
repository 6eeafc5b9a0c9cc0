"""Freezing a run: the file is written only when it is proven to compute what the evaluation graph does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit.checkpoints.restore.restore import Restored, read_values
from expkit.checkpoints.restore.targets import wanted_of_run
from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.config.schema import Config
from expkit.data.dataset import Dataset, load_dataset
from expkit.errors import ConfigError, ExportError, Problem, RunError
from expkit.export.freeze import freeze, read_frozen
from expkit.export.parity import Difference, check_parity, meta_graph_outputs
from expkit.fs import atomic_write, atomic_write_text, cannot_write
from expkit.network.averages import averaged_names
from expkit.network.spec import NetworkSpec
from expkit.preflight import check
from expkit.provenance import git_commit, versions
from expkit.run_folder import RunFolder, config_digest
from expkit.training.graphs import EvaluateGraph, InferGraph, evaluate_graph, infer_graph
from expkit.training.sessions import Evaluator, Predictor

__all__ = ["Frozen", "choose_checkpoint", "evaluation_values", "freeze_run", "open_store"]

PARITY_EXAMPLES = 256
"""How many examples the frozen graph is compared on."""


@dataclass(frozen=True)
class Frozen:
    """A frozen graph on disk and the proof that it is right."""

    path: Path
    weights: str
    step: int
    parity: Sequence[Difference]
    metadata: Mapping[str, Any]
    """What the file says of itself."""
    example: Path
    """The inputs of one example, by name."""


def freeze_run(
    folder: RunFolder,
    *,
    weights: Literal["auto", "raw", "ema"] | None = None,
    checkpoint: Literal["latest", "best"] | None = None,
    path: Path | None = None,
    dataset: Dataset | None = None,
    graphs: tuple[EvaluateGraph, InferGraph] | None = None,
) -> Frozen:
    """Freeze a run's checkpoint; the file is written only when it is proven to compute the same numbers.

    Args:
        folder: the run.
        weights: what to freeze, in place of ``export.weights``.
        checkpoint: which one, in place of ``export.checkpoint``.
        path: the file, ``frozen.pb`` in the run folder when not given.
        dataset: the run's data, when it is loaded already.
        graphs: the run's evaluation and inference graphs, when they are built already.

    Raises:
        ExportError: the frozen graph differs from the evaluation graph, or its file cannot be written.
    """
    config = folder.config()
    spec = check(config)
    averaged = averaged_names(config.ema, spec)
    asked = weights or config.export.weights
    chosen_weights: Literal["raw", "ema"] = ("ema" if averaged else "raw") if asked == "auto" else asked
    if chosen_weights == "ema" and not averaged:
        raise ConfigError(Problem("weights", "this run keeps no averages (ema.enabled is false); allowed: raw"))
    chosen = choose_checkpoint(config, folder, checkpoint or config.export.checkpoint)
    dataset = dataset or load_dataset(config, spec)
    path = path or folder.frozen
    judging, built = graphs or (evaluate_graph(config, spec, dataset), infer_graph(spec, dataset.scaling))
    stored = evaluation_values(config, spec, chosen.prefix).values
    raw = {name: stored[name] for name in spec.variables}
    wanted = wanted_of_run(spec, averaged, averages=False)
    read = read_values(chosen.prefix, wanted, chosen_weights)  # not by way of the judge
    values = read.values
    with Evaluator(judging, config, plain=True) as evaluator:
        evaluator.load(stored)
        batch = {name: array[:PARITY_EXAMPLES] for name, array in dataset.parts["test"].items()}
        expected = evaluator.outputs(batch)
    inputs = {name: batch[name].astype(item.dtype) for name, item in spec.inputs.items()}
    with Predictor(built) as predictor:
        predictor.load(values)
        restored = predictor.predict(inputs)
        content = freeze(built, predictor, _metadata(config, folder, chosen, chosen_weights))
    differs = any(not np.array_equal(values[name], raw[name]) for name in values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_bytes(content)
            written = read_frozen(partial)
            frozen = written.predict(inputs)
            from_meta = meta_graph_outputs(chosen.prefix, spec.outputs, inputs)
            table = check_parity(
                {
                    "restored graph": (expected[chosen_weights], restored),
                    "inference meta graph (raw)": (expected["raw"], from_meta),
                    "frozen file": (expected[chosen_weights], frozen),
                },
                (expected[chosen_weights], written.predict(inputs, plain=False)),
                (expected["raw"], frozen) if chosen_weights == "ema" and differs else None,
                config.export.tolerance,
            )
        rows = [item.as_dict() for item in table]
        for end, text in ((".parity.json", json.dumps(rows, indent=2) + "\n"), (".restore.json", read.receipt)):
            atomic_write_text(path.with_suffix(end), text)
        example = path.with_suffix(".example.npz")
        with atomic_write(example) as partial, partial.open("wb") as into:
            np.savez(into, allow_pickle=False, **{name: _plain(array[:1]) for name, array in inputs.items()})
    except OSError as error:
        raise ExportError.at("export", cannot_write(path, error)) from None
    return Frozen(path, chosen_weights, chosen.step, table, written.metadata, example)


def open_store(config: Config, folder: RunFolder) -> CheckpointStore:
    """Return the checkpoints of a run."""
    clock = config.train
    return CheckpointStore(
        folder.checkpoints,
        keep_last=clock.keep_last,
        keep_every_steps=clock.keep_every_steps,
        best_metric=clock.best_metric,
        best_mode=clock.best_mode,
    )


def choose_checkpoint(config: Config, folder: RunFolder, which: Literal["latest", "best"]) -> Checkpoint:
    """Return the checkpoint of a run that is meant.

    Raises:
        RunError: there is none.
    """
    store = open_store(config, folder)
    chosen = store.best() if which == "best" else store.latest()
    if chosen is None:
        way_out = "train.best_metric names what is best" if which == "best" else "the run ended before its first save"
        raise RunError.at(str(folder.path), f"no {which} checkpoint in it; {way_out}")
    return chosen


def evaluation_values(config: Config, spec: NetworkSpec, prefix: Path) -> Restored:
    """Return what the evaluation graph reads of a checkpoint: variables and averages, each under its own name."""
    return read_values(prefix, wanted_of_run(spec, averaged_names(config.ema, spec), averages=True))


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array  # a .npz file has no bfloat16


def _metadata(config: Config, folder: RunFolder, checkpoint: Checkpoint, weights: str) -> dict[str, Any]:
    return {
        "name": config.run.name,
        "weights": weights,
        "step": checkpoint.step,
        "config_sha256": config_digest(config),
        "git_commit": git_commit(),
        "mlflow_run_id": folder.state().get("mlflow_run_id"),
        "versions": versions(),
    }
