"""A folder of image files as a source."""

from __future__ import annotations

import mmap
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from expkit.errors import DataError, Problem, comma_list, did_you_mean
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.kinds.sources.image_header import HEADER_BYTES, ImageHeader, bmp_is_decoded, image_header
from expkit.kinds.sources.table import Table
from expkit.registry import register

if TYPE_CHECKING:
    from expkit.kinds.sources.files import FileContents
    from expkit.kinds.sources.folder import Listing

__all__ = ["ImageFolder", "image_contents", "image_format"]

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif")
FOREIGN = (".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".jp2", ".jxl", ".dng", ".svg", ".psd", ".ico")
"""Endings of images in formats that TensorFlow's core operations do not decode."""
TABLES = (".csv", ".tsv", ".parquet")
MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF87a": "GIF", b"GIF89a": "GIF", b"BM": "BMP"}
LABELS = "data.source.labels"
MOST_PIXELS = 1 << 27
"""Pixels that an image may declare: the file of a larger one may be small and fill the memory."""
MOST_COMPARED = 10_000
"""Names among which the nearest to a wrong one is sought."""


def image_format(start: bytes) -> str | None:
    """Return the format of an image by its first 16 bytes; ``None`` if it is not a PNG, JPEG, GIF or BMP."""
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


@register
class ImageFolder(Source):
    """A folder of PNG, JPEG, BMP and GIF files; files are read on demand, so all may exceed memory.

    Fields: ``image`` [examples], the encoded files; ``label`` [examples], the names of the sub-folders, a class each,
    or instead of it the columns of a table beside the files. Folders ``train``, ``valid`` and ``test`` above those of
    the classes are a ready-made split: ``part`` [examples] has their names. Examples are in the order of their paths,
    or of the table. Formats are recognized by content. Hidden files and those with other endings are left out.
    """

    kind: Literal["image_folder"] = "image_folder"
    path: str
    """The folder."""
    labels: str | None = None
    """Table (CSV, TSV or Parquet, path relative to the folder) with a column ``file``, the paths of images in the
    folder; every other column becomes a field. Sub-folders are classes when not given."""

    def load(self) -> Fields:
        """Return ``image``, on disk, with ``label`` and ``part`` or the columns of the table.

        Raises:
            DataError: a file is missing, cannot be read or is not an image, or a class has none.
        """
        listing, columns = _by_class(self.path) if self.labels is None else _by_table(self.path, self.labels)
        return {"image": image_contents(listing), **columns}


def image_contents(listing: Listing) -> FileContents:
    """Return the contents of listed images.

    Raises:
        DataError: a file cannot be read or is not an image.
    """
    from expkit.kinds.sources.files import checked_contents

    notes = (*listing.notes, *_foreign(listing))
    return checked_contents(listing, partial(_check_images, listing), count=HEADER_BYTES, notes=notes)


def _foreign(listing: Listing) -> Iterator[str]:
    """Yield a sentence about images in formats that are not decoded."""
    from expkit.kinds.sources.folder import counted, some

    images = [name for name in listing.others if name.lower().endswith(FOREIGN)]
    if images:
        what, them = ("is an image in a format", "it") if len(images) == 1 else ("are images in formats", "them")
        yield (
            f"{listing.root}: {counted(images)} of those left out {what} that cannot be decoded: "
            f"{some(images)}; convert {them} to PNG, JPEG, BMP or GIF"
        )


def _check_images(listing: Listing, starts: Sequence[bytes]) -> None:
    """Refuse files that are not images, and images that would fill the memory, or be decoded wrongly.

    Raises:
        DataError: files are not images, declare more pixels than are decoded, or are BMP files of a kind that is not
            decoded.
    """
    from expkit.kinds.sources.folder import AT, counted, some

    wrong = [place for place, start in enumerate(starts) if image_format(start) is None]
    if wrong:
        found, start = some(listing.names[place] for place in wrong), starts[wrong[0]][:16]
        begins = f"begins with {start!r}" if start else "is empty"
        raise DataError.at(
            AT,
            f"{listing.root}: {counted(wrong)} of {len(starts):,} without the content of a PNG, JPEG, BMP or GIF "
            f"image: {found}; the first {begins}; remove or replace what is not an image",
        )
    unread = [place for place, start in enumerate(starts) if not bmp_is_decoded(start)]
    if unread:
        raise DataError.at(
            AT,
            f"{listing.root}: {counted(unread, 'BMP image')} with a palette of colors, with compression or of another "
            f"number of bits than 8 (gray), 24 and 32: {some(listing.names[place] for place in unread)}; convert "
            f"{'it' if len(unread) == 1 else 'them'} to PNG",
        )
    headers = [_header(listing, place, start) for place, start in enumerate(starts)]
    huge = [place for place, header in enumerate(headers) if header.height * header.width > MOST_PIXELS]
    if huge:
        first = headers[huge[0]]
        raise DataError.at(
            AT,
            f"{listing.root}: {counted(huge, 'image')} of more than {MOST_PIXELS:,} pixels: "
            f"{some(listing.names[place] for place in huge)}; the first declares {first.height:,} x {first.width:,}; "
            "make them smaller, or remove them",
        )


def _header(listing: Listing, place: int, start: bytes) -> ImageHeader:
    """Return the declarations of an image; those of a JPEG file wherever its first frame is."""
    header = image_header(start)
    if header.height or len(start) < HEADER_BYTES or image_format(start) != "JPEG":
        return header
    try:
        with (
            open(listing.root / listing.names[place], "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return image_header(content)
    except (OSError, ValueError):  # It has vanished since it was listed, which is told when it is read.
        return header


def _by_class(path: str) -> tuple[Listing, Fields]:
    """Return the images in the folders of classes, and the names of these."""
    from expkit.kinds.sources.folder import list_folder

    listing = list_folder(path, ENDINGS, "image")
    tables = [name for name in listing.others if name.lower().endswith(TABLES) and os.sep not in name]
    if listing.labels is None and tables:
        raise DataError.at(
            LABELS,
            f"{listing.root} holds images without folders of classes, and {comma_list(tables)}; read labels from it "
            f"with {LABELS}={tables[0]}, or move it to another folder",
        )
    return listing, listing.columns


def _by_table(path: str, table: str) -> tuple[Listing, Fields]:
    """Return the images that a table names, and its other columns."""
    from expkit.kinds.sources.folder import Listing, counted, existing_folder, some, walk

    root = existing_folder(path)
    file = existing(os.path.join(root, os.path.expanduser(table)), "labels")
    columns = dict(_columns(file))
    if "image" in columns:
        raise DataError.at(LABELS, f"{file} has a column 'image', which is the name of the images' field; rename it")
    requested = [name.decode("utf-8") for name in columns.pop("file")[:].tolist()]
    images, others = walk(root, "", ENDINGS)
    names = [posixpath.normpath(name) if name else "" for name in requested]
    wrong = {
        "out of the folder": [name for name in requested if _leads_out(name)],
        "not in the folder": _absent(names, {*images, *others}),
        "named more than once": [name for name, count in Counter(names).items() if count > 1],
    }
    for problem, offenders in wrong.items():
        if offenders:
            near = did_you_mean(offenders[0], images[:MOST_COMPARED]) if problem.startswith("not") else ""
            shown = some(name or "an empty cell" for name in offenders)
            raise DataError.at(
                LABELS,
                f"column 'file' of {file}: {counted(offenders, 'path')} {problem}: {shown}{near or ';'} write the "
                "paths of images relative to the folder, each once",
            )
    unused = sorted({*images} - {*names}, key=os.fsencode)
    return Listing(root=root, names=names, others=unused, reason=f"not in {file.name}"), columns


def _absent(names: list[str], known: set[str]) -> list[str]:
    return [name for name in names if name not in known]


def _columns(file: Path) -> Fields:
    """Return the columns of a table of labels; errors name the setting of this source."""
    try:
        return Table(path=str(file), types={"file": "text"}).load()
    except DataError as error:
        messages = [problem.message.removeprefix("types: ") for problem in error.problems]
        raise DataError(*(Problem(LABELS, message) for message in messages)) from None


def _leads_out(name: str) -> bool:
    return posixpath.isabs(name) or posixpath.normpath(name).split("/")[0] == ".." or "\0" in name
