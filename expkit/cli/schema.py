"""The verb ``schema``: JSON Schema of the configuration, for editors and other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from expkit.cli.writing import print_or_write
from expkit.config.json_schema import FILES, file_schema, schema_text, whole_schema
from expkit.config.search import primary_conf
from expkit.plugins import load_plugins

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "schema",
        help="write JSON Schema of the configuration",
        description="Print JSON Schema (draft 2020-12) of a whole configuration, as a run keeps it, or of the files of "
        "one section. To name its schema, a file has the comment `# yaml-language-server: $schema=PATH`.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="write to a file instead")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="include a plugin's kinds: a file or a module",
    )
    parser.add_argument("--section", choices=FILES, help="for the files of a section: conf/SECTION/*.yaml")
    parser.set_defaults(run=_schema)


def _schema(given: argparse.Namespace) -> int:
    load_plugins(given.plugin, [Path.cwd(), primary_conf()])
    from expkit.sweeps.sweeper_selection import HydraSettings

    schema = file_schema(given.section, HydraSettings) if given.section else whole_schema()
    print_or_write(schema_text(schema), given.file)
    return 0
