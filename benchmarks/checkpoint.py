"""Saving and restoring 1 GB of variables: expkit's checkpoints beside a bare ``tf.train.Saver``.

Usage: python benchmarks/checkpoint.py [--rounds 5] [--layers 16] [--folder PATH]

Both use the same graph and session, expkit's for training, of dense layers of 4096 x 4096 float32 (64 MB each), in turn
in one process; for peak memory each has a process of its own. Both keep two checkpoints and delete the oldest as a part
of saving. ``Saver`` is ``save`` and ``restore``; its files are then forced to disk, and timed separately.
``expkit`` is a snapshot, the store's save (values, inference graph, record with checksums; the checkpoint before it is
forced to the disk) and the start of a resumed run: finding the newest whole checkpoint, and restoring it.
The goals: at most 1.2 times the time, 1.3 times the memory.

The last lines give the delay of a loop of steps by a save: taking the snapshot, and the step after it, which
gives the variables new memory, compared with a step without a save and with copying the values once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
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
from expkit.training.graphs import TrainGraph, train_graph
from expkit.training.loop import restore_newest
from expkit.training.sessions import Executor

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
    checked = check(config)
    return train_graph(checked, load_dataset(config, checked.spec))


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


def times(built: TrainGraph, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Save and restore by turns, as a program without expkit does and as expkit does, in one session."""
    found: dict[str, list[float]] = {}

    def note(name: str, act: Callable[[], Any]) -> None:
        found.setdefault(name, []).append(timed(act))

    with Executor(built) as executor, built.graph.as_default():
        executor.initialize()

        def bare(turn: int) -> None:
            session, place = executor._session, folder / "bare" / str(turn)
            prefix, old = str(place / "model"), folder / "bare" / str(turn - 2)
            place.mkdir(parents=True)

            def save() -> None:
                built.saver.save(session, prefix, write_meta_graph=False)
                shutil.rmtree(old, ignore_errors=True)

            note("Saver save", save)
            note("Saver force", lambda: force(place))
            note("Saver restore", lambda: built.saver.restore(session, prefix))

        store = CheckpointStore(folder / "own", keep_last=2, best_metric=None, best_mode="max")

        def own(turn: int) -> None:
            note("expkit save", lambda: store.save(executor.snapshot(), b"graph", turn, {}, {}))
            note("expkit restore", lambda: restore_newest(store, executor))

        for turn in range(rounds + 2):
            for act in (bare, own) if turn % 2 else (own, bare):
                os.sync()  # what was written before is not to be paid for now
                act(turn)
    return {name: values[2:] for name, values in found.items()}  # The first two warm memory, and delete nothing.


def peak_of_saver(built: TrainGraph, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Save and restore once without expkit."""
    with Executor(built) as executor, built.graph.as_default():
        executor.initialize()
        built.saver.save(executor._session, str(folder / "model"), write_meta_graph=False)
        built.saver.restore(executor._session, str(folder / "model"))
    return {"peak": [peak()]}


def peak_of_expkit(built: TrainGraph, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Save and restore once by expkit."""
    store = CheckpointStore(folder / "checkpoints", keep_last=1, best_metric=None, best_mode="max")
    with Executor(built) as executor:
        executor.initialize()
        store.save(executor.snapshot(), b"graph", 0, {}, {})
        restore_newest(store, executor)
    return {"peak": [peak()]}


def copying(executor: Executor) -> float:
    """Return how many seconds it takes to copy the values once, in memory."""
    values = executor.values(executor.names)
    return timed(lambda: [value.copy() for value in values.values()])


def held_up(built: TrainGraph, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Train with saves under way."""
    store = CheckpointStore(folder / "checkpoints", keep_last=1, best_metric=None, best_mode="max")
    found: dict[str, list[float]] = {"step": [], "snapshot": [], "step after": []}
    with Executor(built) as executor, CheckpointWriter(store) as writer:
        executor.initialize()
        executor.run(1)
        copied = copying(executor)
        for _ in range(rounds):
            found["step"].append(timed(lambda: executor.run(1)))
            found["snapshot"].append(timed(lambda: writer.save(executor.snapshot(), b"graph", executor.step, {}, {})))
            found["step after"].append(timed(lambda: executor.run(1)))
            writer.wait()
    return {**found, "copy": [copied], "peak": [peak()]}


ACTS = {"times": times, "Saver": peak_of_saver, "expkit": peak_of_expkit, "held up": held_up}


def measured(act: str, given: argparse.Namespace) -> dict[str, float]:
    """Do something in a process of its own; return the medians of what it printed."""
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        words = ["--act", act, "--layers", str(given.layers), "--rounds", str(given.rounds), "--folder", folder]
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--folder", help="where to write; the system's folder for temporary files")
    parser.add_argument("--act", choices=ACTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.act:
        folder = Path(given.folder)
        print(json.dumps(ACTS[given.act](graph(folder, given.layers), folder, given.rounds)))
        return
    took, loop = measured("times", given), measured("held up", given)
    took |= {f"{act} peak": measured(act, given)["peak"] for act in ("Saver", "expkit")}
    print(f"{given.layers * UNITS * UNITS * 4 / 1e9:.2f} GB of variables, medians of {given.rounds} rounds")
    print(f"{'':10}{'Saver':>9}{'expkit':>9}{'ratio':>8}{'goal':>6}")
    missed = False
    for name, unit, goal in (("save", "s", TIME_GOAL), ("restore", "s", TIME_GOAL), ("peak", "GB", MEMORY_GOAL)):
        bare, own = took[f"Saver {name}"], took[f"expkit {name}"]
        missed |= own > goal * bare
        print(f"{name:10}{bare:6.2f} {unit:2}{own:6.2f} {unit:2}{own / bare:8.2f}{goal:6.1f}")
    durable = took["Saver save"] + took["Saver force"]
    print(f"Saver and forcing its files to the disk {durable:.2f} s, ratio {took['expkit save'] / durable:.2f}")
    print(
        f"a step {loop['step']:.2f} s; a save holds steps up for {loop['snapshot']:.3f} s, the step after it takes "
        f"{loop['step after']:.2f} s; copying the values {loop['copy']:.2f} s; peak with steps {loop['peak']:.2f} GB"
    )
    sys.exit(missed)


if __name__ == "__main__":
    main()
