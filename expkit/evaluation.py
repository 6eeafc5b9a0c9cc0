"""Evaluation of a run that has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from expkit.experiment import Experiment
from expkit.training.by_class import ClassTable, classified_outputs, with_class_metrics
from expkit.training.graphs import evaluate_graph
from expkit.training.sessions import Evaluator

__all__ = ["Evaluation", "evaluate"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of a checkpoint on validation and test data, raw and EMA."""

    step: int
    """The checkpoint's step."""
    metrics: Mapping[str, float]
    classes: Mapping[str, Sequence[ClassTable]]
    """Scores of each class, by split: a table for each output that is compared with a class per example."""


def evaluate(experiment: Experiment, checkpoint: Literal["latest", "best"] = "latest") -> Evaluation:
    """Evaluate a checkpoint on validation and test data, raw and EMA."""
    chosen = experiment.checkpoint(checkpoint)
    experiment, dataset = experiment.load()
    classified = classified_outputs(experiment.config, experiment.spec, dataset)
    counting = with_class_metrics(experiment.checked, classified)
    metrics: dict[str, float] = {}
    classes: dict[str, Sequence[ClassTable]] = {}
    with Evaluator(evaluate_graph(counting, dataset), experiment.config) as evaluator:
        restored = experiment.values(chosen)
        evaluator.load(restored.values)
        for split, arrays in dataset.splits.items():
            if split != "train":
                sums = evaluator.statistics(arrays, chosen.step)
                counts = [{weights: of.pop(item.metric) for weights, of in sums.items()} for item in classified]
                classes[split] = [item.table(count) for item, count in zip(classified, counts, strict=True)]
                metrics |= {f"{split}/{name}": value for name, value in evaluator.results(sums).items()}
    try:
        experiment.folder.keep_receipt(restored.receipt, of="evaluate")
    except OSError as error:
        _log.warning("no receipt is written into %s: %s", experiment.folder.path, error.strerror)
    return Evaluation(step=chosen.step, metrics=metrics, classes=classes)
