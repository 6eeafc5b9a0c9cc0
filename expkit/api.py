"""Experiments from Python: train, evaluate, freeze, predict and plan a restore, as the command line does."""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expkit.checkpoints.restore.plan import Plan
from expkit.checkpoints.restore.restore import configured_plan, open_checkpoints
from expkit.config.load import load
from expkit.config.schema import Config
from expkit.config.source_lines import locating_problems
from expkit.evaluation import evaluate as evaluate_experiment
from expkit.experiment import Experiment
from expkit.experiment import freeze as freeze_experiment
from expkit.export.run import Frozen
from expkit.preflight import load_checked, named
from expkit.run_lookup import find_run
from expkit.runs.frozen_graph import find_frozen
from expkit.runs.interruption import Terminated
from expkit.runs.train import train as train_run

__all__ = ["Run", "evaluate", "freeze", "load_config", "plan_restore", "predict", "train"]


@dataclass(frozen=True)
class Run:
    """A run on disk: its experiment with its last metrics."""

    experiment: Experiment
    metrics: Mapping[str, float]
    """The last value of every metric, by name: ``test/accuracy/ema``."""

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Return the run in a folder.

        Raises:
            ExpkitError: there is none, or its configuration is damaged.
        """
        with _deep_recursion():
            found = find_run(str(folder))
            last = {name: value for line in found.metrics() for name, value in line.items() if name != "step"}
            return cls(Experiment.open(found), last)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.experiment.folder.path

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Compute the outputs of a batch, by name, with the run's frozen graph.

        Args:
            inputs: arrays by input name.

        Raises:
            ExportError: the run has no frozen graph, or an input is missing, unknown, of a wrong shape or dtype.
        """
        return predict(self, inputs)


def train(
    experiment: str | None = None,
    overrides: Sequence[str] = (),
    *,
    config_dirs: Sequence[str | Path] = (),
    quiet: bool = True,
) -> Run:
    """Train, evaluate, freeze and record one experiment, as ``expkit train`` does.

    Args:
        experiment: a file of ``conf/experiment``, without its ending; the default one when not given.
        overrides: as on the command line: ``["train.steps=500"]``.
        config_dirs: further folders of configuration files.
        quiet: print no progress and no summary.

    Raises:
        ExpkitError: a mistake in the configuration, or a failure with a known cause; the run's status records it.
    """
    try:
        with _deep_recursion():
            outcome = train_run(_words(experiment, overrides), _folders(config_dirs), quiet=quiet, embedded=True)
    except Terminated:
        signal.raise_signal(signal.SIGTERM)  # to the program's own handler
        raise
    if outcome.error is not None:
        raise outcome.error
    assert outcome.result is not None
    assert outcome.experiment is not None
    return Run(outcome.experiment, outcome.result.last)


def evaluate(run: Run | str | Path, checkpoint: Literal["latest", "best"] = "latest") -> dict[str, float]:
    """Return the metrics of a run's checkpoint on validation and test data, raw and EMA.

    Raises:
        ExpkitError: there is no such run or checkpoint.
    """
    return dict(evaluate_experiment(_opened(run).experiment, checkpoint).metrics)


def freeze(
    run: Run | str | Path,
    *,
    weights: Literal["raw", "ema"] | None = None,
    checkpoint: Literal["latest", "best"] | None = None,
    path: str | Path | None = None,
) -> Frozen:
    """Write a run's frozen graph, if it is proven to compute the same numbers.

    Args:
        run: the run, or its folder.
        weights: overrides ``export.weights``.
        checkpoint: overrides ``export.checkpoint``.
        path: the file; ``frozen.pb`` in the run folder when not given.

    Raises:
        ExpkitError: there is no such run or checkpoint, the frozen graph differs, or its file cannot be written.
    """
    file = None if path is None else Path(path)
    return freeze_experiment(_opened(run).experiment, weights=weights, checkpoint=checkpoint, path=file)


def predict(
    graph: Run | Frozen | str | Path,
    inputs: Mapping[str, Any],
    *,
    uri: str | None = None,
    fetch: Sequence[str] = (),
    allow_ops: Collection[str] = (),
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Compute the outputs of a batch with a frozen graph, by name.

    Args:
        graph: a run, a frozen graph, a ``.pb`` file, a ``.meta`` file beside its checkpoint, a SavedModel folder, a run
            folder, or in MLflow ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/ID``.
        inputs: arrays by input name.
        uri: the MLflow store of ``models:/`` and ``runs:/``; the local one in ``runs/`` when not given.
        fetch: tensors to compute in place of the outputs, by their names in the graph.
        allow_ops: operations to allow besides those known to be pure functions, in a file that is trusted.
        batch_size: examples computed at once; when not given, 1,024 for a graph of expkit, all for others.

    Raises:
        ExpkitError: there is no such graph, or an input is missing, unknown, of a wrong shape or dtype.
    """
    if isinstance(graph, Run):
        graph = graph.experiment.folder.frozen
    elif isinstance(graph, Frozen):
        graph = graph.path
    found = find_frozen(str(graph), uri, fetch=fetch, allowed=allow_ops)
    return found.predict({name: np.asarray(array) for name, array in inputs.items()}, batch_size=batch_size)


def load_config(
    experiment: str | None = None, overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()
) -> Config:
    """Return a validated configuration; ``network_spec`` of its ``network`` gives every variable's name and shape.

    Args:
        experiment: a file of ``conf/experiment``, without its ending; the default one when not given.
        overrides: as on the command line.
        config_dirs: further folders of configuration files.

    Raises:
        ConfigError: with every mistake found, each with its file and line where it comes from a file.
    """
    words, folders = _words(experiment, overrides), _folders(config_dirs)
    with _deep_recursion(), locating_problems(words, folders):
        return load(words, folders)


def plan_restore(
    experiment: str | None = None, overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()
) -> Plan:
    """Return the plan of a restore, before any value is loaded; ``plan.check()`` raises where it is incomplete.

    Args:
        experiment: a file of ``conf/experiment``, without its ending; the default one when not given.
        overrides: as on the command line: ``["restore.from=old/model"]``.
        config_dirs: further folders of configuration files.

    Raises:
        ExpkitError: a mistake in the configuration, or a checkpoint that is missing or damaged.
    """
    with _deep_recursion():
        checked = load_checked(_words(experiment, overrides), _folders(config_dirs), by=named)
    return configured_plan(checked, open_checkpoints(checked))


def _words(experiment: str | None, overrides: Sequence[str]) -> list[str]:
    return [*([] if experiment is None else [f"experiment={experiment}"]), *overrides]


def _folders(config_dirs: Sequence[str | Path]) -> list[str]:
    return [str(folder) for folder in config_dirs]


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Allow nested scopes to take the libraries that read YAML more than 1,000 calls deep, as ``cli.main`` does."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
