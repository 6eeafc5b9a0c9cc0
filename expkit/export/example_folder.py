"""A folder of images or texts that a graph is to read, with the labels that it carries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from expkit.errors import DataError, comma_list
from expkit.export.labels import GivenLabels, LabelColumns, given_labels
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.files import FileContents
from expkit.kinds.sources.folder import list_folder
from expkit.kinds.sources.image_folder import ENDINGS, TABLES, ImageFolder, image_contents
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.table import Table
from expkit.kinds.sources.text import TextFolder

__all__ = ["FolderExamples", "read_folder"]

OF_FOLDERS = "label"
"""Field of the names of sub-folders."""


@dataclass(frozen=True)
class FolderExamples:
    """The files of a folder."""

    contents: FileContents
    labels: Mapping[str, GivenLabels]
    """Labels by output: of a table beside images, or the names of the folders of classes."""
    notes: tuple[str, ...]
    """Sentences about files that are left out and labels that cannot be read."""


def read_folder(path: str, encoding: str | None, labels: Mapping[str, LabelColumns]) -> FolderExamples:
    """Return the images or texts of a folder as training reads them.

    Args:
        path: the folder.
        encoding: encoding of texts; ``None`` where the files are images.
        labels: columns of labels by output.

    Raises:
        DataError: it holds no images or texts, a file cannot be read, or several tables hold labels.
    """
    fields: Fields
    if encoding is not None:
        fields = TextFolder(path=path, encoding=encoding).load()
    elif (table := _table_of_labels(path, labels)) is not None:
        fields = ImageFolder(path=path, labels=table).load()
    else:
        listing = list_folder(path, ENDINGS, "image")
        fields = {"image": image_contents(listing), **listing.columns}
    contents = next(iter(fields.values()))
    assert isinstance(contents, FileContents)
    there = dict[str, LabelColumns]()
    for output, item in labels.items():
        if len(labels) == 1 and item.classes is not None and item.columns[0] not in fields:
            item = replace(item, columns=(OF_FOLDERS,))
        if fields.keys() >= {*item.columns}:
            there[output] = item

    def read(item: LabelColumns) -> Array:
        values = [fields[column] for column in item.columns]
        return np.stack([array[:] for array in values], axis=1) if len(values) > 1 else values[0]

    given, notes = given_labels(there, read)
    return FolderExamples(contents, given, (*contents.notes, *notes))


def _table_of_labels(path: str, labels: Mapping[str, LabelColumns]) -> str | None:
    """Return the table beside the images that names them and has labels of an output; ``None`` if there is none."""
    columns = {item.columns for item in labels.values()}
    found = []
    for name in sorted(os.listdir(path)):
        if name.lower().endswith(TABLES) and not name.startswith("."):
            try:
                names = {*Table(path=os.path.join(path, name)).opened().names}
            except DataError:
                continue
            if "file" in names and any(names.issuperset(item) for item in columns):
                found.append(name)
    if len(found) > 1:
        raise DataError.at("INPUT", f"several tables in {path} have labels: {comma_list(found)}; move all but one away")
    return found[0] if found else None
