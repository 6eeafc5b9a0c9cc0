"""Memory and speed of training on data larger than memory.

Usage: python benchmarks/streamed.py [--gigabytes 8] [--steps 600] [--hidden 500]

Writes random float32 images and labels as .npy files to a temporary folder, trains on them with ``experiment.run`` in
a process of its own, and deletes them. The memory is the process's peak resident set as the system counts it (VmHWM
of /proc/self/status), mapped pages of files among it, from its start to its end: the pass that checks every value,
training, evaluation, freezing. The same training on 20,000 of the images, resident and streamed, gives the ratio.
The last line reads 20,000 images from a TFRecord file, and gives the part of that time that goes into checksums.
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

        def start(self, step: int, last: int) -> None:
            """Show nothing."""

        def advance(self, step: int, shown: Any) -> None:
            """Show nothing."""

        def note(self, text: str) -> None:
            """Show nothing."""

        def warn(self, text: str) -> None:
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


def checksums(file: Path) -> tuple[float, float]:
    """Return the seconds of reading a TFRecord file of small images, and of computing its checksums alone."""
    import google_crc32c

    from expkit import tf1 as tf
    from expkit.kinds.sources.on_disk import scan
    from expkit.kinds.sources.tfrecord import TFRecord
    from expkit.kinds.sources.tfrecord_feature import Feature

    draw, serialized = np.random.default_rng(0), []
    for label in draw.integers(0, 10, SMALL):
        image = tf.train.BytesList(value=[draw.integers(0, 256, PIXELS, np.uint8).tobytes()])
        feature = {
            "image": tf.train.Feature(bytes_list=image),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        serialized.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in serialized:
            writer.write(record)
    begun = time.perf_counter()
    images = TFRecord(files=str(file), features={"image": Feature(shape=(PIXELS,), dtype="uint8")}).load()["image"]
    for _ in scan(images):
        pass
    between = time.perf_counter()
    for record in serialized:
        google_crc32c.value(record[:8])
        google_crc32c.value(record)
    return between - begun, time.perf_counter() - between


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
        reading, summing = checksums(folder / "images.tfrecord")
    print(f"large: {count:,} images, {count * (4 * PIXELS + 8) / 1e9:.2f} GB on disk; small: {SMALL + SCORED:,}")
    best = rows["small, resident"]["steps_per_second"]
    for title, row in rows.items():
        print(
            f"{title:16} peak resident set {row['peak_gigabytes']:.2f} GB   {row['steps_per_second']:7,.0f} steps/s "
            f"({row['steps_per_second'] / best:.2f} of resident)   {row['seconds']:5.1f} s in all"
        )
    print(f"TFRecord: {SMALL:,} images read at {SMALL / reading:,.0f}/s, {summing / reading:.1%} of it for checksums")


if __name__ == "__main__":
    main()
