"""An experiment from its configuration to its frozen graph: the whole program, read from top to bottom."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from expkit.checkpoints.restore import read_values, restore_from
from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.config.schema import Config
from expkit.data.dataset import Dataset, Scaling, load_dataset
from expkit.errors import ConfigError, ExportError, Problem, RunError
from expkit.export.freeze import freeze, read_frozen
from expkit.export.parity import Difference, check_parity, meta_graph_outputs
from expkit.network.names import shadow_name
from expkit.network.spec import NetworkSpec
from expkit.preflight import check
from expkit.provenance import git_commit, versions
from expkit.rundir import RunFolder, config_digest
from expkit.training import loop
from expkit.training.autotune import Choice, choose, recorded
from expkit.training.ema import averaged_names
from expkit.training.executor import Evaluator, Executor, Predictor
from expkit.training.graphs import evaluate_graph, infer_graph, train_graph

__all__ = ["Frozen", "Result", "Tracker", "evaluate_run", "freeze_run", "run_experiment"]

_log = logging.getLogger(__name__)

PARITY_EXAMPLES = 256
"""How many examples the frozen graph is compared on."""


class Tracker(Protocol):
    """Where a run is recorded."""

    def begin(self) -> None:
        """Wait until records can be taken; raise where they cannot."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step."""

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Keep copies of files."""

    def dataset(self, dataset: Dataset) -> None:
        """Record which data was used."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts about the run."""

    @property
    def link(self) -> str:
        """Where to look at the run."""


@dataclass(frozen=True)
class Frozen:
    """A frozen graph on disk and the proof that it is right."""

    path: Path
    weights: str
    step: int
    parity: Sequence[Difference]


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    folder: Path
    test: Mapping[str, float]
    steps_per_second: float
    choice: Choice
    checkpoint: Path
    frozen: Frozen | None
    tracking: str | None
    last: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric that training recorded."""


def run_experiment(config: Config, folder: RunFolder, tracker: Tracker | None, progress: loop.Progress) -> Result:
    """Train, evaluate and freeze.

    The start, always in this order: the run's own latest checkpoint > ``restore`` > fresh initial values.
    """
    spec = check(config)
    dataset = load_dataset(config, spec)
    _save_scaling(folder, dataset.scaling)
    last: dict[str, float] = {}

    def record(step: int, values: Mapping[str, float]) -> None:
        _log.info("step %d: %s", step, ", ".join(f"{name} {value:.6g}" for name, value in values.items()))
        last.update(values)
        folder.log_metrics(step, values)
        if tracker is not None:
            tracker.metrics(step, values)

    store = _store(config, folder)
    choice = _execution(config, spec, dataset, folder)
    with Executor(train_graph(config, spec, dataset, choice.execution)) as executor:
        with Evaluator(evaluate_graph(config, spec, dataset), config) as evaluator:
            own = store.latest()
            if own is not None:
                executor.restore(str(own.prefix))
                _log.info("continued from %s", own.prefix)
            else:
                executor.initialize()
                if config.restore.from_ is not None:
                    restored = restore_from(config, spec)
                    executor.load(restored.values)
                    _log.info("restored %d values from %s", len(restored.values), restored.prefix)
            meta_graph = infer_graph(spec, dataset.scaling).meta_graph
            if tracker is not None:
                tracker.begin()
                tracker.dataset(dataset)
                tracker.tags({"execution": str(choice.execution), "execution.reason": choice.reason})
            folder.drop_metrics_after(executor.step)
            steps_per_second = loop.train(
                config,
                dataset,
                executor,
                evaluator,
                store,
                meta_graph,
                record,
                progress,
                _window(own),
            )
            test = loop.evaluate(executor, evaluator, dataset, "test")
            record(executor.step, test)
    frozen = freeze_run(folder, dataset=dataset) if config.export.enabled else None
    if tracker is not None:
        tracker.artifacts(_kept_files(folder))
    latest = store.latest()
    assert latest is not None, "training ends with a checkpoint"
    link = tracker.link if tracker is not None else None
    return Result(folder.path, test, steps_per_second, choice, latest.prefix, frozen, link, last)


def evaluate_run(folder: RunFolder, checkpoint: Literal["latest", "best"] = "latest") -> tuple[int, dict[str, float]]:
    """Evaluate a run's checkpoint on its validation and test parts, raw and averaged.

    Returns:
        The checkpoint's step, and metrics by name.
    """
    config = folder.config()
    spec = check(config)
    chosen = _choose(config, folder, checkpoint)
    dataset = load_dataset(config, spec)
    built = evaluate_graph(config, spec, dataset)
    with Evaluator(built, config) as evaluator:
        evaluator.load(_evaluation_values(config, spec, chosen.prefix))
        metrics = {
            f"{part}/{name}": value
            for part in dataset.parts
            if part != "train"
            for name, value in evaluator.evaluate(dataset.parts[part]).items()
        }
    return chosen.step, metrics


def freeze_run(
    folder: RunFolder,
    *,
    weights: Literal["auto", "raw", "ema"] | None = None,
    checkpoint: Literal["latest", "best"] | None = None,
    path: Path | None = None,
    dataset: Dataset | None = None,
) -> Frozen:
    """Freeze a run's checkpoint; the file is written only when it is proven to compute the same numbers.

    Args:
        folder: the run.
        weights: what to freeze, in place of ``export.weights``.
        checkpoint: which one, in place of ``export.checkpoint``.
        path: the file, ``frozen.pb`` in the run folder when not given.
        dataset: the run's data, when it is loaded already.

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
    chosen = _choose(config, folder, checkpoint or config.export.checkpoint)
    dataset = dataset or load_dataset(config, spec)
    path = path or folder.frozen
    with Evaluator(evaluate_graph(config, spec, dataset), config, plain=True) as evaluator:
        evaluator.load(_evaluation_values(config, spec, chosen.prefix))
        batch = {name: array[:PARITY_EXAMPLES] for name, array in dataset.parts["test"].items()}
        expected = evaluator.outputs(batch)
    inputs = {name: batch[name].astype(item.dtype) for name, item in spec.inputs.items()}
    built = infer_graph(spec, dataset.scaling)
    with Predictor(built) as predictor:
        values = read_values(chosen.prefix, spec, weights=chosen_weights, averaged=averaged)
        predictor.load(values)
        restored = predictor.predict(inputs)
        content = freeze(built, predictor, _metadata(config, folder, chosen, chosen_weights))
    raw = read_values(chosen.prefix, spec, weights="raw", averaged=())
    differs = any(not np.array_equal(values[name], raw[name]) for name in values)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        os.replace(partial, path)
        rows = [item.as_dict() for item in table]
        path.with_suffix(".parity.json").write_text(json.dumps(rows, indent=2) + "\n")
    except OSError as error:
        raise ExportError.at(str(path), f"cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):  # Where it could not be written there is nothing to remove.
            partial.unlink()
    return Frozen(path, chosen_weights, chosen.step, table)


def _execution(config: Config, spec: NetworkSpec, dataset: Dataset, folder: RunFolder) -> Choice:
    """Return how steps are run; a run that goes on keeps what it chose, because XLA rounds otherwise."""
    before = folder.state().get("execution")
    choice = recorded(before) if before is not None else choose(config, spec, dataset)
    folder.update(execution=choice.as_dict())
    _log.info("%s: %s", choice.execution, choice.reason)
    return choice


def _store(config: Config, folder: RunFolder) -> CheckpointStore:
    clock = config.train
    return CheckpointStore(
        folder.checkpoints, keep_last=clock.keep_last, best_metric=clock.best_metric, best_mode=clock.best_mode
    )


def _choose(config: Config, folder: RunFolder, which: Literal["latest", "best"]) -> Checkpoint:
    store = _store(config, folder)
    chosen = store.best() if which == "best" else store.latest()
    if chosen is None:
        way_out = "train.best_metric names what is best" if which == "best" else "the run ended before its first save"
        raise RunError.at(str(folder.path), f"no {which} checkpoint in it; {way_out}")
    return chosen


def _evaluation_values(config: Config, spec: NetworkSpec, prefix: Path) -> dict[str, np.ndarray]:
    """Return what the evaluation graph reads of a checkpoint: variables and averages, each under its own name."""
    averaged = averaged_names(config.ema, spec)
    raw = read_values(prefix, spec, weights="raw", averaged=())
    if not averaged:
        return raw
    averages = read_values(prefix, spec, weights="ema", averaged=averaged)
    return {**raw, **{shadow_name(name): averages[name] for name in averaged}}


def _window(own: Checkpoint | None) -> dict[str, dict[str, np.ndarray]]:
    window = own.window if own is not None else {}
    return {name: {key: np.asarray(v, np.float64) for key, v in sums.items()} for name, sums in window.items()}


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


def _save_scaling(folder: RunFolder, scaling: Mapping[str, Scaling]) -> None:
    if scaling:
        arrays = {
            f"{name}/{part}": getattr(item, part) for name, item in scaling.items() for part in ("mean", "spread")
        }
        np.savez(folder.scaling_file, allow_pickle=False, **arrays)


def _kept_files(folder: RunFolder) -> list[Path]:
    names = (
        "config.yaml",
        "overrides.yaml",
        "metrics.jsonl",
        "run.log",
        "scaling.npz",
        "frozen.pb",
        "frozen.parity.json",
    )
    return [folder.path / name for name in names if (folder.path / name).is_file()]
