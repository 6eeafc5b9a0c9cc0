"""The start of a run: the facts about its data, its execution mode, the first values of its variables."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from expkit.checkpoints.restore.plan import Plan
from expkit.checkpoints.restore.restore import restore_from
from expkit.checkpoints.store import Checkpoint, CheckpointStore
from expkit.config.schema import Config
from expkit.data.classes import Classes
from expkit.data.dataset import Dataset
from expkit.data.derived import schedules_follow_steps
from expkit.errors import ConfigError
from expkit.kinds.class_weights import ClassWeighted
from expkit.preflight import CheckedConfig
from expkit.run_folder import RunFolder
from expkit.training.autotune import choose
from expkit.training.execution import ExecutionChoice
from expkit.training.loop import Progress, restore_newest
from expkit.training.pool import GraphPool
from expkit.training.sessions import Executor

__all__ = ["begin", "initialize", "open_executor"]

_log = logging.getLogger(__name__)


def begin(given: Config, derived: Config, dataset: Dataset, folder: RunFolder, progress: Progress) -> None:
    """Log what is noteworthy about the data, and record what follows from it: steps, class weights, preprocessing.

    Args:
        given: the configuration as it was given.
        derived: the configuration with the values that follow from the data.
        dataset: the data.
        folder: folder of the run.
        progress: display.

    Raises:
        ConfigError: the run is resumed with other steps, which would change the learning rates of steps already done.
    """
    steps, before = derived.train.last_step, folder.state().get("steps")
    if before not in (None, steps) and schedules_follow_steps(given):
        raise ConfigError.at(
            f"train.{'steps' if given.train.epochs is None else 'epochs'}",
            f"makes {steps} steps, but the run to resume has {before}, all of which a schedule spans (its "
            "decay_steps is null); undo that, or start a new run",
        )
    _log.info("%d training examples, %s", dataset.size("train"), dataset.placement)
    for warning in dataset.warnings:
        _log.warning("%s", warning)
        progress.warn(warning)
    weights = _class_weights(derived, dataset.classes)
    notes = [*dataset.notes]
    notes += [f"class weights of {at}: {_listed(by_class)}" for at, by_class in weights.items()]
    if given.train.epochs is not None:
        size = dataset.size("train")
        notes.append(f"{given.train.epochs:g} epochs of {size:,} training examples are {steps:,} steps")
    for note in notes:
        _log.info("%s", note)
        progress.note(note)
    examples = {split: dataset.size(split) for split in dataset.splits}
    folder.update(steps=steps, examples=examples, **({"class_weights": weights} if weights else {}))
    dataset.save_preprocessing(folder.preprocess_file)


def open_executor(
    checked: CheckedConfig, dataset: Dataset, folder: RunFolder, runs: int, pool: GraphPool | None
) -> tuple[ExecutionChoice, Executor]:
    """Return the execution mode, which a resumed run keeps, and an open executor; the folder records the mode.

    Args:
        checked: the configuration with the values that follow from the data.
        dataset: the data.
        folder: folder of the run.
        runs: number of runs of the sweep, all of which may use what is measured.
        pool: graphs with sessions that they share, if they do.
    """
    plain = folder.state().get("execution")
    choice, executor = choose(checked, dataset, plain and ExecutionChoice.of(plain), runs=runs, pool=pool)
    folder.update(execution=choice.as_dict())
    _log.info("%s", choice)
    return choice, executor


def initialize(
    checked: CheckedConfig, executor: Executor, store: CheckpointStore, folder: RunFolder
) -> tuple[Checkpoint | None, Plan | None]:
    """Give the variables their first values: the run's own latest checkpoint > ``restore`` > fresh initial values.

    Returns:
        The checkpoint, or else the plan of the restore.

    Raises:
        CheckpointError: all checkpoints are damaged, one does not fit the network, or the restore is incomplete.
    """
    own = restore_newest(store, executor)
    if own is not None:
        _log.info("resumed from %s", own.prefix)
        return own, None
    executor.initialize()
    if checked.config.restore.from_ is None:
        return None, None
    restored = restore_from(checked)
    executor.load(restored.values)
    folder.keep_receipt(restored.receipt)
    _log.info("restored %s", restored.plan.summary)
    return None, restored.plan


def _class_weights(config: Config, classes: Mapping[str, Classes]) -> dict[str, dict[str, float]]:
    """Return the weights of classes by name or number, by the path of the loss or metric that has them."""
    found = {}
    for at, reader in config.train.readers.items():
        if isinstance(reader, ClassWeighted) and reader.class_weights is not None:
            assert not isinstance(reader.class_weights, str), "derived from the data"
            given = reader.class_weights
            by_number = given.items() if isinstance(given, dict) else enumerate(given)
            names = classes[reader.labels].names if reader.labels in classes else None
            found[at] = {str(number if names is None else names[int(number)]): weight for number, weight in by_number}
    return found


def _listed(weights: Mapping[str, float], most: int = 20) -> str:
    shown = [f"{name} {weight:.4g}" for name, weight in list(weights.items())[:most]]
    return ", ".join(shown) + (f" and {len(weights) - most} more" if len(weights) > most else "")
