"""The verb ``evaluate``: the metrics of a run's checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from expkit.cli.classes import class_lines
from expkit.evaluation import evaluate
from expkit.experiment import Experiment
from expkit.run_lookup import find_run
from expkit.runs.terminal import metrics_table

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "evaluate",
        help="evaluate a run's checkpoint, raw and EMA",
        description="Evaluate a run's checkpoint on its validation and test data, with raw and EMA weights side by "
        "side; where outputs are compared with classes, precision, recall and F1 of each class, too, and its support: "
        "the number of examples that have it.",
    )
    parser.add_argument("folder", metavar="RUN", help="run folder")
    parser.add_argument("--checkpoint", choices=("latest", "best"), default="latest", help="default: latest")
    parser.set_defaults(run=_evaluate)


def _evaluate(given: argparse.Namespace) -> int:
    folder = find_run(given.folder)
    done = evaluate(Experiment.open(folder), given.checkpoint)
    print(f"{folder.path}, {given.checkpoint} checkpoint, step {done.step}")
    metrics_table(done.metrics)
    for split, tables in done.classes.items():
        for table in tables:
            print(f"\n{split}, {table.title}", *class_lines(table), sep="\n")
    return 0
