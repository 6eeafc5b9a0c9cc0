"""The verb ``init``, which writes the first configuration for a folder of images or texts, or a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expkit.errors import DataError, Problem, escaped

if TYPE_CHECKING:
    from expkit.starter.draft import Draft

__all__ = ["add_verbs"]

OPTIONS = {"data.source.encoding=": "--encoding ", "data.source.delimiter=": "--delimiter "}


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "init",
        help="write a first configuration for your own data",
        description="Look at a folder of images or of .txt files, a class per sub-folder, or at a table, and write "
        "conf/data, conf/network and conf/experiment files that train a small network on it. Nothing is overwritten.",
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="a folder of images or texts, or a .csv, .tsv or .parquet file"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="COLUMN",
        help="column to predict, of a table or of one in the folder; can be repeated: an output for each",
    )
    parser.add_argument("--encoding", metavar="NAME", help="of a table or of texts that are not UTF-8: latin-1, cp1252")
    parser.add_argument("--delimiter", metavar="MARK", help="of a table whose delimiter is not recognized")
    parser.add_argument("--name", metavar="NAME", help="name of the files and of the experiment; default: of the data")
    parser.set_defaults(run=_init)


def _init(given: argparse.Namespace) -> int:
    from expkit.starter.draft import check_name, name_of, write_draft
    from expkit.starter.tables import draft_table

    data = given.data
    if given.name is not None:
        check_name(given.name)
    name = given.name or name_of(data)
    if not data.exists():
        raise DataError.at(str(data), "no such file or folder; give a folder of images or texts, or a table")
    if not (data.is_dir() or data.is_file()):
        raise DataError.at(str(data), "no regular file; give a folder of images or texts, or a table")
    with _naming_options():
        if data.is_dir():
            draft = _draft_folder(given, name)
        elif not given.label:
            raise DataError.at("--label", f"which column of {data} is to be predicted? give --label COLUMN")
        else:
            draft = draft_table(data, given.label, name, encoding=given.encoding, delimiter=given.delimiter)
    files = write_draft(draft, Path())
    print("\n".join([*map(escaped, draft.found), "", *(f"written: {file}" for file in files)]))
    print(f"\nnext: expkit train experiment={draft.name}")
    return 0


def _draft_folder(given: argparse.Namespace, name: str) -> Draft:
    """Return the draft for a folder of texts or of images."""
    from expkit.starter.folders import holds_texts
    from expkit.starter.images import draft_images
    from expkit.starter.texts import draft_texts

    texts = not given.label and holds_texts(given.data)  # Labels in a table are of images.
    if given.delimiter is not None:
        raise DataError.at("--delimiter", f"is of a table, and {given.data} is a folder; leave it out")
    if texts:
        return draft_texts(given.data, name, given.encoding)
    if given.encoding is not None:
        raise DataError.at("--encoding", f"is of a table or of texts, and {given.data} holds images; leave it out")
    return draft_images(given.data, name, given.label)


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name options in place of the settings that they stand for."""
    try:
        yield
    except DataError as error:
        problems = list(error.problems)
        for setting, option in OPTIONS.items():
            problems = [Problem(item.path, item.message.replace(setting, option)) for item in problems]
        raise DataError(*problems) from None
