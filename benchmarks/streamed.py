"""Memory and speed of training on data larger than memory.

Usage: python benchmarks/streamed.py [--gigabytes 8] [--steps 600] [--hidden 500]

Writes random float32 images and labels as .npy files to a temporary folder, trains on them with ``experiment.run`` in
a process of its own, and deletes them. The memory is the process's peak resident set as the system counts it (VmHWM
of /proc/self/status), mapped pages of files among it, from its start to its end: the pass that checks every value,
training, evaluation, freezing. The same training on 20,000 of the images, resident and streamed, gives the ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PIXELS, CHUNK, SMALL, SCORED = 784, 20_000, 20_000, 1_000


def write(folder: Path, gigabytes: float) -> int:
    """Write the files chunk by chunk; return how many examples they hold."""
    count = max(SMALL + SCORED, int(gigabytes * 1e9 / (4 * PIXELS + 8)))
    draw = np.random.default_rng(0)
    image = np.lib.format.open_memmap(folder / "image.npy", "w+", np.float32, (count, PIXELS))
    label = np.lib.format.open_memmap(folder / "label.npy", "w+", np.int64, (count,))
    for start in range(0, count, CHUNK):
        rows = len(image[start : start + CHUNK])
        image[start : start + rows] = draw.random((rows, PIXELS), np.float32)
        label[start : start + rows] = draw.integers(0, 10, rows)
    image.flush()
    label.flush()
    return count


def train(asked: dict[str, Any]) -> None:
    """Run the experiment; print its speed and the process's peak memory."""
    from expkit.config.load import load
    from expkit.experiment import Experiment
    from expkit.experiment import run as run_experiment
    from expkit.preflight import check
    from expkit.run_folder import RunFolder
    from expkit.trackers import NoTracker

    class Unseen:
        """Progress that nobody watches."""

        def advance(self, step: int, shown: Any) -> None:
            """Show nothing."""

    data, count = asked["folder"], asked["count"]
    overrides = [
        f"run.folder={data}/runs", "network=bench_mlp1", f"network.layers.hidden1.units={asked['hidden']}",
        "data=arrays", f"data.source.fields={{image: {data}/image.npy, label: {data}/label.npy}}",
        f"data.placement={asked['placement']}", f"data.split.train=[0,{count - SCORED}]", "data.split.valid=null",
        f"data.split.test=[{count - SCORED},{count}]", "optimizer=sgd", "optimizer.learning_rate=0.01",
        f"train.steps={asked['steps']}", "train.batch_size=100", "train.jit_compile=false", "train.best_metric=null",
        "tracking=none",
    ]  # fmt: skip
    begun = time.perf_counter()
    config = load(overrides, [str(HERE / "conf")])
    folder = RunFolder.create(Path(asked["run"]), config, overrides)
    result = run_experiment(Experiment.of(check(config), folder), NoTracker(), Unseen())
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1e6
    took = time.perf_counter() - begun
    print(json.dumps({"steps_per_second": result.trained.steps_per_second, "peak_gigabytes": peak, "seconds": took}))


def measured(**asked: Any) -> dict[str, float]:
    """Train in a process of its own; return what it printed."""
    command = [sys.executable, __file__, "--train", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Write, train, print, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train is not None:
        train(arguments.train)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < arguments.gigabytes * 1e9 * 1.2:
            sys.exit(f"{folder} has {free / 1e9:.1f} GB free, {arguments.gigabytes * 1.2:.1f} are needed; set TMPDIR")
        count = write(folder, arguments.gigabytes)
        asked: dict[str, Any] = {"folder": name, "steps": arguments.steps, "hidden": arguments.hidden}
        rows = {
            "large, streamed": measured(**asked, run=f"{name}/large", count=count, placement="streamed"),
            "small, streamed": measured(**asked, run=f"{name}/small", count=SMALL + SCORED, placement="streamed"),
            "small, resident": measured(**asked, run=f"{name}/held", count=SMALL + SCORED, placement="resident"),
        }
    print(f"large: {count:,} images, {count * (4 * PIXELS + 8) / 1e9:.2f} GB on disk; small: {SMALL + SCORED:,}")
    best = rows["small, resident"]["steps_per_second"]
    for title, row in rows.items():
        print(
            f"{title:16} peak resident set {row['peak_gigabytes']:.2f} GB   {row['steps_per_second']:7,.0f} steps/s "
            f"({row['steps_per_second'] / best:.2f} of resident)   {row['seconds']:5.1f} s in all"
        )


if __name__ == "__main__":
    main()
