"""Speed of reading a user's own data beside tf.data: JPEG files, a table, sentences; memory and start of a training.

Usage: python benchmarks/data.py [--images 2000] [--size 256] [--rows 200000] [--sentences 20000] [--repeat 3]
                                 [--train-images 20000]

Writes random data to a temporary folder and reads all of it in batches of 128, in this process: expkit by its sources,
``preprocess`` and its cache on disk, tf.data by Keras' functions with all that makes them fast (AUTOTUNE, ``cache`` in
memory, ``prefetch``): ``image_dataset_from_directory``; pandas and the layers ``Normalization`` and ``StringLookup``;
pandas and ``TextVectorization``. Images become 64 x 64 pixels, numbers are standardized, words are numbered.
Cold is the first pass, with reading files, fitting and an empty cache; cached the next one over the same values. Both
take turns, the first of which does not count; a ratio is that of the best times.

``--train-images`` writes so many JPEG files of 256 x 256 pixels, trains on them by ``expkit init`` and ``expkit
train``, each a process, and prints the training's peak resident memory, and the time in which another process has the
same data ready, besides the import of TensorFlow; 0 leaves that out. The cache lies in the temporary folder, too.
"""

from __future__ import annotations

import argparse
import os
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

Passes = tuple[float, float]
"""Seconds of the first pass and of the next."""


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


def expkit_passes(load: Callable[[], Any], steps: Mapping[str, Sequence[Any]], cache: Path) -> Passes:
    """Return the times of expkit for a source and the steps of its fields, with an empty cache."""
    from expkit.data.kept import _preprocess_field

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
            for first in range(0, len(values), BLOCK * BATCH):
                block = values[first : first + BLOCK * BATCH]
                block = block if result is None else session.run(result, {fed: block})
                for place in range(0, len(block), BATCH):
                    block[place : place + BATCH].sum()

    return seconds(start) + seconds(read), seconds(read)


def tf_data_passes(load: Callable[[], Any]) -> Passes:
    """Return the times of a tf.data pipeline, which fills its cache in memory during the first pass."""

    def read() -> None:
        for batch in datasets[0]:
            for part in batch if isinstance(batch, tuple) else (batch,):
                part.numpy().sum()

    datasets: list[Any] = []
    start = time.perf_counter()
    datasets.append(load().cache().prefetch(tf.data.AUTOTUNE))
    read()
    return time.perf_counter() - start, seconds(read)


def image_readers(folder: Path, cache: Path) -> tuple[Passes, Passes]:
    """Return the times of expkit and tf.data for image files."""
    import keras

    from expkit.kinds.preprocess.images import DecodeImage, Resize
    from expkit.kinds.sources.image_folder import ImageFolder

    def dataset() -> Any:
        given = {"labels": None, "batch_size": BATCH, "image_size": (RESIZED, RESIZED), "verbose": False}
        return keras.utils.image_dataset_from_directory(folder, shuffle=False, **given)

    steps = {"image": (DecodeImage(), Resize(size=(RESIZED, RESIZED), antialias=False))}
    other = tf_data_passes(dataset)
    return expkit_passes(ImageFolder(path=str(folder)).load, steps, cache), other


def table_readers(file: Path, cache: Path) -> tuple[Passes, Passes]:
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
    other = tf_data_passes(dataset)
    return expkit_passes(source.load, steps, cache), other


def text_readers(file: Path, cache: Path) -> tuple[Passes, Passes]:
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
    other = tf_data_passes(dataset)
    return expkit_passes(Table(path=str(file)).load, {"text": words}, cache), other


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
    for name, value in (("images", 2000), ("size", 256), ("rows", 200_000), ("sentences", 20_000), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--train-images", type=int, default=20_000)
    given = parser.parse_args()
    tf.get_logger()  # Imported here, so that expkit's settings of TensorFlow's threads and log hold for both.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "jpegs", given.images, given.size)
        write_table(folder / "table.csv", given.rows)
        write_sentences(folder / "text.csv", given.sentences)
        workloads = {
            "JPEG files": (image_readers, folder / "jpegs", given.images),
            "table": (table_readers, folder / "table.csv", given.rows),
            "sentences": (text_readers, folder / "text.csv", given.sentences),
        }
        print(f"{'examples per second':24} {'expkit':>12} {'tf.data':>12} {'expkit / tf.data':>18}")
        for name, (readers, path, count) in workloads.items():
            turns = [readers(path, folder / f"cache {name} {number}") for number in range(given.repeat + 1)][1:]
            for place, state in enumerate(("cold", "cached")):
                own, other = (min(turn[side][place] for turn in turns) for side in (0, 1))
                print(f"{f'{name}, {state}':24} {count / own:12,.0f} {count / other:12,.0f} {other / own:18.2f}")
        if given.train_images:
            training(folder, given.train_images)


if __name__ == "__main__":
    main()
