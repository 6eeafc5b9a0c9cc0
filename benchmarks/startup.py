"""Response time of the commands that need no TensorFlow: best of three, each a process of its own.

Usage: python benchmarks/startup.py

Prints seconds per command and the ratio to a bare Python start. Goals: every command but Hydra's own help in under
one second, with an extraordinarily large network or file in under two; none may import TensorFlow or MLflow (checked
with ``-X importtime``).
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


LAYERS = 5000
FAR: dict[str, tuple[str, int]] = {
    "5,000 layers": ("".join(f"  l{i}: {{kind: dense, units: 8}}\n" for i in range(LAYERS)), 0),
    "5,000 mistakes": ("".join(f"  l{i}: {{kind: dense, units: 8, input: none{i}}}\n" for i in range(LAYERS)), 2),
    "a file of 100 MB": (f"# {'x' * 100_000_000}\n", 2),
}
"""Layers of a network in a file of its own, and the exit code of ``expkit names`` on it."""
FAR_SECONDS = 2.0

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


def answers(name: str, words: Sequence[str], expected: int, folder: str, bare: float, limit: float) -> bool:
    """Measure a command and print its row; return whether it is quick and light enough."""
    words = ("-m", "expkit", *words)
    seconds = best_of_three(words, expected, folder)
    heavy = imports_heavy(words, folder)
    note = f"  imports {', '.join(heavy)}" if heavy else "  too slow" if seconds >= limit else ""
    print(f"{name:36}  {seconds:7.3f}  {seconds / bare:5.1f}{note}", flush=True)
    return not note


def main() -> None:
    """Measure and print; exit 1 when a command is too slow or imports too much."""
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        bare = best_of_three(("-c", "pass"), 0, folder)
        print(f"{'command':36}  seconds  x bare Python ({bare:.3f} s)")
        for name, (words, expected) in COMMANDS.items():
            limit = float("inf") if name in UNLIMITED else LIMIT_SECONDS
            failed |= not answers(name, words, expected, folder, bare, limit)
        network = Path(folder, "conf", "network", "mine.yaml")
        network.parent.mkdir(parents=True)
        for name, (layers, expected) in FAR.items():
            inputs, outputs = "inputs: {image: {shape: [64]}}", "outputs: {logits: logits}"
            network.write_text(f"{inputs}\nlayers:\n{layers}  logits: {{kind: dense, units: 10}}\n{outputs}\n")
            failed |= not answers(name, ("names", "network=mine"), expected, folder, bare, FAR_SECONDS)
    sys.exit(failed)


if __name__ == "__main__":
    main()
