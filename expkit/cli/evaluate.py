"""The verb ``evaluate``: the metrics of a run's checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from expkit.experiment import Experiment, evaluate
from expkit.run_lookup import find_run
from expkit.runs.terminal import metrics_table

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "evaluate",
        help="evaluate a run's checkpoint, raw and EMA",
        description="Evaluate a run's checkpoint on its validation and test data, with raw and EMA weights side by "
        "side.",
    )
    parser.add_argument("folder", metavar="RUN", help="run folder")
    parser.add_argument("--checkpoint", choices=("latest", "best"), default="latest", help="default: latest")
    parser.set_defaults(run=_evaluate)


def _evaluate(given: argparse.Namespace) -> int:
    folder = find_run(given.folder)
    step, metrics = evaluate(Experiment.open(folder), given.checkpoint)
    print(f"{folder.path}, {given.checkpoint} checkpoint, step {step}")
    metrics_table(metrics)
    return 0
