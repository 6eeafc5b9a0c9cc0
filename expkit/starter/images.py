"""The draft of a project for a folder of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from expkit import tf1 as tf
from expkit.errors import DataError, comma_list, reading
from expkit.kinds.preprocess.images import DecodeImage
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.folder import printable
from expkit.kinds.sources.image_folder import TABLES, ImageFolder
from expkit.kinds.sources.on_disk import Array, DiskArray, name_of, rows_of
from expkit.kinds.sources.strings import is_text
from expkit.starter.draft import Draft, quoted
from expkit.starter.heads import (
    Head,
    check_columns,
    class_lines,
    fitted,
    group_of,
    head_layers,
    head_of,
    of_folders,
    output_lines,
    sentence,
    stratified,
    train_lines,
    with_names,
)
from expkit.starter.labels import as_words, check_counts, check_enough, classes_found
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
    heads: Sequence[Head]
    table: str | None
    """Table beside the images that has the labels."""


def draft_images(path: Path, name: str, labels: Sequence[str] = ()) -> Draft:
    """Return a draft for a folder of images, a class per sub-folder, or with a table beside them.

    Args:
        path: the folder.
        name: name of the experiment.
        labels: of a table beside the images the columns to predict.

    Raises:
        DataError: there are no images, one of those looked at cannot be decoded, or there is no such column.
    """
    labeled = _labeled(path, labels)
    fields, heads = labeled.fields, labeled.heads
    sizes, gray = _look(fields["image"])
    check_enough(len(fields["image"]), "images", path)
    for head in heads:
        if head.counts is not None:
            check_counts(head.counts, head.column, path, drawn=draws_parts(fields))
    split = folder_split(fields, stratified(heads))
    training = training_rows(fields, split)
    heads = [fitted(head, rows_of(fields[head.field], training)) for head in heads]
    texts = [head for head in heads if is_text(fields[head.field].dtype)]  # Numbers are classes that none has to have.
    seen = {head.column: {*as_words(rows_of(fields[head.field], training))} for head in texts}
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
        data="\n".join([*_data(path, steps, labeled, split), *class_lines(texts, seen)]) + "\n",
        network="\n".join(_network(height, width, channels, heads)) + "\n",
        train=train_lines(heads),
        evaluated_at_once=EVALUATED_BYTES // (4 * CHANNELS[0] * height * width) if height * width > SMALL else None,
        group=group_of(heads),
        training_examples=len(training),
        found=[
            f"{len(fields['image']):,} images of {shown} pixels, {'gray' if gray else 'in color'}",
            *_found(labeled),
            *(["resized to 64 x 64, because sizes differ or are large"] if resized else []),
            *parts_found(fields),
            *(fields["image"].notes if isinstance(fields["image"], DiskArray) else ()),
        ],
    )


def _found(labeled: _Labeled) -> list[str]:
    """Return a sentence about each column of labels."""
    (head, *others) = labeled.heads
    if others:
        return [sentence(item, labeled.fields[item.field][:]) for item in labeled.heads]
    return [f"'{head.column}' is a number" if head.counts is None else classes_found(head.counts)]


def _labeled(path: Path, labels: Sequence[str]) -> _Labeled:
    """Return the images with the names of their folders, or columns of a table, as labels."""
    with reading(str(path), "cannot be read", raises=DataError):
        entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    tables = sorted(entry.name for entry in entries if entry.name.lower().endswith(TABLES))
    if not labels:
        if len(tables) == 1 and not any(entry.is_dir() for entry in entries):
            raise DataError.at("--label", f"which column of {path / tables[0]} is to be predicted? give --label COLUMN")
        fields = ImageFolder(path=str(path)).load()
        if "label" not in fields:
            raise DataError.at(str(path), "the images are in no folders of classes, and no table has their labels")
        return _Labeled(fields=fields, heads=[of_folders(Counter(as_words(fields["label"])))], table=None)
    if len(tables) != 1:
        held = "no table" if not tables else f"several tables ({comma_list(tables)})"
        raise DataError.at(
            "--label",
            f"{path} holds {held}; a column is of one table beside the images, which names them in a column 'file'; "
            "leave --label out where sub-folders are the classes",
        )
    fields = ImageFolder(path=str(path), labels=tables[0]).load()
    check_columns(labels, [name for name in fields if name != "image"], str(path / tables[0]))
    heads = [replace(head_of(label, fields[label][:], numbered=True), field=label) for label in labels]
    return _Labeled(fields=fields, heads=with_names(heads, _layers(CHANNELS)), table=tables[0])


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
    fields = "fields `image`, `label`" if labeled.table is None else f"columns of {printable(labeled.table)}"
    labels = "a class per folder" if labeled.table is None else "with a table"
    return [
        f"# Images of {printable(path.name)}, {labels}: {fields}.",
        "defaults: [image_folder]",
        "source:",
        f"  path: {quoted(str(path))}",
        *([f"  labels: {quoted(labeled.table)}"] if labeled.table is not None else []),
        split,
        "preprocess:                  # inside the frozen graph, too",
        "  image:",
        *(f"    - {step}" for step in steps),
    ]


def _layers(filters: Sequence[int]) -> list[str]:
    """Return the names of the layers of convolutions."""
    return [f"{name}{number}" for number in range(1, len(filters) + 1) for name in ("conv", "norm", "relu", "pool")]


def _network(height: int, width: int, channels: int, heads: Sequence[Head]) -> list[str]:
    """Return three convolutions, fewer for small images, each with batch normalization and pooling."""
    count = max(1, min(len(CHANNELS), int(np.log2(max(min(height, width) // 2, 2)))))
    layers = []
    for number, filters in enumerate(CHANNELS[:count], start=1):
        layers += [
            f"  conv{number}: {{kind: conv2d, filters: {filters}, kernel_size: 3, padding: same, use_bias: false}}",
            f"  norm{number}: {{kind: batch_norm, momentum: 0.95}}",
            f"  relu{number}: {{kind: activation, function: relu}}",
            *([f"  pool{number}: {{kind: max_pool, pool_size: 2}}"] if min(height, width) > 1 else []),
        ]
    return [
        "# A small convolutional network.",
        "inputs:",
        f"  image: {{shape: [{height}, {width}, {channels}]}}",
        "layers:",
        *layers,
        "  flat: {kind: flatten}",
        "  dropout: {kind: dropout, rate: 0.4}",
        *head_layers(heads),
        *output_lines(heads),
    ]
