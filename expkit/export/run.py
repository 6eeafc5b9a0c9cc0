"""Freezing a checkpoint: the file is written only if it is proven to compute what the evaluation graph does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.restore.restore import read_values
from expkit.checkpoints.restore.targets import run_targets
from expkit.checkpoints.store import Checkpoint
from expkit.data.dataset import Dataset
from expkit.errors import ConfigError, ExportError
from expkit.export.freeze import FrozenGraph, freeze, read_frozen
from expkit.export.labels import labels_read
from expkit.export.operations import operations_of
from expkit.export.output_file import writing_arrays
from expkit.export.parity import Difference, Outputs, check_parity, meta_graph_outputs
from expkit.export.proof_inputs import evaluated_outputs, proof_inputs
from expkit.fs import atomic_write, atomic_write_text, cannot_write
from expkit.kinds.sources.table import TABLE_SETTINGS, Table
from expkit.kinds.sources.text import TextFolder
from expkit.preflight import CheckedConfig
from expkit.provenance import git_commit, versions
from expkit.run_folder import config_digest
from expkit.training.graphs import EvaluateGraph
from expkit.training.inference import InferGraph, Predictor

__all__ = ["Frozen", "FrozenSource", "freeze_checkpoint", "weights_to_freeze"]

PARITY_EXAMPLES = 256
"""Number of examples on which the frozen graph is compared."""


@dataclass(frozen=True, kw_only=True)
class FrozenSource:
    """A checkpoint to freeze."""

    checked: CheckedConfig
    checkpoint: Checkpoint
    weights: Literal["raw", "ema"]
    graphs: tuple[EvaluateGraph, InferGraph]
    dataset: Dataset
    """Its first test examples are the batch of the proof."""
    mlflow_run_id: str | None
    """The run's id in MLflow, for the metadata."""


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A frozen graph on disk with its proof."""

    path: Path
    weights: str
    step: int
    parity: Sequence[Difference]
    metadata: Mapping[str, Any]
    """The metadata inside the file."""
    example: Path
    """The inputs of one example, by name."""


def weights_to_freeze(
    checked: CheckedConfig, requested: Literal["auto", "raw", "ema"] | None = None
) -> Literal["raw", "ema"]:
    """Return which weights are frozen; ``requested`` overrides ``export.weights``.

    Raises:
        ConfigError: there is no EMA, or nothing that is served.
    """
    weights = requested or checked.config.export.weights
    if weights == "auto":
        weights = "ema" if checked.ema_names else "raw"
    if weights == "ema" and not checked.ema_names:
        raise ConfigError.at("weights", "this run keeps no EMA (ema.enabled is false); allowed: raw")
    if not checked.spec.served.outputs:
        problem = "all outputs are for training only, so there is nothing to freeze"
        raise ConfigError.at("network.outputs", f"{problem}; train a network that has an output of use: always")
    return weights


def freeze_checkpoint(source: FrozenSource, path: Path) -> Frozen:
    """Write a checkpoint's frozen graph, its proof, its receipt and an example beside it.

    Raises:
        ExportError: the frozen graph differs from the evaluation graph, or the file cannot be written.
    """
    spec, ema_names, weights = source.checked.spec, source.checked.ema_names, source.weights
    evaluation, inference = source.graphs
    opened = open_variables(source.checkpoint.prefix, str(source.checkpoint.prefix))
    opened = replace(opened, get=cache(opened.get))  # two plans, independent of each other, read every tensor once
    served = spec.served
    stored = read_values(opened, run_targets(spec, ema_names, averages=ema_names)).values
    restored = read_values(opened, run_targets(served, ema_names, averages=served.averaged), weights)
    values = restored.values
    proof = proof_inputs(spec, inference, source.dataset, PARITY_EXAMPLES)
    inputs = proof.raw
    size = source.checked.config.train.evaluation_batch_size  # Random numbers depend on the index in the batch.
    expected = evaluated_outputs(evaluation, source.checked.config, stored, proof)
    with Predictor(inference) as predictor:
        predictor.load(values)
        predicted = predictor.predict(inputs, size)
        content = freeze(inference, predictor, _metadata(source))
        preprocessed = predictor.preprocessed(inputs)
    own = operations_of(inference.graph.as_graph_def())  # A plugin may use any; a file may not bring others.
    raw = {name for layer in served.layers for name in layer.bindings.values() if name not in layer.averaged}
    differs = any(not np.array_equal(values[name], stored[name]) for name in raw)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.write_bytes(content)
            written = read_frozen(partial, allowed=own)
            frozen = written.predict(inputs, batch_size=size)
            from_meta = meta_graph_outputs(source.checkpoint.prefix, list(served.outputs), inputs, own, size)
            table = check_parity(
                {
                    "restored graph": (expected[weights], predicted),
                    "inference meta graph (raw)": (expected["raw"], from_meta),
                    "frozen file": (expected[weights], frozen),
                    **_door(written, expected[weights], inputs, preprocessed),
                },
                (expected[weights], written.predict(inputs, plain=False, batch_size=size)),
                (expected["raw"], frozen) if weights == "ema" and differs else None,
                source.checked.config.export.tolerance,
                note=proof.note,
            )
        rows = [item.as_dict() for item in table]
        for end, text in ((".parity.json", json.dumps(rows, indent=2) + "\n"), (".restore.json", restored.receipt)):
            atomic_write_text(path.with_suffix(end), text)
        example = path.with_suffix(".example.npz")
        with atomic_write(example) as partial, writing_arrays(partial) as write:
            write({name: array[:1] for name, array in inputs.items()})
    except OSError as error:
        raise ExportError.at("export", cannot_write(path, error)) from None
    return Frozen(
        path=path,
        weights=weights,
        step=source.checkpoint.step,
        parity=table,
        metadata=written.metadata,
        example=example,
    )


def _door(
    written: FrozenGraph, expected: Outputs, inputs: Outputs, preprocessed: Outputs
) -> dict[str, tuple[Outputs, Outputs]]:
    """Return the pair of outputs for what the network reads, where it is preprocessed: the file's other door."""
    if not preprocessed:
        return {}
    computed = written.after_preprocessing().predict({**inputs, **preprocessed})
    return {"frozen file, preprocessed inputs": (expected, computed)}


def _metadata(source: FrozenSource) -> dict[str, Any]:
    return {
        "name": source.checked.config.run.name,
        "weights": source.weights,
        "step": source.checkpoint.step,
        "config_sha256": config_digest(source.checked.config),
        **_names(source.checked, source.dataset),
        "git_commit": git_commit(),
        "mlflow_run_id": source.mlflow_run_id,
        "versions": versions(),
    }


def _names(checked: CheckedConfig, dataset: Dataset) -> dict[str, Any]:
    """Return classes and labels by output, inputs that are bytes of files, and a table's columns and encoding."""
    yielded = checked.config.data.yielded
    read = {yielded.get(name, name) for name in checked.spec.inputs}
    columns = {name: list(names) for name, names in dataset.columns.items() if name in read}
    source = checked.config.data.source
    encoded = [name for name, item in dataset.preprocessing.items() if name in read and item.reads_files]
    found: dict[str, Any] = {
        "classes": dataset.output_classes(checked.config),
        **labels_read(checked, dataset, read),
        "columns": columns,
        "binary": encoded,
    }
    if columns and isinstance(source, Table):
        found |= source.model_dump(mode="json", include=TABLE_SETTINGS, exclude_defaults=True)
    elif isinstance(source, TextFolder):
        found |= {"encoding": source.encoding}
    return {key: value for key, value in found.items() if value}
