"""How fast the commands that need no TensorFlow answer: best of three, each a process of its own.

Usage: python benchmarks/startup.py

Prints seconds per command and the ratio to a bare Python start; every command but Hydra's own help is to answer in
under one second, and TensorFlow and MLflow must not be imported by any of them (checked with ``-X importtime``).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT_SECONDS = 1.0
OF_199 = ("--config-dir", str(Path(__file__).parent / "conf"), "network=bench_names")
COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "expkit --help": (("--help",), 0),
    "expkit names": (("names",), 0),
    "expkit names network=siamese": (("names", "experiment=siamese"), 0),
    "expkit names, 199 variables": (("names", *OF_199), 0),
    "expkit names --graph, 199 variables": (("names", *OF_199, "--graph", "network.svg"), 0),
    "expkit schema": (("schema",), 0),
    "expkit train --help (Hydra's)": (("train", "--help"), 0),
    "unknown field": (("train", "network.layers.layer1.unit=5"), 2),
    "unknown kind": (("train", "network.layers.layer1.kind=dens"), 2),
    "wrong type": (("train", "train.steps=abc"), 2),
    "unknown group file": (("train", "network=foo"), 2),
    "existing variable": (("train", "experiment=siamese", "network.layers.right_tower.reuse=false"), 2),
}


UNLIMITED = ("expkit train --help (Hydra's)",)
"""Printed for comparison: Hydra composes and prints the whole configuration there."""


def best_of_three(words: Sequence[str], expected: int, folder: str) -> float:
    """Return the shortest time of three runs, in seconds."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, check=False)
        times.append(time.perf_counter() - begun)
        if done.returncode != expected:
            raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return min(times)


def imports_heavy(words: Sequence[str], folder: str) -> list[str]:
    """Return which of TensorFlow and MLflow a command imports."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return sorted(names & {"tensorflow", "mlflow"})


def main() -> None:
    """Measure and print; exit 1 when a command is too slow or imports too much."""
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        bare = best_of_three(("-c", "pass"), 0, folder)
        print(f"{'command':36}  seconds  x bare Python ({bare:.3f} s)")
        for name, (words, expected) in COMMANDS.items():
            words = ("-m", "expkit", *words)
            seconds = best_of_three(words, expected, folder)
            heavy = imports_heavy(words, folder)
            slow = seconds >= LIMIT_SECONDS and name not in UNLIMITED
            failed |= slow or bool(heavy)
            note = f"  imports {', '.join(heavy)}" if heavy else "  too slow" if slow else ""
            print(f"{name:36}  {seconds:7.3f}  {seconds / bare:5.1f}{note}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
