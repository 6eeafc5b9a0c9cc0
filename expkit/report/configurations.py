"""Table of a sweep's configurations: means over replicates with their intervals, and who is tied with the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from expkit.redact import masked
from expkit.report.runs import Sweep
from expkit.report.table import Table, are_numbers
from expkit.sweeps.standing import Configuration, mean_text, score_text
from expkit.sweeps.statistics import summarize

__all__ = ["as_latex", "as_markdown", "configurations_table", "description", "verdict_lines"]

_MOST_LINES = 20
_LONGEST = 7000  # MLflow takes texts of 8,000 letters


def configurations_table(sweep: Sweep) -> Table:
    """Return the table, best mean first; columns of replicates only if there are any."""
    standing = sweep.standing
    metric = sweep.metric
    test = metric.removesuffix("/ema").replace("valid/", "test/", 1)
    others = [name for name in (test, f"{test}/ema") if name != metric and any(name in row.last for row in sweep.rows)]
    several = standing.replicated
    head = ["", f"{metric} (95 %)" if several else metric, *(("n", "sd", "median", "worst") if several else ())]
    head += [f"{name} (95 %)" if several else name for name in others]
    head += [*(sweep.names[key] for key in sweep.varied), *(("against the best",) if several else ())]
    missing = any(item.without(metric) for item in standing.configurations)
    head += ["without a value"] if missing else []
    lines = []
    for place, (item, rows) in enumerate(sweep.configurations, 1):
        ranked = place <= len(standing.ranked)
        line = [str(place) if ranked else "", *_numbers(sweep, item, metric, several)]
        line += [_mean(sweep, item, name) for name in others]
        line += [sweep.texts[key](rows[0].values.get(key)) for key in sweep.varied]
        line += [standing.against(item)] if several else []
        line += [_missing(item, metric)] if missing else []
        lines.append(tuple(line))
    numeric = [True] * (2 + 4 * several + len(others))
    numeric += [are_numbers([row.values.get(key) for row in sweep.rows]) for key in sweep.varied]
    return Table(tuple(head), tuple(lines), (*numeric, *([False] * (several + missing))))


def verdict_lines(sweep: Sweep) -> list[str]:
    """Return the best configuration, who is tied with it, and how it was chosen, in sentences."""
    standing = sweep.standing
    if standing.best is None:
        return []
    lines = [f"best {standing.result}", standing.verdict, standing.choice]
    return [line for line in lines if line is not None]


def description(sweep: Sweep) -> str:
    """Return the result of a sweep in Markdown: its best configuration, who is tied with it, the first of the table."""
    table = configurations_table(sweep)
    left = len(table.lines) - _MOST_LINES
    lines = [f"{line[0].upper()}{line[1:]}.\n" for line in verdict_lines(sweep)]
    lines.append(as_markdown(replace(table, lines=table.lines[:_MOST_LINES])))
    lines += [f"{left} more are in the report among the artifacts.\n"] if left > 0 else []
    return masked("\n".join(lines))[:_LONGEST]


def as_markdown(table: Table) -> str:
    """Return a table in Markdown."""
    ruler = ["---:" if numeric else "---" for numeric in table.numeric]
    lines = [table.columns, ruler, *table.lines]
    return "".join("| " + " | ".join(_escaped(cell, _MARKDOWN) for cell in line) + " |\n" for line in lines)


def as_latex(table: Table) -> str:
    """Return a table in LaTeX, for the package ``booktabs``."""
    columns = "".join("r" if numeric else "l" for numeric in table.numeric)

    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escaped(cell, _LATEX) for cell in cells) + r" \\" + "\n"

    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(table.columns)}\\midrule\n"
        + "".join(map(line, table.lines))
        + "\\bottomrule\n\\end{tabular}\n"
    )


_MARKDOWN = {"\\": "\\\\", "|": "\\|", "\n": " ", "<": "&lt;", "*": "\\*", "`": "\\`"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\n": " ",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def _escaped(text: str, letters: dict[str, str]) -> str:
    return "".join(letters.get(letter, letter) for letter in text)


def _numbers(sweep: Sweep, item: Configuration, metric: str, several: bool) -> list[str]:
    sample = item.sample(metric)
    if not sample:
        return ["", *(["0", "", "", ""] if several else [])]
    found = summarize(list(sample.values()), sweep.objective.mode)
    if not several:
        return [mean_text(found)]
    deviation = "" if found.deviation is None else score_text(found.deviation)
    return [mean_text(found), str(found.n), deviation, score_text(found.median), score_text(found.worst)]


def _mean(sweep: Sweep, item: Configuration, metric: str) -> str:
    sample = item.sample(metric)
    return mean_text(summarize(list(sample.values()), sweep.objective.mode)) if sample else ""


def _missing(item: Configuration, metric: str) -> str:
    """Return the runs without a value by status, with what tells them from the other replicates."""
    without = item.without(metric)
    parts = {run.name: run.label.split(", ") for run in item.runs}
    shared = set.intersection(*map(set, parts.values()))
    own = {name: ", ".join(part for part in each if part not in shared) for name, each in parts.items()}
    shown = [f"{own[run.name] or run.label} {_status(run.status)}" for run in without[:5]]
    return ", ".join([*shown, *([f"and {len(without) - 5} more"] if len(without) > 5 else [])])


def _status(status: str) -> str:
    return "has no finite value" if status == "FINISHED" else status.lower()
