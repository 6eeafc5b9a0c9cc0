"""The draft of a project for a folder of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expkit import tf1 as tf
from expkit.errors import DataError, comma_list, reading, unknown
from expkit.kinds.preprocess.images import DecodeImage
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.image_folder import TABLES, ImageFolder
from expkit.kinds.sources.on_disk import Array, DiskArray, name_of
from expkit.kinds.sources.strings import is_text
from expkit.starter.draft import Draft, quoted
from expkit.starter.labels import as_words, check_counts, check_enough, check_labels, classes_found, names_classes
from expkit.starter.parts import draws_parts, folder_split, parts_found
from expkit.starter.words import training_rows

__all__ = ["draft_images"]

LOOKED_AT = 200
"""Number of images, evenly spaced, whose size and colors are found."""
LARGEST = 96
"""Height and width up to which images of one size stay as they are."""
SIZE = 64
"""Height and width of others."""
CHANNELS = 16, 32, 64
SMALL = 32 * 32
"""Pixels of images up to which evaluations take them by 1000, as those of others do."""
EVALUATED_BYTES = 1 << 26
"""Size of the largest layer's output in an evaluation."""


@dataclass(frozen=True, kw_only=True)
class _Labeled:
    """The images and what is to be predicted of them."""

    fields: Fields
    label: str
    """Name of the field of labels."""
    table: str | None
    """Table beside the images that has the labels."""
    counts: Mapping[str, int] | None
    """Examples by class; ``None`` where a number is to be predicted."""
    units: int
    """Outputs of the network."""


def draft_images(path: Path, name: str, label: str | None = None) -> Draft:
    """Return a draft for a folder of images, a class per sub-folder, or with a table beside them.

    Args:
        path: the folder.
        name: name of the experiment.
        label: of a table beside the images the column to predict.

    Raises:
        DataError: there are no images, one of those looked at cannot be decoded, or there is no such column.
    """
    labeled = _labeled(path, label)
    fields = labeled.fields
    sizes, gray = _look(fields["image"])
    check_enough(len(fields["image"]), "images", path)
    if labeled.counts is not None:
        check_counts(labeled.counts, labeled.label, path, drawn=draws_parts(fields))
    split = folder_split(fields, quoted(labeled.label) if labeled.counts is not None else None)
    common, _ = Counter(sizes).most_common(1)[0]
    resized = len(set(sizes)) > 1 or max(common) > LARGEST
    height, width = (SIZE, SIZE) if resized else common
    channels = 1 if gray else 3
    steps = [f"{{kind: decode_image, channels: {channels}}}"]
    if resized:
        steps.append(f"{{kind: resize, size: [{height}, {width}]}}")
    steps.append("{kind: rescale, scale: 0.00392156862745098}     # from 0..255 to 0..1")
    shown = f"{common[0]} x {common[1]}" if len(set(sizes)) == 1 else f"{_span(sizes, 0)} x {_span(sizes, 1)}"
    classes = labeled.counts
    return Draft(
        name=name,
        data="\n".join(_data(path, steps, labeled, split)) + "\n",
        network="\n".join(_network(height, width, channels, labeled)) + "\n",
        train=_train(labeled),
        evaluated_at_once=EVALUATED_BYTES // (4 * CHANNELS[0] * height * width) if height * width > SMALL else None,
        group="classification" if classes is not None else "regression",
        training_examples=len(training_rows(fields, split)),
        found=[
            f"{len(fields['image']):,} images of {shown} pixels, {'gray' if gray else 'in color'}",
            (f"'{labeled.label}' is a number" if classes is None else classes_found(classes)),
            *(["resized to 64 x 64, because sizes differ or are large"] if resized else []),
            *parts_found(fields),
            *(fields["image"].notes if isinstance(fields["image"], DiskArray) else ()),
        ],
    )


def _labeled(path: Path, label: str | None) -> _Labeled:
    """Return the images with the names of their folders, or the column of a table, as labels."""
    with reading(str(path), "cannot be read", raises=DataError):
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    tables = sorted(entry.name for entry in entries if entry.name.lower().endswith(TABLES))
    if label is None:
        if len(tables) == 1 and not any(entry.is_dir() for entry in entries):
            raise DataError.at("--label", f"which column of {path / tables[0]} is to be predicted? give --label COLUMN")
        fields = ImageFolder(path=str(path)).load()
        if "label" not in fields:
            raise DataError.at(str(path), "the images are in no folders of classes, and no table has their labels")
        counts = Counter(as_words(fields["label"]))
        return _Labeled(fields=fields, label="label", table=None, counts=counts, units=len(counts))
    if len(tables) != 1:
        held = "no table" if not tables else f"several tables ({comma_list(tables)})"
        raise DataError.at(
            "--label",
            f"{path} holds {held}; a column is of one table beside the images, which names them in a column 'file'; "
            "leave --label out where sub-folders are the classes",
        )
    fields = ImageFolder(path=str(path), labels=tables[0]).load()
    if label not in fields or label == "image":
        known = [name for name in fields if name != "image"]
        message = unknown(f"no column '{label}' in {path / tables[0]}", label, known, label="columns")
        raise DataError.at("--label", message)
    target = fields[label][:]
    check_labels(target, label)
    named = names_classes(target) and (is_text(target.dtype) or target.min() >= 0)
    found = Counter(as_words(target)) if named else None
    units = 1 if found is None else len(found) if is_text(target.dtype) else int(target.max()) + 1
    return _Labeled(fields=fields, label=label, table=tables[0], counts=found, units=units)


def _train(labeled: _Labeled) -> list[str]:
    """Return the settings of training that read a label of another name."""
    if labeled.label == "label":
        return []
    metric = "accuracy" if labeled.counts is not None else "mae"
    field = quoted(labeled.label)
    return [f"losses: {{main: {{labels: {field}}}}}", f"metrics: {{{metric}: {{labels: {field}}}}}"]


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
                    "data.source.path", f"{name_of(images, index)} is no image that can be decoded; mend or remove it"
                ) from None
            sizes.append((int(shape[0]), int(shape[1])))
            gray = gray and not is_colored
    return sizes, gray


def _span(sizes: Sequence[tuple[int, int]], place: int) -> str:
    low, high = min(size[place] for size in sizes), max(size[place] for size in sizes)
    return str(low) if low == high else f"{low} to {high}"


def _data(path: Path, steps: Sequence[str], labeled: _Labeled, split: str) -> list[str]:
    fields = "fields `image`, `label`" if labeled.table is None else f"columns of {labeled.table}"
    return [
        f"# Images of {path.name}, {'a class per folder' if labeled.table is None else 'with a table'}: {fields}.",
        "defaults: [image_folder]",
        "source:",
        f"  path: {quoted(str(path))}",
        *([f"  labels: {quoted(labeled.table)}"] if labeled.table is not None else []),
        split,
        "preprocess:                  # inside the frozen graph, too",
        "  image:",
        *(f"    - {step}" for step in steps),
    ]


def _network(height: int, width: int, channels: int, labeled: _Labeled) -> list[str]:
    """Return three convolutions, fewer for small images, each with batch normalization and pooling."""
    count = max(1, min(len(CHANNELS), int(np.log2(max(min(height, width) // 2, 2)))))
    output, layers = "logits" if labeled.counts is not None else "prediction", []
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
        f"  {output}: {{kind: dense, units: {labeled.units}}}",
        "outputs:",
        f"  {output}: {output}",
    ]
