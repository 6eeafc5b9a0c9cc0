"""An experiment from its configuration to its frozen graph: the whole program, read from top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.restore.restore import Restored, read_values
from expkit.checkpoints.restore.targets import run_targets
from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.config.schema import Config
from expkit.data.dataset import Dataset, load_dataset
from expkit.data.derived import derived_config
from expkit.errors import ExportError, RunError
from expkit.export.at_end import check_targets, export_run
from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen, FrozenSource, freeze_checkpoint, weights_to_freeze
from expkit.export.trial import try_freeze
from expkit.network.spec import NetworkSpec
from expkit.plots.evidence import save_evidence
from expkit.plots.samples_data import sample_saver
from expkit.preflight import CheckedConfig, check, with_config
from expkit.result import Result
from expkit.run_folder import RunFolder
from expkit.start import begin, initialize, open_executor
from expkit.timing import timed
from expkit.trackers import Tracker
from expkit.training import loop
from expkit.training.graphs import EvaluateGraph, evaluate_graph
from expkit.training.inference import InferGraph, infer_graph
from expkit.training.pool import EvaluationGraphs, GraphPool
from expkit.training.state import RollBack, TrainingState

__all__ = ["Experiment", "freeze", "frozen_source", "run"]

_TRIED = "export.tried"
"""Key of a run's state: whether freezing was tried before training."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """A checked configuration with the folder of its run."""

    checked: CheckedConfig
    folder: RunFolder
    store: CheckpointStore
    """The checkpoints of the run."""
    runs: int = 1
    """Number of runs of its sweep."""
    pool: GraphPool | None = None
    """Graphs with sessions that the runs of a sweep share in one process."""

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.checked.config

    @property
    def spec(self) -> NetworkSpec:
        """The network."""
        return self.checked.spec

    @property
    def ema_names(self) -> tuple[str, ...]:
        """Names of the variables that have an EMA."""
        return self.checked.ema_names

    @classmethod
    def of(cls, checked: CheckedConfig, folder: RunFolder) -> Experiment:
        """Return the experiment of a checked configuration, whose run is in a folder."""
        return cls(checked, folder, CheckpointStore.of(folder.checkpoints, checked.config.train))

    @classmethod
    def open(cls, folder: RunFolder) -> Experiment:
        """Return the experiment that a run folder is of.

        Raises:
            ConfigError: the folder's configuration is damaged.
        """
        return cls.of(check(folder.config()), folder)

    def load(self) -> tuple[Experiment, Dataset]:
        """Load the data; return the experiment with the values that follow from it, such as the steps of epochs.

        Raises:
            ExpkitError: the data is damaged or does not fit, or has no field or class of some name.
        """
        dataset = load_dataset(self.config, self.spec)
        checked = with_config(self.checked, derived_config(self.config, self.spec.trained, dataset))
        return replace(self, checked=checked), dataset

    def checkpoint(self, which: Literal["latest", "best"]) -> Checkpoint:
        """Return a checkpoint of the run.

        Raises:
            RunError: there is none.
        """
        chosen = self.store.best() if which == "best" else self.store.latest()
        if chosen is None:
            why = (
                "set train.best_metric to the metric that decides"
                if which == "best"
                else "the run ended before its first save"
            )
            raise RunError.at(str(self.folder.path), f"no {which} checkpoint in it; {why}")
        return chosen

    def values(self, checkpoint: Checkpoint) -> Restored:
        """Read a checkpoint's variables, raw and EMA, each under its own name."""
        source = open_variables(checkpoint.prefix, str(checkpoint.prefix))
        return read_values(source, run_targets(self.spec, self.ema_names, averages=self.ema_names))


def run(experiment: Experiment, tracker: Tracker, progress: loop.Progress) -> Result:
    """Train, evaluate and freeze.

    The start, always in this order: the run's own latest checkpoint > ``restore`` > fresh initial values.
    """
    given = experiment.config
    check_targets(given.export)
    with timed("loading the data"):
        experiment, dataset = experiment.load()
    config, folder, store = experiment.config, experiment.folder, experiment.store
    begin(given, config, dataset, folder, progress)
    last: dict[str, float] = {}

    def record(step: int, values: Mapping[str, float]) -> None:
        _log.info("step %d: %s", step, ", ".join(f"{name} {value:.6g}" for name, value in values.items()))
        last.update(values)
        folder.log_metrics(step, values)
        tracker.metrics(step, values)

    def rolled_back(roll_backs: tuple[RollBack, ...]) -> None:
        back = roll_backs[-1]
        _log.warning("not finite in steps %s: back to step %d, with a lower learning rate", back, back.back_to)
        folder.drop_metrics_after(back.back_to)
        facts = {"rollbacks": str(len(roll_backs)), "rollbacks.steps": ", ".join(map(str, roll_backs))}
        folder.update(**facts)
        tracker.tags(facts)

    with timed("importing TensorFlow"):
        tf.tensorflow_version()
    with timed("building the graphs"):
        evaluation = (experiment.pool or EvaluationGraphs).of(experiment.checked, dataset)
        graphs = evaluation.graphs
    with timed("choosing how steps are run"):
        choice, executor = open_executor(experiment.checked, dataset, folder, experiment.runs, experiment.pool)
    facts = {"execution": str(choice.execution), "execution.reason": choice.reason}
    with executor, evaluation.evaluator as evaluator:
        with timed("initializing variables"):
            own, restored = initialize(experiment.checked, executor, store, folder)
            if restored is not None:
                facts["restore.loaded"] = restored.loaded
        if config.export.enabled and (own is None or not folder.state().get(_TRIED)):  # a resumed run may be new to it
            if evaluation.tried != config.export:
                with timed("trying to freeze"):
                    tried = try_freeze(experiment.checked, graphs, executor.values(evaluator.names), dataset)
                evaluation.tried = config.export if tried else None
            folder.update(**{_TRIED: evaluation.tried is not None})
        with timed("waiting for MLflow"):
            tracker.begin()
        tracker.dataset(dataset)
        tracker.tags(facts)
        folder.drop_metrics_after(executor.step)
        progress.start(executor.step, config.train.last_step)
        with timed("training"):
            trained = loop.Training(
                config=config,
                dataset=dataset,
                executor=executor,
                evaluator=evaluator,
                store=store,
                meta_graph=graphs[1].meta_graph,
                record=record,
                rolled_back=rolled_back,
                saved=sample_saver(experiment.checked, dataset, graphs[1], (executor, evaluator), folder),
                progress=progress,
                state=TrainingState.of(own.state if own is not None else {}),
            ).run()
        if trained.stopped_at is not None:
            _log.info("stopped early at step %d", trained.stopped_at)
            tracker.tags({"stopped.step": str(trained.stopped_at)})
        with timed("testing"):
            test = loop.evaluate(executor, evaluator, dataset, "test")
        record(executor.step, test)
        if config.tracking.plots:
            with timed("saving the data of plots"):
                chosen = experiment.checkpoint(config.export.checkpoint)
                values: Mapping[str, np.ndarray] = executor.values(evaluator.names)
                if chosen.step != executor.step:
                    values = experiment.values(chosen).values
                    evaluator.load(values)
                save_evidence(experiment.checked, dataset, evaluator.outputs, values, chosen.step, folder)
    frozen = None
    with timed("waiting for MLflow"):
        tracker.identify()  # The frozen graph names its run.
    if config.export.enabled:
        with timed("freezing"):
            source = frozen_source(experiment, dataset=dataset, graphs=graphs)
            frozen = freeze_checkpoint(source, folder.frozen)
    tracker.artifacts(folder.kept_files)
    if frozen is not None and config.tracking.model:
        tracker.model(frozen)
    exported: ExportFolder | None = None
    not_exported: ExportError | None = None
    if frozen is not None and config.export.to:
        with timed("exporting"):
            try:
                exported = export_run(frozen, source, folder.path)
            except ExportError as error:  # What was trained is whole without it.
                not_exported = error
    if frozen is not None and exported is not None:
        tracker.exported(exported, frozen if config.tracking.model else None)
    return Result(
        folder=folder.path,
        test=test,
        trained=trained,
        choice=choice,
        checkpoint=experiment.checkpoint("latest").prefix,
        frozen=frozen,
        exported=exported,
        not_exported=not_exported,
        tracking=tracker.link,
        last=last,
        restored=None if restored is None else restored.summary,
    )


def freeze(
    experiment: Experiment,
    *,
    weights: Literal["auto", "raw", "ema"] | None = None,
    checkpoint: Literal["latest", "best"] | None = None,
    path: Path | None = None,
) -> Frozen:
    """Freeze a checkpoint; the file is written only if it is proven to compute the same numbers.

    Args:
        experiment: the run.
        weights: overrides ``export.weights``.
        checkpoint: overrides ``export.checkpoint``.
        path: the file; ``frozen.pb`` in the run folder when not given.

    Raises:
        ExportError: the frozen graph differs from the evaluation graph, or its file cannot be written.
    """
    source = frozen_source(experiment, weights=weights, checkpoint=checkpoint)
    return freeze_checkpoint(source, path or experiment.folder.frozen)


def frozen_source(
    experiment: Experiment,
    *,
    weights: Literal["auto", "raw", "ema"] | None = None,
    checkpoint: Literal["latest", "best"] | None = None,
    dataset: Dataset | None = None,
    graphs: tuple[EvaluateGraph, InferGraph] | None = None,
) -> FrozenSource:
    """Return a checkpoint of a run with what freezing it needs.

    Args:
        experiment: the run.
        weights: overrides ``export.weights``.
        checkpoint: overrides ``export.checkpoint``.
        dataset: the run's data, when ``load`` has loaded it already; the experiment then has what follows from it.
        graphs: the run's evaluation and inference graphs, when they are built already.

    Raises:
        ConfigError: the run keeps no EMA, or serves no output.
        RunError: it has no checkpoint.
    """
    config, spec, folder = experiment.config, experiment.spec, experiment.folder
    frozen_weights = weights_to_freeze(experiment.checked, weights)
    chosen = experiment.checkpoint(checkpoint or config.export.checkpoint)
    if dataset is None:
        experiment, dataset = experiment.load()
    return FrozenSource(
        checked=experiment.checked,
        checkpoint=chosen,
        weights=frozen_weights,
        graphs=graphs
        or (evaluate_graph(experiment.checked, dataset), infer_graph(spec, dataset.preprocessing, config.run.seed)),
        dataset=dataset,
        mlflow_run_id=folder.state().get("mlflow_run_id"),
    )
