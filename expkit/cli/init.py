"""The verb ``init``, which writes the first configuration for a folder of images or a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expkit.errors import DataError, Problem

__all__ = ["add_verbs"]

OPTIONS = {"data.source.encoding=": "--encoding ", "data.source.delimiter=": "--delimiter "}


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "init",
        help="write a first configuration for your own data",
        description="Look at a folder of images, a class per sub-folder, or at a table, and write conf/data, "
        "conf/network and conf/experiment files that train a small network on it. Nothing is overwritten.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder of images, or a .csv, .tsv or .parquet file")
    parser.add_argument("--label", metavar="COLUMN", help="column to predict, of a table or of one in the folder")
    parser.add_argument("--encoding", metavar="NAME", help="of a table that is not UTF-8: latin-1, cp1252")
    parser.add_argument("--delimiter", metavar="MARK", help="of a table whose delimiter is not recognized")
    parser.add_argument("--name", metavar="NAME", help="name of the files and of the experiment; default: of the data")
    parser.set_defaults(run=_init)


def _init(given: argparse.Namespace) -> int:
    from expkit.starter.draft import check_name, name_of, write_draft
    from expkit.starter.images import draft_images
    from expkit.starter.tables import draft_table

    data = given.data
    if given.name is not None:
        check_name(given.name)
    name = given.name or name_of(data)
    if not data.exists():
        raise DataError.at(str(data), "no such file or folder; give a folder of images, or a table")
    if data.is_dir():
        draft = draft_images(data, name, given.label)
    elif given.label is None:
        raise DataError.at("--label", f"which column of {data} is to be predicted? give --label COLUMN")
    else:
        with _naming_options():
            draft = draft_table(data, given.label, name, encoding=given.encoding, delimiter=given.delimiter)
    files = write_draft(draft, Path())
    print("\n".join([*draft.found, "", *(f"written: {file}" for file in files)]))
    print(f"\nnext: expkit train experiment={draft.name}")
    return 0


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
