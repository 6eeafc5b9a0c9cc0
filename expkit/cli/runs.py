"""The verbs on runs: ``evaluate`` and ``freeze``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expkit.experiment import evaluate_run, freeze_run
from expkit.run_folder import find_run
from expkit.runs.terminal import metrics_table, parity_table

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verbs."""
    evaluate = verbs.add_parser(
        "evaluate",
        help="judge a run's checkpoint, raw and averaged",
        description="Evaluate a run's checkpoint on its validation and test parts; raw and averaged side by side.",
    )
    evaluate.add_argument("folder", metavar="RUN", help="run folder")
    evaluate.add_argument("--checkpoint", choices=("latest", "best"), default="latest", help="which checkpoint")
    evaluate.set_defaults(run=_evaluate)
    freeze = verbs.add_parser(
        "freeze",
        help="write a run's frozen graph, proven equal",
        description="Write the inference graph with its variables as constants; only if it computes the same numbers.",
    )
    freeze.add_argument("folder", metavar="RUN", help="run folder")
    freeze.add_argument("--checkpoint", choices=("latest", "best"), help="which checkpoint (as the run says)")
    freeze.add_argument("--weights", choices=("raw", "ema"), help="variables or their averages (as the run says)")
    freeze.add_argument("--output", type=Path, metavar="FILE", help="where to (RUN/frozen.pb)")
    freeze.set_defaults(run=_freeze)


def _evaluate(given: argparse.Namespace) -> int:
    folder = find_run(given.folder)
    step, metrics = evaluate_run(folder, given.checkpoint)
    print(f"{folder.path}, {given.checkpoint} checkpoint, step {step}")
    metrics_table(metrics)
    return 0


def _freeze(given: argparse.Namespace) -> int:
    folder = find_run(given.folder)
    frozen = freeze_run(folder, weights=given.weights, checkpoint=given.checkpoint, path=given.output)
    print(f"{frozen.path}: {frozen.weights} weights of step {frozen.step}")
    parity_table(frozen.parity)
    return 0
