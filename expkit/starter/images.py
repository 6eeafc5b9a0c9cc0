"""The draft of a project for a folder of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from expkit import tf1 as tf
from expkit.errors import DataError
from expkit.kinds.preprocess.images import DecodeImage
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.image_folder import ImageFolder
from expkit.kinds.sources.on_disk import Array
from expkit.starter.draft import Draft, may_stratify, quoted, split_line

__all__ = ["draft_images"]

LOOKED_AT = 200
"""Number of images, evenly spaced, whose size and colors are found."""
LARGEST = 96
"""Height and width up to which images of one size stay as they are."""
SIZE = 64
"""Height and width of others."""
CHANNELS = 16, 32, 64
PARTS = ("train", "valid", "test")


def draft_images(path: Path, name: str) -> Draft:
    """Return a draft for a folder of images, a class per sub-folder.

    Raises:
        DataError: there are no images, or one of those looked at cannot be decoded.
    """
    fields = ImageFolder(path=str(path)).load()
    sizes, gray = _look(fields["image"])
    classes = Counter(value.decode("utf-8", "replace") for value in fields["label"][:].tolist())
    if len(classes) < 2:
        raise DataError.at("data.source.path", f"{path} has images of one class, {next(iter(classes))}; two are needed")
    common, _ = Counter(sizes).most_common(1)[0]
    resized = len(set(sizes)) > 1 or max(common) > LARGEST
    height, width = (SIZE, SIZE) if resized else common
    channels = 1 if gray else 3
    steps = [f"{{kind: decode_image, channels: {channels}}}"]
    if resized:
        steps.append(f"{{kind: resize, size: [{height}, {width}]}}")
    steps.append("{kind: rescale, scale: 0.00392156862745098}     # from 0..255 to 0..1")
    shown = f"{common[0]} x {common[1]}" if len(set(sizes)) == 1 else f"{_span(sizes, 0)} x {_span(sizes, 1)}"
    return Draft(
        name=name,
        data="\n".join(_data(path, steps, fields)) + "\n",
        network="\n".join(_network(height, width, channels, len(classes))) + "\n",
        train=(),
        group="classification",
        examples=len(fields["image"]),
        found=[
            f"{len(fields['image']):,} images of {shown} pixels, {'gray' if gray else 'in color'}",
            f"{len(classes)} classes: "
            + ", ".join(f"{word} {count:,}" for word, count in sorted(classes.items())[:20]),
            *(["resized to 64 x 64, because sizes differ or are large"] if resized else []),
            *(["a ready-made split: " + ", ".join(_parts(fields))] if "part" in fields else []),
        ],
    )


def _look(images: Array) -> tuple[list[tuple[int, int]], bool]:
    """Return the height and width of some images, and whether all are gray."""
    chosen = np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(np.int64)
    with tf.Graph().as_default() as graph:
        content = tf.placeholder(tf.string, ())
        pixels = DecodeImage(channels=3).apply(content[None], {})[0]
        colored = tf.reduce_any(tf.not_equal(pixels[..., :1], pixels))
        found = tf.shape(pixels), colored
    sizes, gray = [], True
    with tf.Session(graph=graph) as session:
        for index in chosen.tolist():
            try:
                shape, is_colored = session.run(found, {content: images[index : index + 1][0]})
            except tf.errors.OpError:
                raise DataError.at(
                    "data.source.path", f"{_named(images, index)} is no image that can be decoded; mend or remove it"
                ) from None
            sizes.append((int(shape[0]), int(shape[1])))
            gray = gray and not is_colored
    return sizes, gray


def _named(images: Array, index: int) -> str:
    return f"example {index}" if isinstance(images, np.ndarray) else images.describe(index)


def _span(sizes: Sequence[tuple[int, int]], place: int) -> str:
    low, high = min(size[place] for size in sizes), max(size[place] for size in sizes)
    return str(low) if low == high else f"{low} to {high}"


def _parts(fields: Fields) -> list[str]:
    names = {value.decode("utf-8", "replace") for value in fields["part"][:].tolist()}
    return [part for part in PARTS if part in names]


def _data(path: Path, steps: Sequence[str], fields: Fields) -> list[str]:
    parts = _parts(fields) if "part" in fields else []
    if "train" in parts and "test" in parts:
        valid = "valid" if "valid" in parts else "0.1"
        train = "train" if "valid" in parts else "0.9"
        split = f"split: {{train: {train}, valid: {valid}, test: test}}   # folders"
    else:
        split = split_line(may_stratify(Counter(fields["label"][:].tolist())))
    return [
        f"# Images of {path.name}, a class per folder: fields `image`, `label`.",
        "defaults: [image_folder]",
        "source:",
        f"  path: {quoted(str(path))}",
        split,
        "preprocess:                  # inside the frozen graph, too",
        "  image:",
        *(f"    - {step}" for step in steps),
    ]


def _network(height: int, width: int, channels: int, classes: int) -> list[str]:
    """Return three convolutions, fewer for small images, each with batch normalization and pooling."""
    count = max(1, min(len(CHANNELS), int(np.log2(max(min(height, width) // 2, 2)))))
    layers = []
    for number, filters in enumerate(CHANNELS[:count], start=1):
        layers += [
            f"  conv{number}: {{kind: conv2d, filters: {filters}, kernel_size: 3, padding: same, use_bias: false}}",
            f"  norm{number}: {{kind: batch_norm, momentum: 0.95}}",
            f"  relu{number}: {{kind: activation, function: relu}}",
            f"  pool{number}: {{kind: max_pool, pool_size: 2}}",
        ]
    return [
        "# A small convolutional network.",
        "inputs:",
        f"  image: {{shape: [{height}, {width}, {channels}]}}",
        "layers:",
        *layers,
        "  flat: {kind: flatten}",
        "  dropout: {kind: dropout, rate: 0.4}",
        f"  logits: {{kind: dense, units: {classes}}}",
        "outputs:",
        "  logits: logits",
    ]
