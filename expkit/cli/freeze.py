"""The verb ``freeze``: a run's inference graph as one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expkit.experiment import Experiment, freeze
from expkit.run_lookup import find_run
from expkit.runs.terminal import parity_table

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "freeze",
        help="write a run's frozen graph, proven equal",
        description="Write the inference graph with its variables as constants, if it computes the same numbers as "
        "the evaluation graph.",
    )
    parser.add_argument("folder", metavar="RUN", help="run folder")
    parser.add_argument("--checkpoint", choices=("latest", "best"), help="default: export.checkpoint of the run")
    parser.add_argument("--weights", choices=("raw", "ema"), help="default: export.weights of the run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RUN/frozen.pb")
    parser.set_defaults(run=_freeze)


def _freeze(given: argparse.Namespace) -> int:
    experiment = Experiment.open(find_run(given.folder))
    frozen = freeze(experiment, weights=given.weights, checkpoint=given.checkpoint, path=given.output)
    print(f"{frozen.path}: {frozen.weights} weights of step {frozen.step}")
    parity_table(frozen.parity)
    return 0
