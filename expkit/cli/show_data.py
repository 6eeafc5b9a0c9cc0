"""The verb ``show-data``: a contact sheet of training examples, as read, preprocessed and augmented."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.errors import ConfigError, ExpkitError
from expkit.fs import cannot_write
from expkit.preflight import load_checked

__all__ = ["add_verbs"]

DEFAULT = "examples.png"


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "show-data",
        help="draw training examples as read, preprocessed and augmented, with their classes",
        description="Draw training examples into a picture, one in each row: as the source gives them, after "
        "preprocessing, and as the first epochs of training see them. Fields that are not images are lines of text, "
        "and printed, too. Nothing is trained.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: data=image_folder")
    parser.add_argument("--output", metavar="FILE.png", default=DEFAULT, help=f"the picture; default: {DEFAULT}")
    parser.add_argument("--examples", type=int, metavar="N", default=8, help="number of examples, 1 to 100; default: 8")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_show)


def _show(given: argparse.Namespace) -> int:
    output = Path(given.output)
    if not 1 <= given.examples <= 100:
        raise ConfigError.at("--examples", f"needs 1 to 100, got {given.examples}")
    if output.suffix != ".png":
        raise ConfigError.at("--output", f"{given.output} does not end in .png; give FILE.png")
    if output.is_dir() or not output.absolute().parent.is_dir():
        problem = "is a folder" if output.is_dir() else f"there is no folder {output.absolute().parent}"
        raise ConfigError.at("--output", f"{given.output}: {problem}; give FILE.png in a folder that exists")
    checked = load_checked(given.overrides, given.config_dir)
    # Imported late: they need the libraries of plots and data, and a configuration that is right.
    from expkit.data.dataset import load_dataset
    from expkit.plots.examples import contact_sheet
    from expkit.plots.examples_data import ExampleSheet, collect_examples
    from expkit.plots.style import save

    def printed(sheet: ExampleSheet) -> Iterator[str]:
        for row in sheet.rows if any(row.lines for row in sheet.rows) else ():
            yield ", ".join(row.label.split("\n"))
            yield from (f"  {line}" for line in row.lines)

    dataset = load_dataset(checked.config, checked.spec)
    sheet = collect_examples(checked.config, checked.spec, dataset, given.examples)
    try:
        save(contact_sheet(sheet, checked.config.run.name), output)
    except OSError as error:
        raise ExpkitError.at("--output", cannot_write(given.output, error)) from None
    for warning in dataset.warnings:
        print(f"note: {warning}")
    for line in printed(sheet):
        print(line)
    print(f"wrote {given.output}: {len(sheet.rows)} of {sheet.examples:,} training examples")
    return 0
