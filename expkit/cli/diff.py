"""The verb ``diff``: comparison of two runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from expkit.plots.axis_scale import number_text, value_texts
from expkit.report.compare import MISSING, RunComparison, ValuePair, compare_runs
from expkit.report.over_seeds import MetricOverSeeds, over_seeds
from expkit.run_lookup import find_run
from expkit.sweeps.standing import mean_text

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "diff",
        help="compare two runs: configuration, variables, metrics",
        description="Show the differences between two runs. Exit code 0: equal, 1: different, 2: invalid input.",
    )
    parser.add_argument("first", metavar="RUN_A", help="run folder")
    parser.add_argument("second", metavar="RUN_B", help="run folder")
    parser.add_argument("--json", action="store_true", help="print the differences as one JSON object")
    parser.set_defaults(run=_diff)


def _diff(given: argparse.Namespace) -> int:
    first, second = find_run(given.first), find_run(given.second)
    comparison, replicated = compare_runs(first, second), over_seeds(first, second)
    if given.json:
        runs = [first.path.as_posix(), second.path.as_posix()]
        seeds = {"over_seeds": {item.name: item.as_dict() for item in replicated}} if replicated else {}
        print(json.dumps({"runs": runs, "same": comparison.equal, **comparison.as_dict(), **seeds}, indent=2))
    else:
        print(f"A  {first.path.as_posix()}\nB  {second.path.as_posix()}\n")
        _print(comparison)
        if replicated:
            _print_over_seeds(replicated)
    return 0 if comparison.equal else 1


def _print(comparison: RunComparison) -> None:
    console = Console()
    for name, pairs in comparison.sections.items():
        shown = [pair for pair in pairs if not pair.equal]
        same = len(pairs) - len(shown)
        if not shown:
            console.print(f"[bold]{name}[/]  the same, {same:,}\n", highlight=False)
            continue
        numbers = name == "metrics"
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in (name, "A", "B", *(("B - A",) if numbers else ())):
            table.add_column(column, overflow="fold", justify="right" if numbers and column != name else "left")
        for pair in shown:
            cells = [pair.name, *_texts(pair), *([_difference(pair)] if numbers else [])]
            table.add_row(*(escape(cell) for cell in cells), style=None if pair.relevant else "dim")
        console.print(table)
        console.print(f"{f'and {same:,} the same' if same else ''}\n", highlight=False)


def _print_over_seeds(metrics: Sequence[MetricOverSeeds]) -> None:
    """Print the means of both configurations over the replicates of their sweeps, with their 95 % intervals."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("over seeds", "A", "B", "B - A", "p"):
        table.add_column(column, overflow="fold", justify="left" if column == "over seeds" else "right")
    for item in metrics:
        means = (f"{mean_text(summary)} (n={summary.n})" for summary in (item.first, item.second))
        change = item.second.mean - item.first.mean
        p = "-" if item.p is None else f"{item.p:.3f}"
        table.add_row(escape(item.name), *means, f"{'+' if change > 0 else ''}{number_text(change)}", p)
    console = Console()
    console.print(table)
    console.print("p: of each metric alone, paired where seeds are shared\n", highlight=False)


def _texts(pair: ValuePair) -> list[str]:
    both = [value for value in (pair.first, pair.second) if value is not MISSING]
    text = value_texts(both)
    return ["-" if value is MISSING else text(value) for value in (pair.first, pair.second)]


def _difference(pair: ValuePair) -> str:
    if pair.first is MISSING or pair.second is MISSING:
        return ""
    return f"{'+' if pair.second > pair.first else ''}{number_text(pair.second - pair.first)}"
