"""Speed of reading a user's own data beside tf.data: JPEG files, a table, sentences; memory and start of a training.

Usage: python benchmarks/data.py [--images 2000 8000] [--size 256] [--rows 200000] [--sentences 20000] [--repeat 3]
                                 [--train-images 20000]

Writes random data to a temporary folder and reads all of it in batches of 128, in this process: expkit by its sources,
``preprocess`` and its cache on disk, tf.data by Keras' functions with all that makes them fast (AUTOTUNE, ``cache``,
``prefetch``): ``image_dataset_from_directory``; pandas and the layers ``Normalization`` and ``StringLookup``; pandas
and ``TextVectorization``. Images become 64 x 64 pixels, numbers are standardized, words are numbered. tf.data caches in
memory, and in another turn in a file, as expkit does.

Cold is the first pass, with reading files, fitting and an empty cache; cached the next one over the same values in
their order, as an evaluation reads them; shuffled an epoch of training on cached images, in another order each time
(``shuffle`` of all examples after ``cache``). All take turns, the first of which does not count; a ratio is that of the
best times.

``--train-images`` writes so many JPEG files of 256 x 256 pixels, trains on them by ``expkit init`` and ``expkit
train``, each a process, and prints the training's peak resident memory, and the time in which another process has the
same data ready, besides the import of TensorFlow; 0 leaves that out. The cache lies in the temporary folder, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from expkit import tf1 as tf

BATCH, RESIZED, WORDS, LENGTH = 128, 64, 5000, 64
BLOCK = 64
"""Batches that training gathers and preprocesses at once."""
DRAWN = 200
"""Images that are drawn; the others have the same pixels in another file."""

Passes = dict[str, float]
"""Seconds of a pass, by its name."""


def write_images(folder: Path, count: int, size: int) -> None:
    """Write JPEG files of two classes; no two have the same bytes."""
    import io

    draw, drawn = np.random.default_rng(0), []
    for _ in range(min(count, DRAWN)):
        small = draw.integers(0, 256, (16, 16, 3), np.uint8)
        content = io.BytesIO()
        Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        drawn.append(content.getvalue())
    for index in range(count):
        content_of, comment = drawn[index % len(drawn)], struct.pack(">BBHI", 0xFF, 0xFE, 6, index)
        place = folder / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:06}.jpg").write_bytes(content_of[:2] + comment + content_of[2:])


def write_table(file: Path, rows: int) -> None:
    """Write a CSV file of eight columns of numbers and one of text."""
    import pandas

    draw = np.random.default_rng(0)
    table = pandas.DataFrame(draw.normal(5, 3, (rows, 8)).round(4), columns=[f"n{number}" for number in range(8)])
    table["city"] = [f"city {number}" for number in draw.integers(0, 50, rows)]
    table.to_csv(file, index=False)


def write_sentences(file: Path, count: int) -> None:
    """Write a CSV file of sentences of 5 to 40 words, frequent and rare ones."""
    draw = np.random.default_rng(0)
    words = [f"Word{number}" for number in range(20_000)]
    with file.open("w") as opened:
        opened.write("text\n")
        for length in draw.integers(5, 41, count).tolist():
            chosen = np.minimum(draw.zipf(1.3, length), len(words)) - 1
            opened.write('"' + ", ".join(words[place] for place in chosen.tolist()) + '."\n')


def seconds(call: Callable[[], object]) -> float:
    """Return the time that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def expkit_passes(
    load: Callable[[], Any], steps: Mapping[str, Sequence[Any]], cache: Path, *, shuffles: bool = False
) -> Passes:
    """Return the times of expkit for a source and the steps of its fields, with an empty cache."""
    from expkit.data.batches import Sampling, chunk_steps
    from expkit.data.kept import _preprocess_field
    from expkit.data.order import consecutive
    from expkit.data.prefetch import Stream

    os.environ["XDG_CACHE_HOME"] = str(cache)
    held: dict[str, tuple[Any, Any, Any, Any]] = {}

    def start() -> None:
        fields = load()
        for name, kinds in steps.items():
            field, kept = _preprocess_field(name, kinds, {"train": fields[name]}, keeps_all=False)
            with tf.Graph().as_default() as graph:
                read = tf.placeholder(field.kept_spec.dtype, (None, *field.kept_spec.shape))
                result = field.connect_in_step(read) if field.in_step else None
            held[name] = kept["train"].values, tf.Session(graph=graph), read, result

    def read() -> None:
        for values, session, fed, result in held.values():
            fields = {"values": values}
            for (block,) in consecutive(fields, BATCH * chunk_steps(fields, BLOCK, BATCH)):
                block = block if result is None else session.run(result, {fed: block})
                for place in range(0, len(block), BATCH):
                    block[place : place + BATCH].sum()

    def epoch(number: int) -> None:
        for block in range(number * blocks, (number + 1) * blocks):
            for fields in stream.chunk(block).values():
                for batch in fields:
                    batch.sum()

    found = {"cold": seconds(start) + seconds(read), "cached": seconds(read)}
    if shuffles:
        fields = {name: values for name, (values, *_) in held.items()}
        count = len(next(iter(fields.values())))
        length = chunk_steps(fields, count // BATCH, BATCH)
        blocks = count // BATCH // length
        stream = Stream(fields, length, Sampling(batch_size=BATCH, seed=0))
        epoch(0)
        found["shuffled"] = seconds(lambda: epoch(1)) * count / (blocks * length * BATCH)
        stream.close()
    return found


def tf_data_passes(load: Callable[[], Any], examples: Callable[[], Any] | None = None, cache: str = "") -> Passes:
    """Return the times of a tf.data pipeline.

    Args:
        load: the data set, in batches.
        examples: the same data set, example by example, where an epoch in another order is timed too.
        cache: the file in which it is cached; in memory if there is none.
    """

    def read(dataset: Any) -> None:
        for batch in dataset:
            for part in batch if isinstance(batch, tuple) else (batch,):
                part.numpy().sum()

    def first() -> None:
        datasets.append(load().cache(cache).prefetch(tf.data.AUTOTUNE))
        read(datasets[0])

    datasets: list[Any] = []
    found = {"cold": seconds(first), "cached": seconds(lambda: read(datasets[0]))}
    if examples is not None:
        own = examples().cache(f"{cache}-examples" if cache else "")
        shuffled = own.shuffle(len(own)).batch(BATCH, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
        read(shuffled)
        found["shuffled"] = seconds(lambda: read(shuffled))
    return found


def beside(own: Callable[[], Passes], other: Callable[[str], Passes], cache: Path) -> tuple[Passes, Passes, Passes]:
    """Return the times of expkit, and of tf.data with a cache in memory and with one in a file."""
    cache.mkdir()
    return own(), other(""), other(str(cache / "tf.data"))


def image_readers(folder: Path, cache: Path) -> tuple[Passes, Passes, Passes]:
    """Return the times of expkit and tf.data for image files."""
    import keras

    from expkit.kinds.preprocess.images import DecodeImage, Resize
    from expkit.kinds.sources.image_folder import ImageFolder

    def dataset(batch_size: int | None) -> Any:
        given = {"labels": None, "batch_size": batch_size, "image_size": (RESIZED, RESIZED), "verbose": False}
        return keras.utils.image_dataset_from_directory(folder, shuffle=False, **given)

    steps = {"image": (DecodeImage(), Resize(size=(RESIZED, RESIZED), antialias=False))}
    return beside(
        lambda: expkit_passes(ImageFolder(path=str(folder)).load, steps, cache, shuffles=True),
        lambda file: tf_data_passes(lambda: dataset(BATCH), lambda: dataset(None), file),
        cache,
    )


def table_readers(file: Path, cache: Path) -> tuple[Passes, Passes, Passes]:
    """Return the times of expkit and tf.data for numbers and categories."""
    import keras
    import pandas

    from expkit.kinds.preprocess.categories import OneHot, Vocabulary
    from expkit.kinds.preprocess.numbers import Standardize
    from expkit.kinds.sources.table import Table

    def dataset() -> Any:
        table = pandas.read_csv(file)
        numbers, cities = table.filter(like="n").to_numpy(np.float32), table["city"].to_numpy(str)
        scale, look_up = keras.layers.Normalization(), keras.layers.StringLookup(output_mode="one_hot")
        scale.adapt(numbers)
        look_up.adapt(cities)
        batches = tf.data.Dataset.from_tensor_slices((numbers, cities)).batch(BATCH)
        return batches.map(lambda x, city: (scale(x), look_up(city)), num_parallel_calls=tf.data.AUTOTUNE)

    numbers = tuple(f"n{number}" for number in range(8))
    source = Table(path=str(file), columns={"numbers": numbers, "city": "city"})
    steps = {"numbers": (Standardize(),), "city": (Vocabulary(), OneHot(depth=52))}
    return beside(
        lambda: expkit_passes(source.load, steps, cache), lambda file: tf_data_passes(dataset, cache=file), cache
    )


def text_readers(file: Path, cache: Path) -> tuple[Passes, Passes, Passes]:
    """Return the times of expkit and tf.data for sentences."""
    import keras
    import pandas

    from expkit.kinds.preprocess.categories import Vocabulary
    from expkit.kinds.preprocess.images import Pad
    from expkit.kinds.preprocess.text import Lowercase, RegexReplace, Split
    from expkit.kinds.sources.table import Table

    def dataset() -> Any:
        texts = pandas.read_csv(file)["text"].to_numpy(str)
        numbered = keras.layers.TextVectorization(max_tokens=WORDS + 2, output_sequence_length=LENGTH)
        numbered.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(8 * BATCH))
        batches = tf.data.Dataset.from_tensor_slices(texts).batch(BATCH)
        return batches.map(numbered, num_parallel_calls=tf.data.AUTOTUNE)

    words = Lowercase(), RegexReplace(pattern=r"[^\w\s]"), Split(), Vocabulary(max_size=WORDS), Pad(length=LENGTH)
    return beside(
        lambda: expkit_passes(Table(path=str(file)).load, {"text": words}, cache),
        lambda file: tf_data_passes(dataset, cache=file),
        cache,
    )


START = """
import sys, time
from expkit import tf1
tf1.Graph()
start = time.perf_counter()
from expkit.config.load import load
from expkit.data.dataset import load_dataset
from expkit.preflight import check
config = load(sys.argv[1:], ["conf"])
load_dataset(config, check(config).spec)
print(time.perf_counter() - start)
"""


def training(folder: Path, count: int) -> None:
    """Train on JPEG files in a process; print its peak memory and the start of another."""
    write_images(folder / "pictures", count, 256)
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    common: dict[str, Any] = {"cwd": folder, "env": environment}

    def expkit(*words: str) -> None:
        process = subprocess.Popen([sys.executable, "-m", "expkit", *words], stdout=subprocess.DEVNULL, **common)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"expkit {' '.join(words)} failed")
        peaks.append(used.ru_maxrss / 1e6)

    peaks: list[float] = []
    expkit("init", "pictures")
    words = ["experiment=pictures", "tracking=none"]
    took = seconds(lambda: expkit("train", *words, "train.steps=200"))
    start = subprocess.run([sys.executable, "-c", START, *words], capture_output=True, text=True, check=True, **common)
    print(f"training on {count:,} JPEG files of 256 x 256: {took:.0f} s, peak memory {peaks[-1]:.2f} GB")
    print(f"data of a second run ready in {float(start.stdout.split()[-1]):.2f} s")


def main() -> None:
    """Print examples per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[2000, 8000])
    for name, value in (("size", 256), ("rows", 200_000), ("sentences", 20_000), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--train-images", type=int, default=20_000)
    given = parser.parse_args()
    tf.get_logger()  # Imported here, so that expkit's settings of TensorFlow's threads and log hold for both.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workloads: dict[str, tuple[Any, Path, int]] = {}
        for count in given.images:
            write_images(folder / f"jpegs{count}", count, given.size)
            workloads[f"{count:,} JPEG files"] = image_readers, folder / f"jpegs{count}", count
        write_table(folder / "table.csv", given.rows)
        write_sentences(folder / "text.csv", given.sentences)
        workloads["table"] = table_readers, folder / "table.csv", given.rows
        workloads["sentences"] = text_readers, folder / "text.csv", given.sentences
        print(f"{'examples per second':28} {'expkit':>11} {'tf.data':>11} {'in a file':>11} {'expkit / tf.data':>17}")
        for name, (readers, path, count) in workloads.items():
            turns = []
            for number in range(given.repeat + 1):
                cache = folder / f"cache {name} {number}"
                turns.append(readers(path, cache))
                shutil.rmtree(cache)
            for state in turns[0][0]:
                own, memory, file = (min(turn[side][state] for turn in turns[1:]) for side in range(3))
                speeds = " ".join(f"{count / best:11,.0f}" for best in (own, memory, file))
                print(f"{f'{name}, {state}':28} {speeds} {memory / own:8.2f} {file / own:8.2f}", flush=True)
        if given.train_images:
            training(folder, given.train_images)


if __name__ == "__main__":
    main()
