"""The cost of an experiment beside its steps: ``expkit train`` from start to exit beside a script that only trains.

Usage: python benchmarks/overhead.py [--rounds 3] [--steps 3000]

Both are processes of their own, run in turn; the table gives medians of seconds from start to exit and their ratio,
whose goal is at most 1.25. expkit does everything: configuration, MLflow in SQLite, checkpoints, evaluation on a
validation and a test part, freezing with its proof. The script is hand-written ``tf.compat.v1``: data in the graph,
``make_callable``, EMA, one checkpoint at the end; it keeps TensorFlow from importing Keras, unless ``--keras`` is
given. 20,000 random images, 784-500-10, batch 100, SGD, EMA.

The breakdown is that of expkit's median run, from its ``run.log`` ("NAME took N s").
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
EXAMPLES, HELD_OUT, BATCH, EMA_DECAY, RATE = 20_000, 1_000, 100, 0.99, 0.01
GOAL = 1.25

_TOOK = re.compile(r"^(\S+ \S+) INFO expkit\S*: (.+) took ([\d.]+) s$", re.MULTILINE)
_STAMP = "%Y-%m-%d %H:%M:%S,%f"


def images() -> dict[str, np.ndarray]:
    """Return random images and labels: the training part, then one for validation and one for the test."""
    draw = np.random.default_rng(0)
    total = EXAMPLES + 2 * HELD_OUT
    return {"image": draw.random((total, 784), np.float32), "label": draw.integers(0, 10, total)}


def expkit_command(data: Path, folder: Path, steps: int) -> list[str]:
    """Return the command of the whole experiment."""
    ends = EXAMPLES, EXAMPLES + HELD_OUT, EXAMPLES + 2 * HELD_OUT
    return [
        *(sys.executable, "-m", "expkit", "train", "--config-dir", str(HERE / "conf")),
        *("network=bench_mlp1", "data=npz", f"data.source.path={data}", "optimizer=sgd"),
        *(f"data.split.train=[0,{ends[0]}]", f"data.split.valid=[{ends[0]},{ends[1]}]"),
        *(f"data.split.test=[{ends[1]},{ends[2]}]", f"optimizer.learning_rate={RATE}", f"ema.decay={EMA_DECAY}"),
        *(f"train.steps={steps}", f"train.batch_size={BATCH}", f"run.folder={folder}", f"hydra.run.dir={folder}/run"),
    ]


def run_script(data: Path, folder: Path, steps: int) -> None:
    """Be the hand-written script: train and save, nothing else."""
    import tensorflow.compat.v1 as tf

    arrays = np.load(data)
    draw = np.random.default_rng(1)
    with tf.Graph().as_default():
        feed: dict[Any, np.ndarray] = {}

        def held(array: np.ndarray) -> Any:
            feed[holder := tf.placeholder(array.dtype, array.shape)] = array
            return tf.Variable(holder, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES], use_resource=True)

        x, y = held(arrays["image"][:EXAMPLES]), held(arrays["label"][:EXAMPLES])
        indices = tf.random.uniform((BATCH,), maxval=EXAMPLES, dtype=tf.int64)
        hidden_kernel = tf.get_variable("hidden/kernel", initializer=draw.normal(0, 0.05, (784, 500)).astype("f"))
        hidden_bias = tf.get_variable("hidden/bias", initializer=np.zeros(500, "f"))
        logits_kernel = tf.get_variable("logits/kernel", initializer=draw.normal(0, 0.06, (500, 10)).astype("f"))
        logits_bias = tf.get_variable("logits/bias", initializer=np.zeros(10, "f"))
        hidden = tf.nn.relu(tf.matmul(tf.gather(x, indices), hidden_kernel) + hidden_bias)
        logits = tf.matmul(hidden, logits_kernel) + logits_bias
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.gather(y, indices), logits=logits)
        loss = tf.reduce_mean(losses)
        average = tf.train.ExponentialMovingAverage(EMA_DECAY)
        variables = tf.trainable_variables()
        step = tf.train.get_or_create_global_step()
        with tf.control_dependencies([tf.train.GradientDescentOptimizer(RATE).minimize(loss, global_step=step)]):
            done = average.apply(variables)
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()], feed)
            call = session.make_callable([loss, done])
            for number in range(1, steps + 1):
                value = call()[0]
                if number % 100 == 0:
                    print(number, value)
            saver.save(session, str(folder / "model"))


def seconds_of(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return when a process began, in seconds since the epoch, and how long it took."""
    stamp, begun = time.time(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    took = time.perf_counter() - begun
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr}")
    return stamp, took


def breakdown(log: str, began: float, total: float) -> list[tuple[str, float]]:
    """Return what a run's log says took how long, with what lies before its first and after its last line."""
    parts: dict[str, float] = {}
    moments = []
    for stamp, name, seconds in _TOOK.findall(log):
        moments.append((datetime.datetime.strptime(stamp, _STAMP).timestamp(), float(seconds)))
        parts[name] = parts.get(name, 0.0) + float(seconds)
    if not moments:
        return []
    first = min(moment - seconds for moment, seconds in moments) - began
    last = began + total - max(moment for moment, _ in moments)
    return [("start of Python, configuration", first), *parts.items(), ("end of the process", last)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--keras", action="store_true", help="let the script's TensorFlow import Keras, as it does")
    parser.add_argument("--script", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.script:
        run_script(given.script[0], given.script[1], given.steps)
        return
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    lean = environment if given.keras else {**environment, "TF_USE_LEGACY_KERAS": "1"}
    scripts, runs = [], []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        data = place / "data.npz"
        np.savez(data, allow_pickle=False, **images())
        for turn in range(given.rounds):
            folder = place / str(turn)
            folder.mkdir()
            command = [sys.executable, __file__, "--steps", str(given.steps), "--script", str(data), str(folder)]
            scripts.append(seconds_of(command, place, lean)[1])
            began, took = seconds_of(expkit_command(data, folder, given.steps), place, environment)
            runs.append((took, began, (folder / "run/run.log").read_text()))
    own, peer = statistics.median(took for took, _, _ in runs), statistics.median(scripts)
    print(f"{'script':10}{peer:8.2f} s   {', '.join(f'{took:.2f}' for took in scripts)}")
    print(f"{'expkit':10}{own:8.2f} s   {', '.join(f'{took:.2f}' for took, _, _ in runs)}")
    print(f"{'ratio':10}{own / peer:8.2f}     goal at most {GOAL}")
    took, began, log = sorted(runs)[len(runs) // 2]
    for part, seconds in breakdown(log, began, took):
        print(f"  {part:40}{seconds:7.2f} s")


if __name__ == "__main__":
    main()
