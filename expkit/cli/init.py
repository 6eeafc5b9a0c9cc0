"""The verb ``init``, which writes the first configuration for a folder of images or a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expkit.errors import DataError

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "init",
        help="write a first configuration for your own data",
        description="Look at a folder of images, a class per sub-folder, or at a table, and write conf/data, "
        "conf/network and conf/experiment files that train a small network on it. Nothing is overwritten.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder of images, or a .csv, .tsv or .parquet file")
    parser.add_argument("--label", metavar="COLUMN", help="of a table the column to predict")
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
        if given.label is not None:
            raise DataError.at("--label", f"{data} is a folder, whose sub-folders are the classes; leave --label out")
        draft = draft_images(data, name)
    elif given.label is None:
        raise DataError.at("--label", f"which column of {data} is to be predicted? give --label COLUMN")
    else:
        draft = draft_table(data, given.label, name)
    files = write_draft(draft, Path())
    print("\n".join([*draft.found, "", *(f"written: {file}" for file in files)]))
    print(f"\nnext: expkit train experiment={draft.name}")
    return 0
