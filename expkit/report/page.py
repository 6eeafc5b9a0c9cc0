"""The report as a single HTML page with embedded pictures, without scripts or external resources."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from expkit.errors import DataError
from expkit.plots.axis_scale import number_text
from expkit.report.configurations import configurations_table
from expkit.report.rows import RunRow
from expkit.report.runs import Sweep
from expkit.report.table import Table, classes_of, table_of
from expkit.sweeps.standing import Configuration, Standing, mean_text

__all__ = ["page"]

_STYLE = """\
body{font:15px/1.5 -apple-system,"Segoe UI",Helvetica,Arial,"Liberation Sans",sans-serif;color:#1c2733;margin:0 auto;
max-width:1180px;padding:24px 28px 60px}
h1{font-size:24px;margin:0 0 2px}h2{font-size:17px;margin:34px 0 8px}p{margin:4px 0}.m{color:#5f6b78}
.best{background:#eef5fb;border-left:4px solid #0072b2;padding:10px 14px;margin:16px 0}
.best b{font-size:20px}
code{font:13px/1.5 ui-monospace,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
.w{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th{text-align:left;border-bottom:2px solid #c9d1da;padding:4px 12px 4px 0;white-space:nowrap}
td{border-bottom:1px solid #e3e7eb;padding:3px 12px 3px 0;vertical-align:top}.n{text-align:right}
tr.first td{background:#eef5fb;font-weight:600}tr.tied td{background:#f6f3e6}
tr.bad td{color:#7a838d}td.e{min-width:220px;overflow-wrap:anywhere}
img{max-width:100%;height:auto;display:block}
"""

HEADINGS = {
    "means": "Means and intervals",
    "parallel_coordinates": "Parallel coordinates",
    "slices": "Objective against each parameter",
    "importance": "Importance of parameters",
    "learning_curves": "Learning curves",
    "cost": "Cost against score",
}
"""Headings of the pictures by file name, in their order."""


def page(sweep: Sweep, pictures: Mapping[str, bytes], missing: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        sweep: the sweep.
        pictures: PNG files by name; names are those of ``HEADINGS``.
        missing: reasons why pictures are missing, by name.
    """
    sections = [
        f"<h1>{escape(sweep.name)}</h1>",
        f'<p class="m">{len(sweep.rows)} run{"" if len(sweep.rows) == 1 else "s"}, {len(sweep.finished)} finished; '
        f"objective <b>{escape(sweep.metric)}</b>, {sweep.objective.better} is better</p>",
    ]
    if sweep.constant:
        sections.append(f'<p class="m">Shared by all runs: <code>{escape(", ".join(sweep.constant))}</code></p>')
    sections += _best(sweep)
    if sweep.standing.replicated:
        sections += ["<h2>Configurations</h2>", _configurations(sweep)]
    sections += ["<h2>Runs</h2>", _table(sweep)]
    sections += _classes(sweep)
    for name, heading in HEADINGS.items():
        sections.append(f"<h2>{heading}</h2>")
        if name in pictures:
            data = base64.b64encode(pictures[name]).decode()
            sections.append(f'<img alt="{heading}" src="data:image/png;base64,{data}">')
        else:
            sections.append(f'<p class="m">{escape(missing.get(name, "nothing to show"))}</p>')
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(sweep.name)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def _best(sweep: Sweep) -> list[str]:
    if sweep.best is None:
        return ['<div class="best">No run has finished with this metric.</div>']
    standing = sweep.standing
    assert standing.best is not None
    found = standing.best_summary
    score = mean_text(found) if found.n > 1 else number_text(found.mean)
    runs = f" mean of {found.n} runs" if found.n > 1 else ""
    label = standing.best.label if standing.replicated else sweep.best.label
    said = "".join(f"<br>{escape(line)}" for line in (standing.verdict, standing.choice) if line is not None)
    return [
        f'<div class="best"><b>{escape(score)}</b>{runs} {escape(label)}{said}'
        f"<br><code>{escape(sweep.best.command)}</code></div>"
    ]


def _configurations(sweep: Sweep) -> str:
    """Return the table of configurations; the best and those tied with it are marked."""
    table, standing = configurations_table(sweep), sweep.standing
    contenders = _contenders(standing)
    lines = []
    for item, line in zip(standing.configurations, table.lines, strict=True):
        css = "first" if item is standing.best else "tied" if item in contenders else "" if line[0] else "bad"
        lines.append(_line(line, table.numeric, css))
    return _as_html(table, lines)


def _contenders(standing: Standing) -> list[Configuration]:
    return [*standing.ranked[:1], *standing.tied] if standing.tied else []


def _table(sweep: Sweep) -> str:
    table = table_of(sweep)
    lines = []
    for row, line in zip(sweep.rows, table.lines, strict=True):
        css = "first" if row is sweep.best else "" if line[0] else "bad"
        lines.append(_line(_with_error(line, row), table.numeric, css, None if line[0] else len(table.columns) - 2))
    return _as_html(table, lines)


def _classes(sweep: Sweep) -> list[str]:
    """Return how well the best run predicts each class, or why that is not known."""
    if sweep.best is None:
        return []
    heading = f"<h2>Classes{f' of {escape(sweep.best.folder.name)}' if len(sweep.rows) > 1 else ''}</h2>"
    try:
        tables = classes_of(sweep.best)
    except DataError as error:
        return [heading, f'<p class="m">{escape(str(error))}</p>']
    sections = [heading] if tables else []
    for title, table in tables.items():
        lines = [_line(line, table.numeric, "") for line in table.lines]
        sections += [f'<p class="m">{escape(title)}</p>', _as_html(table, lines)]
    return sections


def _as_html(table: Table, lines: Sequence[str]) -> str:
    head = "".join(
        f"<th{_right(numeric)}>{escape(name)}</th>" for name, numeric in zip(table.columns, table.numeric, strict=True)
    )
    return f'<div class="w"><table>\n<tr>{head}</tr>\n' + "\n".join(lines) + "\n</table></div>"


def _line(cells: Sequence[str], numeric: Sequence[bool], css: str, error_at: int | None = None) -> str:
    """Return a row of a table; the cell at ``error_at`` holds an error and is wrapped."""
    shown = "".join(
        f"<td{' class=e' if index == error_at else _right(right)}>{escape(cell)}</td>"
        for index, (cell, right) in enumerate(zip(cells, numeric, strict=True))
    )
    return f"<tr{f' class={css}' if css else ''}>{shown}</tr>"


def _with_error(line: tuple[str, ...], row: RunRow) -> list[str]:
    return [*line[:-2], f"{line[-2]}: {row.state.error}" if row.state.error else line[-2], line[-1]]


def _right(numeric: bool) -> str:
    return " class=n" if numeric else ""
