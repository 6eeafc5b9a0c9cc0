"""The kind of a folder in a draft: images or texts."""

from __future__ import annotations

from pathlib import Path

from expkit.errors import DataError, comma_list
from expkit.kinds.sources.folder import existing_folder, some, walk
from expkit.kinds.sources.image_folder import ENDINGS as IMAGES
from expkit.kinds.sources.image_folder import TABLES
from expkit.kinds.sources.text import ENDINGS as TEXTS

__all__ = ["holds_texts"]


def holds_texts(path: Path) -> bool:
    """Return True if a folder holds texts, False if it holds images, or a table that may name images.

    Raises:
        DataError: the folders of classes hold both, or there is neither.
    """
    names, others = walk(existing_folder(str(path)), "", (*IMAGES, *TEXTS, *TABLES))
    inside = [name for name in names if "/" in name] or names  # A file that explains the folder is not an example.
    texts, images = ([name for name in inside if name.lower().endswith(endings)] for endings in (TEXTS, IMAGES))
    if texts and images:
        raise DataError.at(
            str(path),
            f"holds texts ({some(texts)}) and images ({some(images)}); give a folder of one kind: move the others out",
        )
    if not names:
        raise DataError.at(
            str(path),
            f"holds no image and no text: no file that ends in {comma_list((*IMAGES, *TEXTS))}"
            + (f", but {some(others)}" if others else ""),
        )
    return bool(texts)
