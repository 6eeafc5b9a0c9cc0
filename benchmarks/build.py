"""Time to build BERT-base's graph: expkit's from its YAML file beside the one written by hand on ``tf.compat.v1``.

Usage: python benchmarks/build.py [--rounds 15]

Both create the 199 variables and the inference graph of placeholders in a fresh ``tf.Graph``, in turn, in one process.
``expkit`` is timed from the composed configuration: names and shapes computed, variables created, layers connected.
Prints medians, and the ratio to the hand-written graph (``tests/support/bert_by_hand.py``); exit code 1 above the goal.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.sections.network import NetworkConfig
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.elaborate import network_spec
from support.bert_by_hand import Sizes, bert  # type: ignore[import-not-found]  # below tests/

GOAL = 1.3
INPUTS = ("input_ids", "input_mask", "token_type_ids")


def by_hand() -> None:
    """Build the graph as a program without expkit does."""
    bert(*(tf.placeholder(tf.int32, [None, 128], name) for name in INPUTS), Sizes())


def by_expkit(network: NetworkConfig) -> None:
    """Build the graph from the configuration."""
    spec = network_spec(network)
    connect(spec, create_variables(spec, 0), placeholders(spec))


def seconds(build: Callable[[], None]) -> tuple[float, int]:
    """Return how long building takes, and how many operations are built."""
    with tf.Graph().as_default() as graph:
        begun = time.perf_counter()
        build()
        return time.perf_counter() - begun, len(graph.get_operations())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    network = load(["~experiment", "network=bert"]).network
    builds: dict[str, Callable[[], None]] = {"by hand": by_hand, "expkit": lambda: by_expkit(network)}
    for build in builds.values():  # What is done once in a process is not measured.
        seconds(build)
    times: dict[str, list[float]] = {name: [] for name in builds}
    operations = {}
    for turn in range(given.rounds):
        for name in list(builds) if turn % 2 else reversed(builds):
            taken, operations[name] = seconds(builds[name])
            times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    for name, median in medians.items():
        ratio = median / medians["by hand"]
        print(f"{name:8}  {median * 1000:7.0f} ms  x {ratio:.2f}  {operations[name]:,} operations")
    sys.exit(medians["expkit"] > GOAL * medians["by hand"])


if __name__ == "__main__":
    main()
