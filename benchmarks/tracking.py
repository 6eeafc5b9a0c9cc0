"""What tracking costs: steps of a run with and without it, and a hundred thousand points into SQLite.

Usage: python benchmarks/tracking.py [--cycles 8] [--points 100000]

1. A run of 784-500-10 (random images, batch 100, SGD, averages), one point of metrics per 100 steps. In the one run
   tracking is switched on and off by turns: on, a moment for the recorder to get into its stride, then the steps of
   some seconds are counted; off, a moment for it to deliver all and rest, then the same. Every cycle gives a ratio;
   the goal is that tracking costs at most 3 % of step time (median of the cycles).
2. Points of one metric, handed to a tracker as fast as it takes them, until all of them are in MLflow's SQLite store;
   the goal for 100,000 is 60 s. They are counted in the store.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expkit.config.load import load
from expkit.data.dataset import Dataset
from expkit.experiment import Experiment
from expkit.experiment import run as run_experiment
from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen
from expkit.preflight import check
from expkit.run_folder import RunFolder
from expkit.tracking.recorder import Recorder
from expkit.tracking.store_address import store_uri
from expkit.tracking.tracker import MlflowTracker

HERE = Path(__file__).parent
EXAMPLES = 20_000
COST_GOAL, SECONDS_GOAL = 0.03, 60
SETTLE_SECONDS, COUNT_SECONDS = 2.5, 3.0


class Ended(Exception):
    """Raised when enough has been measured."""


class Switched:
    """A tracker that is switched on and off during the run, with a progress that counts the steps in between."""

    def __init__(self, tracker: MlflowTracker, cycles: int) -> None:
        self._tracker = tracker
        self._cycles = cycles
        self._on, self._counting = True, False
        self._since, self._first = time.perf_counter(), 0
        self._settle = 3 * SETTLE_SECONDS  # the first time
        self.rates: dict[bool, list[float]] = {True: [], False: []}
        """Steps per second of every turn, with and without tracking."""

    def start(self, step: int, last: int) -> None:
        """Show nothing."""

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Count, and switch when it is time."""
        spent = time.perf_counter() - self._since
        if not self._counting and spent >= self._settle:
            self._counting, self._since, self._first = True, time.perf_counter(), step
        elif self._counting and spent >= COUNT_SECONDS:
            self.rates[self._on].append((step - self._first) / spent)
            if not self._on and len(self.rates[False]) == self._cycles:
                raise Ended
            self._on, self._counting, self._since, self._settle = (
                not self._on,
                False,
                time.perf_counter(),
                SETTLE_SECONDS,
            )

    def note(self, text: str) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Show nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics, when switched on."""
        if self._on:
            self._tracker.metrics(step, values)

    def begin(self) -> None:
        """Wait for the store."""
        self._tracker.begin()

    def identify(self) -> None:
        """Wait for the run's id."""
        self._tracker.identify()

    def artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Keep nothing."""

    def model(self, frozen: Frozen) -> None:
        """Keep nothing."""

    def exported(self, exported: ExportFolder, frozen: Frozen | None) -> None:
        """Keep nothing."""

    def dataset(self, dataset: Dataset) -> None:
        """Record the data."""
        self._tracker.dataset(dataset)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts."""
        self._tracker.tags(values)

    @property
    def link(self) -> str:
        """Where to look."""
        return self._tracker.link


def steps_cost(cycles: int) -> float:
    """Return the part of step time that tracking costs, and print how it was found."""
    with tempfile.TemporaryDirectory() as name, Recorder() as recorder:
        folder = Path(name)
        draw = np.random.default_rng(0)
        images, labels = draw.random((EXAMPLES + 100, 784), np.float32), draw.integers(0, 10, EXAMPLES + 100)
        np.savez(folder / "data.npz", allow_pickle=False, image=images, label=labels)
        config = load(
            [
                *(f"run.folder={folder}", "network=bench_mlp1", "data=npz", f"data.source.path={folder}/data.npz"),
                *(f"data.split.train=[0,{EXAMPLES}]", "data.split.valid=null", "optimizer=sgd", "train.batch_size=100"),
                *(f"data.split.test=[{EXAMPLES},{EXAMPLES + 100}]", "train.steps=10000000", "train.best_metric=null"),
                *("train.save_every_steps=1000000", "train.evaluate_every_steps=1000000", "tracking.plots=false"),
            ],
            [str(HERE / "conf")],
        )
        run = RunFolder.create(folder / "run", config, [])
        tracker = MlflowTracker(recorder, config, run)
        switched = Switched(tracker, cycles)
        try:
            run_experiment(Experiment.of(check(config), run), switched, switched)
        except Ended:
            tracker.finish("FINISHED")
    costs = []
    for on, off in zip(switched.rates[True], switched.rates[False], strict=True):
        costs.append(off / on - 1)
        print(f"  with {on:8,.0f} steps/s   without {off:8,.0f} steps/s   costs {100 * costs[-1]:5.2f} %")
    return statistics.median(costs)


def points_seconds(points: int) -> float:
    """Return the seconds until a number of points are in SQLite."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as name, Recorder() as recorder:
        config: Any = load([f"run.folder={name}/runs", "tracking.wait_seconds=1000"])
        tracker = MlflowTracker(recorder, config, RunFolder.create(Path(name) / "runs" / "run", config, []))
        tracker.begin()
        begun = time.perf_counter()
        for step in range(points):
            tracker.metrics(step, {"train/loss": 1 / (step + 1)})
        handed = time.perf_counter() - begun
        tracker.finish("FINISHED")
        took = time.perf_counter() - begun
        assert tracker.run_id is not None
        there = len(MlflowClient(store_uri(config)).get_metric_history(tracker.run_id, "train/loss"))
    print(
        f"  {there:,} of {points:,} points are in the store; the run itself spent {handed:.2f} s on handing them over"
    )
    if there != points:
        raise SystemExit("points are missing")
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=8)
    parser.add_argument("--points", type=int, default=100_000)
    given = parser.parse_args()
    print("a run of 784-500-10, one point per 100 steps")
    print(f"cost     {100 * steps_cost(given.cycles):6.2f} %   goal at most {100 * COST_GOAL:.0f} %")
    print(f"{given.points:,} points")
    print(f"seconds  {points_seconds(given.points):6.1f}     goal under {SECONDS_GOAL}")


if __name__ == "__main__":
    main()
