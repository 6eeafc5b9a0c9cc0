"""An experiment from its configuration to its frozen graph: the whole program, read from top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from expkit import tf1 as tf
from expkit.checkpoints.restore.plan import Plan
from expkit.checkpoints.restore.restore import restore_from
from expkit.config.schema import Config
from expkit.data.dataset import Dataset, Scaling, load_dataset
from expkit.diagram.svg import svg
from expkit.export.run import Frozen, choose_checkpoint, evaluation_values, freeze_run, open_store
from expkit.fs import atomic_write, atomic_write_text
from expkit.network.spec import NetworkSpec
from expkit.plots.data import collect_plot_data
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.timing import timed
from expkit.training import loop
from expkit.training.autotune import ExecutionChoice, choose, resume
from expkit.training.graphs import evaluate_graph, infer_graph
from expkit.training.sessions import Evaluator, Executor
from expkit.training.state import RollBack, TrainingState

__all__ = ["Frozen", "Result", "Tracker", "evaluate_run", "freeze_run", "run_experiment"]

_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Where a run is recorded."""

    def begin(self) -> None:
        """Wait until records are taken, or the store is known not to answer; raise where it is a wrong one."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step."""

    def artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Keep copies of files, in a folder of the artifacts when one is given."""

    def model(self, frozen: Frozen) -> None:
        """Keep the frozen graph as a model that can be served."""

    def dataset(self, dataset: Dataset) -> None:
        """Record which data was used."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts about the run."""

    @property
    def link(self) -> str:
        """Where to look at the run."""


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    folder: Path
    test: Mapping[str, float]
    trained: loop.Trained
    choice: ExecutionChoice
    checkpoint: Path
    frozen: Frozen | None
    tracking: str | None
    last: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric that training recorded."""
    restored: str | None = None
    """What was restored before training, in words; ``None`` where nothing was."""


def run_experiment(config: Config, folder: RunFolder, tracker: Tracker | None, progress: loop.Progress) -> Result:
    """Train, evaluate and freeze.

    The start, always in this order: the run's own latest checkpoint > ``restore`` > fresh initial values.
    """
    spec = check(config)
    with timed("loading the data"):
        dataset = load_dataset(config, spec)
    _log.info("%d training examples, %s", dataset.size("train"), dataset.placement)
    _save_scaling(folder, dataset.scaling)
    last: dict[str, float] = {}

    def record(step: int, values: Mapping[str, float]) -> None:
        _log.info("step %d: %s", step, ", ".join(f"{name} {value:.6g}" for name, value in values.items()))
        last.update(values)
        folder.log_metrics(step, values)
        if tracker is not None:
            tracker.metrics(step, values)

    def rolled_back(roll_backs: tuple[RollBack, ...]) -> None:
        back = roll_backs[-1]
        _log.warning("not finite in steps %s: back to step %d, with a lower learning rate", back, back.back_to)
        folder.drop_metrics_after(back.back_to)
        told = {"rollbacks": str(len(roll_backs)), "rollbacks.steps": ", ".join(map(str, roll_backs))}
        folder.update(**told)
        if tracker is not None:
            tracker.tags(told)

    store = open_store(config, folder)
    with timed("importing TensorFlow"):
        tf.tensorflow_version()
    with timed("building the graphs"):
        judging, inference = evaluate_graph(config, spec, dataset), infer_graph(spec, dataset.scaling)
    with timed("choosing how steps are run"):
        choice, training = _training(config, spec, dataset, folder)
    restored: str | None = None
    facts = {"execution": str(choice.execution), "execution.reason": choice.reason}
    with training as executor, Evaluator(judging, config) as evaluator:
        with timed("giving variables their values"):
            own = loop.restore_newest(store, executor)
            if own is not None:
                _log.info("continued from %s", own.prefix)
            else:
                executor.initialize()
                if config.restore.from_ is not None:
                    plan = _restore(config, spec, folder, executor)
                    facts["restore.loaded"] = plan.loaded
                    restored = f"{plan.loaded} variables from {', '.join(plan.files.values())}"
                    _log.info("restored %s", restored)
        if tracker is not None:
            with timed("waiting for MLflow"):
                tracker.begin()
            tracker.dataset(dataset)
            tracker.tags(facts)
        folder.drop_metrics_after(executor.step)
        with timed("training"):
            state = TrainingState.of(own.state if own is not None else {})
            trained = loop.Training(
                config=config,
                dataset=dataset,
                executor=executor,
                evaluator=evaluator,
                store=store,
                meta_graph=inference.meta_graph,
                record=record,
                rolled_back=rolled_back,
                progress=progress,
                state=state,
            ).run()
        if trained.stopped_at is not None:
            _log.info("stopped early at step %d", trained.stopped_at)
            if tracker is not None:
                tracker.tags({"stopped.step": str(trained.stopped_at)})
        with timed("testing"):
            test = loop.evaluate(executor, evaluator, dataset, "test")
        record(executor.step, test)
        if config.tracking.plots:
            with timed("gathering what pictures show"):
                _keep_evidence(config, spec, dataset, folder, executor, evaluator)
    frozen = None
    if config.export.enabled:
        with timed("freezing"):
            frozen = freeze_run(folder, dataset=dataset, graphs=(judging, inference))
    if tracker is not None:
        tracker.artifacts(_kept_files(folder))
        if frozen is not None and config.tracking.model:
            tracker.model(frozen)
    latest = store.latest()
    assert latest is not None, "training ends with a checkpoint"
    link = tracker.link if tracker is not None else None
    return Result(folder.path, test, trained, choice, latest.prefix, frozen, link, last, restored)


def evaluate_run(folder: RunFolder, checkpoint: Literal["latest", "best"] = "latest") -> tuple[int, dict[str, float]]:
    """Evaluate a run's checkpoint on its validation and test parts, raw and averaged.

    Returns:
        The checkpoint's step, and metrics by name.
    """
    config = folder.config()
    spec = check(config)
    chosen = choose_checkpoint(config, folder, checkpoint)
    dataset = load_dataset(config, spec)
    built = evaluate_graph(config, spec, dataset)
    with Evaluator(built, config) as evaluator:
        restored = evaluation_values(config, spec, chosen.prefix)
        evaluator.load(restored.values)
        metrics = {
            f"{part}/{name}": value
            for part in dataset.parts
            if part != "train"
            for name, value in evaluator.evaluate(dataset.parts[part]).items()
        }
    try:
        folder.keep_receipt(restored.receipt, of="evaluate")
    except OSError as error:
        _log.warning("no receipt is written into %s: %s", folder.path, error.strerror)
    return chosen.step, metrics


def _restore(config: Config, spec: NetworkSpec, folder: RunFolder, executor: Executor) -> Plan:
    """Put the values that ``restore`` names into variables, and leave the receipt."""
    restored = restore_from(config, spec)
    executor.load(restored.values)
    folder.keep_receipt(restored.receipt)
    return restored.plan


def _training(
    config: Config, spec: NetworkSpec, dataset: Dataset, folder: RunFolder
) -> tuple[ExecutionChoice, Executor]:
    """Return the execution mode and its executor; a resumed run keeps its mode, because XLA rounds differently."""
    if (before := folder.state().get("execution")) is not None:
        choice, executor = resume(config, spec, dataset, ExecutionChoice.of(before))
    else:
        choice, executor = choose(config, spec, dataset)
    folder.update(execution=choice.as_dict())
    _log.info("%s", choice)
    return choice, executor


def _keep_evidence(
    config: Config, spec: NetworkSpec, dataset: Dataset, folder: RunFolder, executor: Executor, evaluator: Evaluator
) -> None:
    """Keep the drawing of the network, and what pictures show of the checkpoint that is for export."""
    chosen = choose_checkpoint(config, folder, config.export.checkpoint)
    if chosen.step == executor.step:
        values: Mapping[str, np.ndarray] = executor.values(evaluator.names)
    else:
        values = evaluation_values(config, spec, chosen.prefix).values
        evaluator.load(values)
    folder.plots.mkdir(exist_ok=True)
    atomic_write_text(folder.plots / "network.svg", svg(spec, config.run.name), durable=False)
    collect_plot_data(config, spec, dataset, evaluator.outputs, values, chosen.step).save(folder.evidence_file)


def _save_scaling(folder: RunFolder, scaling: Mapping[str, Scaling]) -> None:
    if scaling:
        arrays = {
            f"{name}/{part}": getattr(item, part) for name, item in scaling.items() for part in ("mean", "spread")
        }
        with atomic_write(folder.scaling_file) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def _kept_files(folder: RunFolder) -> list[Path]:
    names = (
        "config.yaml",
        "overrides.yaml",
        "metrics.jsonl",
        "run.log",
        "scaling.npz",
        "frozen.pb",
        "frozen.parity.json",
        "restore.json",
        "frozen.restore.json",
    )
    kept = [folder.path / name for name in names if (folder.path / name).is_file()]
    return [*kept, *sorted(folder.plugins.glob("*.py"))]
