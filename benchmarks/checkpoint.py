"""Saving and restoring 1 GB of variables: expkit's checkpoints beside a bare ``tf.train.Saver``.

Usage: python benchmarks/checkpoint.py [--rounds 3] [--layers 16] [--folder PATH]

Both have the same graph and session, expkit's for training, of dense layers of 4096 x 4096 float32 (64 MB each), in a
process of their own, by turns. ``Saver`` is ``save`` and ``restore``; its files are then forced to the disk, which it
leaves to the system, and timed apart. ``expkit`` is a snapshot, the store's save (values, inference graph, record with
checksums, forced to the disk) and what a run does when it goes on: finding the newest checkpoint that is whole, and
restoring it. Peak memory is the process's. The goals: at most 1.2 times the time, 1.3 times the memory.

The last lines tell how long a loop of steps is held up by a save: taking the snapshot, and the step after it, which
gives the variables new memory, compared with a step without a save and with copying the values once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from expkit.checkpoints.store import CheckpointStore
from expkit.checkpoints.writer import CheckpointWriter
from expkit.config.load import validate
from expkit.data.dataset import load_dataset
from expkit.preflight import check
from expkit.training.executor import Executor
from expkit.training.graphs import TrainGraph, train_graph
from expkit.training.loop import restore_newest

UNITS = 4096
TIME_GOAL, MEMORY_GOAL = 1.2, 1.3


def graph(folder: Path, layers: int) -> TrainGraph:
    """Build a graph that trains dense layers; SGD without averages, so that a step is short."""
    draw = np.random.default_rng(0)
    x = draw.random((8, UNITS), np.float32)
    np.savez(folder / "data.npz", allow_pickle=False, x=x, label=x)
    dense = {"kind": "dense", "units": UNITS, "use_bias": False}
    loss = {"kind": "mean_squared_error", "output": "y", "labels": "label"}
    config = validate(
        {
            "run": {"name": "bench", "folder": str(folder)},
            "network": {
                "inputs": {"x": {"shape": [UNITS]}},
                "layers": {f"layer{number}": dense for number in range(layers)},
                "outputs": {"y": f"layer{layers - 1}"},
            },
            "data": {
                "source": {"kind": "npz", "path": str(folder / "data.npz")},
                "split": {"train": [0, 4], "valid": None, "test": [4, 8]},
            },
            "optimizer": {"kind": "sgd", "learning_rate": 1e-6},
            "train": {"steps": 1, "batch_size": 4, "losses": {"main": loss}},
            "ema": {"enabled": False},
            "restore": {},
            "export": {},
            "tracking": {"enabled": False},
        }
    )
    spec = check(config)
    return train_graph(config, spec, load_dataset(config, spec))


def timed(act: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def peak() -> float:
    """Return the most memory that this process has had, in gigabytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e6


def force(folder: Path) -> None:
    """Force the files of a folder to the disk."""
    for path in folder.iterdir():
        opened = os.open(path, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def saver(built: TrainGraph, folder: Path) -> dict[str, float]:
    """Save and restore as a program without expkit does."""
    with Executor(built) as executor, built.graph.as_default():
        executor.initialize()
        session, prefix = executor._session, str(folder / "model")
        saved = timed(lambda: built.saver.save(session, prefix, write_meta_graph=False))
        forced = timed(lambda: force(folder))
        return {
            "save": saved,
            "force": forced,
            "restore": timed(lambda: built.saver.restore(session, prefix)),
            "peak": peak(),
        }


def own(built: TrainGraph, folder: Path) -> dict[str, float]:
    """Save and restore as expkit does."""
    store = CheckpointStore(folder / "checkpoints", keep_last=1, best_metric=None, best_mode="max")
    with Executor(built) as executor:
        executor.initialize()
        saved = timed(lambda: store.save(executor.snapshot(), b"graph", 0, {}, {}))
        return {"save": saved, "restore": timed(lambda: restore_newest(store, executor)), "peak": peak()}


def copying(executor: Executor) -> float:
    """Return how many seconds it takes to copy the values once, in memory."""
    values = executor.values(executor.names)
    return timed(lambda: [value.copy() for value in values.values()])


def held_up(built: TrainGraph, folder: Path) -> dict[str, float]:
    """Train with a save under way."""
    store = CheckpointStore(folder / "checkpoints", keep_last=1, best_metric=None, best_mode="max")
    with Executor(built) as executor, CheckpointWriter(store) as writer:
        executor.initialize()
        executor.run(1)
        step = statistics.median(timed(lambda: executor.run(1)) for _ in range(3))
        copied = copying(executor)
        executor.run(1)
        snapshot = timed(lambda: writer.save(executor.snapshot(), b"graph", 0, {}, {}))
        after = timed(lambda: executor.run(1))
        return {"step": step, "copy": copied, "snapshot": snapshot, "after": after, "peak": peak()}


ACTS = {"saver": saver, "expkit": own, "held up": held_up}


def measured(act: str, layers: int, place: str | None) -> dict[str, float]:
    """Do something in a process of its own; return what it printed."""
    os.sync()  # what was written before is not to be paid for now
    with tempfile.TemporaryDirectory(dir=place) as folder:
        command = [sys.executable, __file__, "--act", act, "--layers", str(layers), "--folder", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--folder", help="where to write; the system's folder for temporary files")
    parser.add_argument("--act", choices=ACTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.act:
        folder = Path(given.folder)
        print(json.dumps(ACTS[given.act](graph(folder, given.layers), folder)))
        return
    runs: dict[str, list[dict[str, float]]] = {"saver": [], "expkit": []}
    for turn in range(given.rounds):
        for act in list(runs) if turn % 2 else reversed(runs):
            runs[act].append(measured(act, given.layers, given.folder))
    middle = {
        act: {name: statistics.median(run[name] for run in found) for name in found[0]} for act, found in runs.items()
    }
    bare, ours = middle["saver"], middle["expkit"]
    print(f"{given.layers * UNITS * UNITS * 4 / 1e9:.2f} GB of variables, medians of {given.rounds} rounds")
    print(f"{'':10}{'Saver':>9}{'expkit':>9}{'ratio':>8}{'goal':>6}")
    ratios = {}
    for name, unit, goal in (("save", "s", TIME_GOAL), ("restore", "s", TIME_GOAL), ("peak", "GB", MEMORY_GOAL)):
        ratios[name] = ours[name] / bare[name]
        print(f"{name:10}{bare[name]:6.2f} {unit:2}{ours[name]:6.2f} {unit:2}{ratios[name]:8.2f}{goal:6.1f}")
    durable = bare["save"] + bare["force"]
    print(f"Saver and forcing its files to the disk: {durable:.2f} s, ratio {ours['save'] / durable:.2f}")
    loop = measured("held up", given.layers, given.folder)
    print(
        f"a step {loop['step']:.2f} s; a save holds steps up for {loop['snapshot']:.3f} s, the step after it takes "
        f"{loop['after']:.2f} s; copying the values {loop['copy']:.2f} s; peak with steps {loop['peak']:.2f} GB"
    )
    sys.exit(ratios["save"] > TIME_GOAL or ratios["restore"] > TIME_GOAL or ratios["peak"] > MEMORY_GOAL)


if __name__ == "__main__":
    main()
