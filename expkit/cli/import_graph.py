"""The verb ``import-graph``, which drafts the YAML of a network that another program made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expkit.cli.writing import print_or_write
from expkit.errors import ExpkitError
from expkit.importer.foreign import read_graph
from expkit.importer.text import write_yaml

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "import-graph",
        help="draft a network's YAML from a checkpoint or a graph",
        description="Draft the YAML of a network that another program made, from the variables of a checkpoint, or "
        "from a graph's variables and operations. The draft has every variable by name and shape; unknown values are "
        "marked: fill in.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=".meta or .pb file, or a file of variables: a checkpoint's prefix, a folder, a run, a SavedModel, .npz",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="write to a file instead: conf/network/mine.yaml")
    parser.set_defaults(run=_import)


def _import(given: argparse.Namespace) -> int:
    contents = read_graph(given.source)
    if not contents.variables:
        raise ExpkitError.at(given.source, "holds no variables to draft a network from")
    print_or_write(write_yaml(contents, Path(given.source).name), given.file)
    return 0
