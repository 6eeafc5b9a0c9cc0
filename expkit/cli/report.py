"""The verb ``report``: a sweep's report from the folders of its runs."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from expkit.errors import RunError, comma_list
from expkit.report.configurations import as_latex, as_markdown, configurations_table, verdict_lines
from expkit.report.runs import Sweep, read_sweep
from expkit.report.sweeps import compare_sweeps
from expkit.report.table import Table as Content
from expkit.report.table import table_of
from expkit.run_lookup import named_path
from expkit.sweeps.sweep_folder import sweep_folders

__all__ = ["add_verbs"]

MAX_LINES = 20
"""Maximum number of runs printed; the page has all."""
_NOT_PRINTED = ("parameters", "run")
"""Columns of the page only, as are those of the test split."""


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "report",
        help="write the report of a sweep: table, pictures, one page",
        description="Write SWEEP/report, a page with a table of the runs and pictures, from their folders alone.",
    )
    parser.add_argument(
        "sweeps",
        metavar="SWEEP",
        nargs="+",
        help="folder of the sweep, or the id of its MLflow run; several are compared",
    )
    parser.add_argument(
        "--format",
        choices=("html", "latex", "markdown"),
        default="html",
        help="html writes the page (default); markdown and latex print the table of configurations alone",
    )
    parser.add_argument("--metric", metavar="NAME", help="objective of the report (default: the sweep's)")
    parser.add_argument(
        "--mode", choices=("max", "min"), help="mode of the objective (default: the usual one of the metric)"
    )
    parser.add_argument(
        "--folder", default="runs", metavar="DIR", help="folder of all runs, searched for an MLflow id (default: runs)"
    )
    parser.add_argument(
        "--log", action="store_true", help="upload the report to the sweep's MLflow run, as the end of a sweep does"
    )
    parser.set_defaults(run=_report)


def _report(given: argparse.Namespace) -> int:
    folders = [_folder(sweep, Path(given.folder)) for sweep in given.sweeps]
    if given.log and (len(folders) > 1 or given.format != "html"):
        raise RunError.at("--log", "uploads the page of one sweep; give one SWEEP without --format")
    if len(folders) > 1:
        return _compare(folders, given)
    (folder,) = folders
    sweep = read_sweep(folder, given.metric, given.mode)
    if given.format != "html":
        print(_formatted(configurations_table(sweep), given.format), end="")
        return 0
    from expkit.report.write import REPORT, draw_report

    written = draw_report(sweep, folder / REPORT)
    _print(sweep)
    print(f"wrote {written[0]} and {len(written) - 1} files beside it")
    return _log(folder) if given.log else 0


def _compare(folders: Sequence[Path], given: argparse.Namespace) -> int:
    """Print the best configurations of sweeps beside each other."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise RunError.at("SWEEP", "names a sweep twice; give different ones")
    first = read_sweep(folders[0], given.metric, given.mode)
    found = compare_sweeps([first, *(read_sweep(folder, first.metric, given.mode) for folder in folders[1:])])
    if given.format != "html":
        print(_formatted(found.table, given.format), end="")
        return 0
    console = Console()
    _print_table(found.table, range(len(found.table.columns)), console)
    for line in found.lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _formatted(table: Content, form: str) -> str:
    return as_latex(table) if form == "latex" else as_markdown(table)


def _log(folder: Path) -> int:
    """Upload the report to the sweep's MLflow run; return 1 if its store does not answer."""
    from expkit.tracking.journal import Journal
    from expkit.tracking.sync import addresses, sync
    from expkit.tracking.uploader import OpenStores

    journal = Journal(folder)
    if not journal.exists():
        raise RunError.at("--log", f"{folder} is not a sweep recorded in MLflow; omit --log")
    journal.append("artifacts", paths=["report"])
    (address,) = addresses([folder])
    synced = sync(folder, OpenStores(), address)
    print(synced)
    return 1 if synced.cause is not None else 0


def _folder(sweep: str, runs: Path) -> Path:
    """Return the folder of a sweep, given as a path, or as the id of its MLflow run or of one of its runs.

    Raises:
        RunError: there is no such folder.
    """
    path = named_path(sweep, "sweep")
    if path.exists() or len(sweep) != 32:
        if path.exists() and not path.is_dir():
            raise RunError.at(sweep, "is a file; give the folder of a sweep")
        if not path.exists():
            near = [folder.path.as_posix() for folder in sweep_folders(runs)]
            raise RunError.at(sweep, f"does not exist; sweeps: {comma_list(near, 5)}")
        return path
    for found in sweep_folders(runs):
        if any(f'"{sweep}"' in file.read_text() for file in [found.file, *found.path.glob("*/run.json")]):
            return found.path
    raise RunError.at(
        sweep, f"no sweep of this MLflow run in {runs}/multirun; give another --folder, or the folder of the sweep"
    )


def _shown(content: Content, metric: str, hidden: Collection[str]) -> list[int]:
    """Return the indices of the columns to print; those of the test split only where it decides."""
    return [
        index
        for index, name in enumerate(content.columns)
        if name not in hidden and (not name.startswith("test/") or metric.startswith("test/"))
    ]


def _print_table(content: Content, shown: Sequence[int], console: Console, *, bold: int | None = None) -> None:
    """Print columns of the first lines of a table; those without a rank are dim, that of the best run may be bold."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index in shown:
        name = content.columns[index].replace("/", "/\n")
        table.add_column(escape(name), justify="right" if content.numeric[index] else "left", overflow="fold")
    for number, line in enumerate(content.lines[:MAX_LINES]):
        style = "bold" if number == bold else "" if line[0] else "dim"
        table.add_row(*(escape(line[index]) for index in shown), style=style)
    console.print(table)
    if len(content.lines) > MAX_LINES:
        console.print(f"and {len(content.lines) - MAX_LINES} more", highlight=False)


def _print(sweep: Sweep) -> None:
    console = Console()
    if sweep.standing.replicated:
        content = configurations_table(sweep)
        _print_table(content, _shown(content, sweep.metric, ("median", "worst")), console)
    else:
        content = table_of(sweep)
        hidden = (*_NOT_PRINTED, *(() if sweep.unfinished else ("ended",)))
        best = next((index for index, row in enumerate(sweep.rows) if row is sweep.best), None)
        _print_table(content, _shown(content, sweep.metric, hidden), console, bold=best)
    for row in [row for row in sweep.unfinished if row.state.error][:MAX_LINES]:
        error = str(row.state.error).partition("\n")[0]
        console.print(f"{row.state.status.lower()} {row.label}: {error}", highlight=False, markup=False, soft_wrap=True)
    for line in verdict_lines(sweep):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if sweep.constant:
        console.print(f"shared by all runs: {escape(', '.join(sweep.constant))}", highlight=False, soft_wrap=True)
