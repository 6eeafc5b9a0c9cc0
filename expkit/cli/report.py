"""The verb ``report``: a sweep's table, pictures and page, from the folders of its runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from expkit.errors import RunError, comma_list
from expkit.report.runs import Sweep, read_sweep
from expkit.report.table import table_of
from expkit.run_folder import named_path

__all__ = ["add_verbs"]

MOST_LINES = 20
"""How many runs are printed; the page has all."""
_ON_THE_PAGE = ("parameters", "run")
"""Columns that are not printed, as those of the test part are not."""


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "report",
        help="tell what a sweep found: table, pictures, one page",
        description="Write SWEEP/report: a page with the runs' table and pictures; reads the runs' folders alone.",
    )
    parser.add_argument("sweep", metavar="SWEEP", help="folder of the sweep, or the id of its MLflow run")
    parser.add_argument("--metric", metavar="NAME", help="judge runs by this metric (as the sweep does)")
    parser.add_argument("--mode", choices=("max", "min"), help="whether the best is the largest or smallest")
    parser.add_argument("--folder", default="runs", metavar="DIR", help="where an MLflow run's id is looked for (runs)")
    parser.add_argument(
        "--log", action="store_true", help="keep the report with the sweep's MLflow run, as its end does"
    )
    parser.set_defaults(run=_report)


def _report(given: argparse.Namespace) -> int:
    folder = _folder(given.sweep, Path(given.folder))
    sweep = read_sweep(folder, given.metric, given.mode)
    from expkit.report.write import REPORT, draw_report

    written = draw_report(sweep, folder / REPORT)
    _print(sweep)
    print(f"wrote {written[0]} and {len(written) - 1} files beside it")
    return _log(folder) if given.log else 0


def _log(folder: Path) -> int:
    """Keep the report with the sweep's MLflow run; return 1 when its store does not answer."""
    from expkit.tracking.journal import Journal
    from expkit.tracking.sync import sync
    from expkit.tracking.uploader import Stores

    journal = Journal(folder)
    if not journal.exists():
        raise RunError.at("--log", f"{folder} is no sweep that was recorded in MLflow; leave --log out")
    journal.append("artifacts", paths=["report"], folder=None)
    synced = sync(folder, Stores())
    print(synced)
    return 1 if synced.why is not None else 0


def _folder(sweep: str, runs: Path) -> Path:
    """Return the folder of a sweep; an id is that of its MLflow run, or of one of its runs.

    Raises:
        RunError: there is none.
    """
    path = named_path(sweep, "sweep")
    if path.exists() or len(sweep) != 32:
        if path.exists() and not path.is_dir():
            raise RunError.at(sweep, "is a file; give the folder of a sweep")
        if not path.exists():
            near = sorted((file.as_posix() for file in runs.glob("multirun/*/*/")), reverse=True)
            raise RunError.at(sweep, f"does not exist; sweeps: {comma_list(near, 5)}")
        return path
    for file in [*runs.glob("multirun/*/*/sweep.json"), *runs.glob("multirun/*/*/*/run.json")]:
        if f'"{sweep}"' in file.read_text():
            return file.parent if file.name == "sweep.json" else file.parent.parent
    raise RunError.at(
        sweep, f"no sweep of this MLflow run in {runs}/multirun; name another place with --folder, or give its folder"
    )


def _print(sweep: Sweep) -> None:
    console = Console()
    found = table_of(sweep)
    table = Table(box=None, header_style="bold", pad_edge=False)
    dropped = {*_ON_THE_PAGE, *(() if sweep.others else ("ended",))}
    shown = [
        place
        for place, name in enumerate(found.columns)
        if name not in dropped and (not name.startswith("test/") or sweep.metric.startswith("test/"))
    ]
    for place in shown:
        name = found.columns[place].replace("/", "/\n")
        table.add_column(escape(name), justify="right" if found.numeric[place] else "left", overflow="fold")
    for row, line in zip(sweep.rows[:MOST_LINES], found.lines, strict=False):
        style = "bold" if row is sweep.best else "" if line[0] else "dim"
        table.add_row(*(escape(line[place]) for place in shown), style=style)
    console.print(table)
    if len(sweep.rows) > MOST_LINES:
        console.print(f"and {len(sweep.rows) - MOST_LINES} more", highlight=False)
    for row in [row for row in sweep.others if row.error][:MOST_LINES]:
        error = str(row.error).partition("\n")[0]
        console.print(f"{row.status.lower()} {row.label}: {error}", highlight=False, markup=False, soft_wrap=True)
    if sweep.constant:
        console.print(f"the same in all: {escape(', '.join(sweep.constant))}", highlight=False, soft_wrap=True)
