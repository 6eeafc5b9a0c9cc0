"""Speed of reading JPEG files beside tf.data: decoded for the first time, and from the cache.

Usage: python benchmarks/data.py [--images 2000] [--size 256] [--repeat 2]

Writes JPEG files of random smooth pixels, two classes, to a temporary folder, and reads all as images of 64 x 64
pixels, in this process: expkit by its source, ``preprocess`` and the cache on disk, tf.data by the operations of Keras'
``image_dataset_from_directory`` in parallel (AUTOTUNE), ``cache`` in memory and ``prefetch``. Cold is the first pass,
with all that it needs; cached the next one over the same values. Both take turns; a ratio is that of the best times.
The second start is expkit's, which lists the files and opens the cache. The memory is the peak of both together.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

BATCH, RESIZED = 128, 64


def write(folder: Path, count: int, size: int) -> None:
    """Write JPEG files of two classes."""
    draw = np.random.default_rng(0)
    for index in range(count):
        small = draw.integers(0, 256, (16, 16, 3), np.uint8)
        place = folder / "ab"[index % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC).save(
            place / f"{index:06}.jpg", quality=90
        )


def seconds(call: Callable[[], object]) -> float:
    """Return the time that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def expkit_passes(folder: Path, cache: Path) -> tuple[float, float, float]:
    """Return the seconds of the first pass, of a pass over the cached values, and of another start."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    from expkit.data.kept import _computed_once
    from expkit.data.preprocess import FieldPreprocessing, raw_spec
    from expkit.kinds.preprocess.images import DecodeImage, Resize
    from expkit.kinds.sources.image_folder import ImageFolder
    from expkit.kinds.sources.on_disk import Array

    steps = (DecodeImage(), Resize(size=(RESIZED, RESIZED), antialias=False))
    held: list[Array] = []

    def start() -> None:
        image = ImageFolder(path=str(folder)).load()["image"]
        _, kept = _computed_once(FieldPreprocessing(field="image", raw=raw_spec(steps, image)), steps, {"train": image})
        held[:] = [kept["train"].values]

    def read() -> None:
        for first in range(0, len(held[0]), BATCH):
            held[0][first : first + BATCH].sum()

    return seconds(start) + seconds(read), seconds(read), seconds(start)


def tf_data_passes(folder: Path) -> tuple[float, float]:
    """Return the seconds of the first pass, which fills tf.data's cache in memory, and of the next."""
    import tensorflow as tf

    def read() -> None:
        for image in images:
            image.numpy().sum()

    def decoded(path: object) -> object:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = tf.image.resize(image, (RESIZED, RESIZED))
        image.set_shape((RESIZED, RESIZED, 3))
        return image

    start = time.perf_counter()
    paths = sorted(str(path) for path in folder.rglob("*.jpg"))
    images = tf.data.Dataset.from_tensor_slices(paths).map(decoded, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)
    images = images.cache().prefetch(tf.data.AUTOTUNE)
    read()
    return time.perf_counter() - start, seconds(read)


def main() -> None:
    """Print examples per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "jpegs"
        folder.mkdir()
        write(folder, given.images, given.size)
        own, other = [], []
        expkit_passes(folder, Path(temporary) / "warm")
        for number in range(given.repeat):
            other.append(tf_data_passes(folder))
            own.append(expkit_passes(folder, Path(temporary) / f"cache{number}"))
    for place, name in enumerate(("cold", "cached")):
        mine, theirs = min(item[place] for item in own), min(item[place] for item in other)
        rates = f"expkit {given.images / mine:,.0f}/s, tf.data {given.images / theirs:,.0f}/s"
        print(f"{name}: {rates}, expkit {theirs / mine:.2f}x")
    print(f"second start {min(item[2] for item in own):.2f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
