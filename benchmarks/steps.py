"""Steps per second of expkit beside its alternatives, in one run.

Usage: python benchmarks/steps.py [--workloads mlp_500,mlp_32,...] [--rounds 5] [--seconds 2]
       [--others PYTHON]

Every program is a process of its own that pauses after each chunk of steps; the programs take turns, so that one runs
at a time and all meet the same machine. expkit runs its whole path (a run with MLflow, metrics every 100 steps and
EMA) and is timed between two reports of progress; Keras is timed between batch callbacks. A setting slower than 0.8
of the best of its kind in the first round ends after it: paused programs hold memory, and the longer they pause the
more of it has to be read back. The table gives medians and the ratio to the best setting of each kind of peer. 20,000
random images, SGD, EMA.

Peers: Keras 3 ``fit`` with ``steps_per_execution=100``; a hand-written ``tf.function`` loop over ``tf.data``; a
``tf.compat.v1`` session with a ``tf.data`` iterator and ``make_callable``. The bfloat16 workloads set Keras'
``mixed_bfloat16`` policy; the hand-written ones cast weights and activations. Where a name ends in ``_1``, an operation
has one thread (``TF_NUM_INTRAOP_THREADS``), which expkit's ``train.parallelism`` may choose, too. ``products`` are the
two large matrix products of ``mlp_500`` alone, in NumPy: the bound that ``mlp_500`` is compared with.

Below each row: the execution mode that expkit chose, and the lower bound of the step time (benchmarks/steps_bound.py).

``--others`` adds PyTorch and JAX (benchmarks/steps_others.py), run by another interpreter that has them; neither is a
dependency of expkit.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
EXAMPLES, CHUNK, EMA_DECAY, RATE = 20_000, 100, 0.99, 0.01
WARM_SECONDS, CLOSE = 0.5, 0.8

ONE_THREAD = "_1"
BOUNDS = ("bound", "bound_1", "bound_jit", "bound_jit_1")
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A network, its batch size and its precision."""

    batch_size: int
    network: str
    """``mlp``, ``cnn`` or ``lstm``."""
    hidden: tuple[int, ...]
    """Units of the dense layers before the last, or of the LSTM."""
    bfloat16: bool = False
    goals: tuple[float, float] = (1.0, 1.0)
    """Smallest ratio to aim for beside the best Keras setting, and beside the best ``tf.function`` loop."""


WORKLOADS = {
    "mlp_500": Workload(100, "mlp", (500,), goals=(1.8, 1.8)),
    "mlp_32": Workload(100, "mlp", (32,), goals=(2.5, 2.0)),
    "mlp_2048_bf16": Workload(256, "mlp", (2048, 2048), bfloat16=True, goals=(1.5, 1.2)),
    "cnn": Workload(64, "cnn", (512,), goals=(1.1, 1.05)),
    "cnn_bf16": Workload(64, "cnn", (512,), bfloat16=True, goals=(1.3, 1.2)),
    "lstm": Workload(64, "lstm", (128,), goals=(1.5, 1.1)),
}
KERAS = ("keras", "keras_1", "keras_jit", "keras_jit_1")
FUNCTIONS = ("function", "function_1", "function_jit", "function_jit_1")
SESSIONS = ("session", "session_1")
PEERS = ("expkit", *KERAS, *FUNCTIONS, *SESSIONS)
OTHERS = ("torch", "jax")


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return random images and labels, the same for every program."""
    draw = np.random.default_rng(0)
    return draw.random((EXAMPLES + 100, 784), np.float32), draw.integers(0, 10, EXAMPLES + 100)


def first_values(work: Workload) -> tuple[list[Pair], list[Pair]]:
    """Return the kernels and biases that the hand-written programs start with: of the convolutions, of the others."""
    draw = np.random.default_rng(1)

    def pair(*shape: int) -> Pair:
        kernel = draw.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        return kernel.astype(np.float32), np.zeros(shape[-1], np.float32)

    if work.network == "lstm":
        return [], [pair(28 + work.hidden[0], 4 * work.hidden[0]), pair(work.hidden[0], 10)]
    convolutions = [pair(5, 5, *channels) for channels in ((1, 32), (32, 64))] if work.network == "cnn" else []
    widths = [7 * 7 * 64 if work.network == "cnn" else 784, *work.hidden, 10]
    return convolutions, [pair(*sizes) for sizes in itertools.pairwise(widths)]


class Pacer:
    """Times chunks between two points of a running program, and makes it wait for its turn.

    What it does in the first half second of a turn, and one chunk at least, does not count: its memory has been idle.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._steps = 0
        self._turn = 0.0
        self._wanted: float | None = None

    def reached(self, steps: int) -> None:
        """Say that so many steps were done since the last call."""
        now = time.perf_counter()
        if self._wanted is None:
            print("ready", flush=True)
        elif self._begun is None:
            self._begun = now if now - self._turn >= WARM_SECONDS else None
            return
        else:
            self._steps += steps
            if now - self._begun < self._wanted:
                return
            print(self._steps / (now - self._begun), flush=True)
        word = sys.stdin.readline().strip()
        if not word:
            os._exit(0)
        self._wanted, self._steps, self._begun, self._turn = float(word), 0, None, time.perf_counter()


def experiment(work: Workload, folder: Path) -> list[str]:
    """Write the images into a folder; return the overrides of a long run of expkit on them."""
    x, y = images()
    np.savez(folder / "data.npz", image=x, label=y)
    units = [f"network.layers.hidden{number}.units={units}" for number, units in enumerate(work.hidden, 1)]
    return [
        f"run.folder={folder}", f"network=bench_{work.network}{len(work.hidden)}", *units,
        f"train.precision={'bfloat16' if work.bfloat16 else 'float32'}",
        "data=npz", f"data.source.path={folder}/data.npz", f"data.split.train=[0,{EXAMPLES}]", "data.split.valid=null",
        f"data.split.test=[{EXAMPLES},{EXAMPLES + 100}]", "optimizer=sgd", f"optimizer.learning_rate={RATE}",
        f"ema.decay={EMA_DECAY}", "train.steps=10000000", f"train.batch_size={work.batch_size}",
        "train.best_metric=null", "train.save_every_steps=1000000", "train.evaluate_every_steps=1000000",
    ]  # fmt: skip


def run_expkit(work: Workload) -> None:
    """Run a whole experiment with everything on."""
    from expkit.config.load import load
    from expkit.experiment import Experiment
    from expkit.experiment import run as run_experiment
    from expkit.preflight import check
    from expkit.run_folder import RunFolder
    from expkit.tracking.recorder import Recorder
    from expkit.tracking.tracker import MlflowTracker
    from expkit.training.execution import ExecutionChoice

    folder = Path(tempfile.mkdtemp())
    overrides = experiment(work, folder)
    config = load(overrides, [str(HERE / "conf")])
    run = RunFolder.create(folder / "run", config, overrides)
    pacer, last, warm = Pacer(), [0], [0]

    class Paced:
        """Progress that waits for its turn."""

        def start(self, step: int, last: int) -> None:
            """Show nothing."""

        def advance(self, step: int, shown: Any) -> None:
            done, last[0], warm[0] = step - last[0], step, warm[0] + 1
            if warm[0] == 1:
                print(ExecutionChoice.of(run.state()["execution"]))
            if warm[0] > 2:
                pacer.reached(done)

        def note(self, text: str) -> None:
            """Show nothing."""

        def warn(self, text: str) -> None:
            """Show nothing."""

    run_experiment(Experiment.of(check(config), run), MlflowTracker(Recorder(), config, run), Paced())


def run_keras(work: Workload, jit: bool) -> None:
    """Run Keras' ``fit``."""
    import keras

    if work.bfloat16:
        keras.config.set_dtype_policy("mixed_bfloat16")
    layers: list[Any] = [keras.Input((784,))]
    if work.network == "lstm":
        layers += [keras.layers.Reshape((28, 28)), keras.layers.LSTM(work.hidden[0])]
    if work.network == "cnn":
        layers.append(keras.layers.Reshape((28, 28, 1)))
        for filters in (32, 64):
            layers += [keras.layers.Conv2D(filters, 5, padding="same", activation="relu"), keras.layers.MaxPooling2D()]
        layers.append(keras.layers.Flatten())
    if work.network != "lstm":
        layers += [keras.layers.Dense(units, activation="relu") for units in work.hidden]
    model = keras.Sequential([*layers, keras.layers.Dense(10), keras.layers.Activation("linear", dtype="float32")])
    model.compile(
        keras.optimizers.SGD(RATE, use_ema=True, ema_momentum=EMA_DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit,
        steps_per_execution=CHUNK,
    )
    pacer, seen = Pacer(), [0]

    class Paced(keras.callbacks.Callback):
        """Callback that waits for its turn."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen[0] += 1
            if seen[0] > 2:
                pacer.reached(CHUNK)

    x, y = images()
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x[:EXAMPLES], y[:EXAMPLES])).shuffle(EXAMPLES)
    data = data.repeat().batch(work.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    model.fit(data, epochs=1, steps_per_epoch=10_000_000, verbose=0, callbacks=[Paced()])


def network(tf: Any, work: Workload) -> tuple[list[Any], Callable[[Any, Any], Any]]:
    """Return a hand-written network's variables, and its loss of a batch."""
    convolutions, dense = (
        [tuple(tf.Variable(value) for value in pair) for pair in pairs] for pairs in first_values(work)
    )

    def used(value: Any) -> Any:
        return tf.cast(value, tf.bfloat16) if work.bfloat16 else value

    def recurrent(x: Any) -> Any:
        """Return the last output: the inputs' products in one go, then a step per row."""
        kernel, bias = dense[0]
        units = work.hidden[0]
        rows = tf.reshape(x, (-1, 28, 28))
        projected = tf.transpose(tf.tensordot(rows, kernel[:28], 1) + bias, (1, 0, 2))
        hidden = cell = tf.zeros((work.batch_size, units))
        for row in tf.unstack(projected, 28):
            i, j, f, o = tf.split(row + hidden @ kernel[28:], 4, axis=1)
            cell = cell * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
            hidden = tf.tanh(cell) * tf.sigmoid(o)
        return hidden

    def loss(x: Any, y: Any) -> Any:
        x = used(x)
        if work.network == "cnn":
            x = tf.reshape(x, (-1, 28, 28, 1))
            for kernel, bias in convolutions:
                x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, used(kernel), 1, "SAME"), used(bias)))
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            x = tf.reshape(x, (work.batch_size, -1))
        if work.network == "lstm":
            x = recurrent(x)
        else:
            for kernel, bias in dense[:-1]:
                x = tf.nn.relu(tf.nn.bias_add(x @ used(kernel), used(bias)))
        logits = tf.cast(tf.nn.bias_add(x @ used(dense[-1][0]), used(dense[-1][1])), tf.float32)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))

    return [part for pair in convolutions + dense for part in pair], loss


def run_function(work: Workload, jit: bool) -> None:
    """Run a ``tf.function`` loop over ``tf.data``, 100 steps a call; the step is what XLA compiles."""
    import tensorflow as tf

    variables, loss = network(tf, work)
    shadows = [tf.Variable(variable) for variable in variables]

    @tf.function(jit_compile=jit)
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(x, y)
        for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
            variable.assign_sub(RATE * gradient)
        for variable, shadow in zip(variables, shadows, strict=True):
            shadow.assign_sub((shadow - variable) * (1 - EMA_DECAY))
        return value

    @tf.function
    def steps(batches: Any) -> Any:
        total = tf.constant(0.0)
        for _ in tf.range(CHUNK):
            x, y = next(batches)
            total += step(x, y)
        return total

    x, y = images()
    data = tf.data.Dataset.from_tensor_slices((x[:EXAMPLES], y[:EXAMPLES])).shuffle(EXAMPLES).repeat()
    batches = iter(data.batch(work.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE))
    steps(batches)
    pacer = Pacer()
    while True:
        float(steps(batches))
        pacer.reached(CHUNK)


def run_session(work: Workload) -> None:
    """Run a ``tf.compat.v1`` session over a ``tf.data`` iterator."""
    import tensorflow.compat.v1 as tf

    x, y = images()
    with tf.Graph().as_default():
        holders = tf.placeholder(tf.float32, (EXAMPLES, 784)), tf.placeholder(tf.int64, (EXAMPLES,))
        data = tf.data.Dataset.from_tensor_slices(holders).shuffle(EXAMPLES).repeat()
        iterator = tf.data.make_initializable_iterator(
            data.batch(work.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        )
        variables, loss = network(tf, work)
        value = loss(*iterator.get_next())
        average = tf.train.ExponentialMovingAverage(EMA_DECAY)
        with tf.control_dependencies([tf.train.GradientDescentOptimizer(RATE).minimize(value, var_list=variables)]):
            done = average.apply(variables)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(iterator.initializer, {holders[0]: x[:EXAMPLES], holders[1]: y[:EXAMPLES]})
            call = session.make_callable([value, done])
            pacer = Pacer()
            while True:
                for _ in range(CHUNK):
                    call()
                pacer.reached(CHUNK)


def run_products(work: Workload) -> None:
    """Multiply as one step of the first layer does, forwards and backwards, with NumPy."""
    draw = np.random.default_rng(0)
    sizes = ((work.batch_size, 784), (784, work.hidden[0]), (work.batch_size, work.hidden[0]))
    x, kernel, gradient = (draw.random(size, np.float32) for size in sizes)
    pacer = Pacer()
    while True:
        for _ in range(CHUNK):
            x @ kernel
            x.T @ gradient
        pacer.reached(CHUNK)


def work_as(peer: str, work: Workload) -> None:
    """Be one of the programs."""

    def bound(jit: bool) -> None:
        from steps_bound import run_bound

        run_bound(work, jit)

    runners: dict[str, Callable[[], None]] = {
        "expkit": lambda: run_expkit(work),
        "keras": lambda: run_keras(work, False),
        "keras_jit": lambda: run_keras(work, True),
        "function": lambda: run_function(work, False),
        "function_jit": lambda: run_function(work, True),
        "session": lambda: run_session(work),
        "products": lambda: run_products(work),
        "bound": lambda: bound(False),
        "bound_jit": lambda: bound(True),
    }
    runners[peer.removesuffix(ONE_THREAD)]()


def installed(python: str, names: Sequence[str]) -> list[str]:
    """Return which of the modules an interpreter can import."""
    tried = {name: subprocess.run([python, "-c", f"import {name}"], capture_output=True) for name in names}
    return [name for name, process in tried.items() if process.returncode == 0]


def measure(
    name: str, peers: Sequence[str], python: str, rounds: int, seconds: float
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the median steps per second of every program on a workload, and what it said before.

    ``python`` runs those of OTHERS.
    """
    processes, said = {}, {}
    for peer in peers:
        command = [sys.executable, __file__, "--worker", peer, "--workloads", name]
        if peer in OTHERS:
            command = [python, str(HERE / "steps_others.py"), peer, name]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if peer.endswith(ONE_THREAD):
            environment["TF_NUM_INTRAOP_THREADS"] = "1"
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        said[peer] = ""
        while (line := process.stdout.readline()) != "ready\n":
            if not line:
                raise SystemExit(f"{peer} on {name} ended: {' '.join(command)}")
            said[peer] += line
        processes[peer] = process
    speeds: dict[str, list[float]] = {peer: [] for peer in processes}

    def end(peer: str) -> None:
        process = processes.pop(peer)
        process.kill()
        process.wait()

    for _ in range(rounds):
        for peer, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
            speeds[peer].append(float(process.stdout.readline()))
        for kind in (KERAS, FUNCTIONS, SESSIONS, BOUNDS):
            left = [peer for peer in kind if peer in processes]
            best = max((speeds[peer][0] for peer in left), default=0.0)
            for peer in left:
                if speeds[peer][0] < CLOSE * best:
                    end(peer)
    for peer in list(processes):
        end(peer)
    return {peer: statistics.median(values) for peer, values in speeds.items()}, said


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--others", default="", metavar="PYTHON", help="an interpreter that has torch or jax")
    parser.add_argument("--worker", choices=(*PEERS, *BOUNDS, "products"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work_as(given.worker, WORKLOADS[given.workloads])
        return
    others = OTHERS if given.others else ()
    columns = (*PEERS, *others)
    present = (*PEERS, *installed(given.others, others))
    print(f"{'workload':14}" + "".join(f"{peer:>15}" for peer in columns) + f"{'/ Keras':>9}{'goal':>6}", end="")
    print(f"{'/ function':>12}{'goal':>6}{'/ session':>11}" + "".join(f"{'/ ' + peer:>9}" for peer in others))
    for name in given.workloads.split(","):
        work = WORKLOADS[name]
        bounds = BOUNDS if work.network == "mlp" and not work.bfloat16 else BOUNDS[:2]
        peers = (*present, *bounds, *(["products"] if name == "mlp_500" else []))
        medians, said = measure(name, peers, given.others, given.rounds, given.seconds)
        own = medians["expkit"]
        keras, function, session = (own / max(medians[peer] for peer in kind) for kind in (KERAS, FUNCTIONS, SESSIONS))
        cells = "".join(f"{medians[peer]:15,.0f}" if peer in medians else f"{'no import':>15}" for peer in columns)
        print(f"{name:14}{cells}{keras:9.2f}{work.goals[0]:6.2f}{function:12.2f}{work.goals[1]:6.2f}", end="")
        print(f"{session:11.2f}", end="")
        print("".join(f"{own / medians[peer]:9.2f}" if peer in medians else f"{'-':>9}" for peer in others), flush=True)
        print(f"  expkit: {said['expkit']}", end="")
        least = max(medians[peer] for peer in bounds)
        print(f"  lower bound of the step time: {least:,.0f} steps/s,", end="")
        print(f" {least / own * keras:.2f} / Keras, {least / own * function:.2f} / function", flush=True)
        if "products" in medians:
            print(
                f"  of the {medians['products']:,.0f} steps/s of its two large products in NumPy, expkit reaches",
                end="",
            )
            print(
                f" {own / medians['products']:.2f} (goal 0.80), the bound {least / medians['products']:.2f}", flush=True
            )


if __name__ == "__main__":
    main()
