"""Learning curves of all runs of a sweep."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import spans_decades
from expkit.report.plots.bands import bands
from expkit.report.plots.colors import caption, color_bar, colors_of
from expkit.report.rows import RunRow
from expkit.report.runs import Sweep

__all__ = ["children_curves", "panels_of"]

MOST_NAMED = 8
"""Maximum number of runs with colors and names of their own; with more runs, colors show ranks."""
LONGEST_NAME = 46


def panels_of(sweep: Sweep) -> list[str]:
    """Return the raw metrics that have a panel: the objective, on a split that was evaluated repeatedly, and a loss."""
    metric = sweep.metric.removesuffix("/ema")
    name = metric.partition("/")[2]
    groups = ([metric, f"valid/{name}", f"train/{name}"], ["train/loss", "valid/loss"])
    curves = [[it for it in group if any(len(row.curve(it)[0]) > 1 for row in sweep.rows)] for group in groups]
    return list(dict.fromkeys(it for group in curves for it in group[:1]))


def children_curves(sweep: Sweep, title: str) -> Figure | None:
    """Return every run's curves, raw solid and EMA dashed, with a panel for the objective and one for the loss."""
    metrics = panels_of(sweep)
    if not metrics:
        return None
    if sweep.standing.replicated:
        return bands(sweep, metrics, title)
    named = len(sweep.rows) <= MOST_NAMED
    has_ema = any(row.curve(f"{metric}/ema")[0] for row in sweep.rows for metric in metrics)
    below = f"{caption(sweep)}{'; raw solid, EMA dashed' if has_ema else ''}; dotted: not finished"
    below = below if sweep.unfinished else below.removesuffix("; dotted: not finished")
    margins = style.Margins(bottom=0.5 + (0.2 * len(sweep.rows) if named else 0.0), right=0.2 if named else 0.95)
    figure, panels = style.panels(len(metrics), 2, (3.9, 2.9), title, below, margins)
    by_score = colors_of(sweep)
    colors = {
        id(row): style.COLORS[rank] if named else by_score.get(id(row), style.BAD)
        for rank, row in enumerate(sweep.rows)
    }
    for axes, metric in zip(panels, metrics, strict=True):
        style.quiet(axes, "step", metric)
        style.steps_axis(axes)
        for row in reversed(sweep.rows):
            _curves(axes, row, metric, colors[id(row)], finished=id(row) in by_score, best=row is sweep.best)
        curves = [row.curve(name)[1] for row in sweep.rows for name in (metric, f"{metric}/ema")]
        if spans_decades([value for curve in curves for value in curve]):
            axes.set_yscale("log")
    if named:
        _names(panels[0], sweep, colors, 2.9)
    elif by_score:
        color_bar(figure, panels[-1], sweep)
    return figure


def _curves(axes: Axes, row: RunRow, metric: str, color: Any, *, finished: bool, best: bool) -> None:
    width = 2.4 if best else 1.2
    for name in (metric, f"{metric}/ema"):
        steps, values = row.curve(name)
        if not steps:
            continue
        look = ":" if not finished else style.line_style(ema=name != metric)
        axes.plot(steps, values, look, color=color, linewidth=width, alpha=0.9, zorder=3 if best else 2)
        if not finished:
            axes.plot(steps[-1:], values[-1:], "x", color=color, markersize=6)


def _names(axes: Axes, sweep: Sweep, colors: dict[int, Any], high: float) -> None:
    """Write the names of the runs below the first panel, best first."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    for row in sweep.rows:
        finished = row.state.status == "FINISHED" and sweep.metric in row.last
        handles.append(Line2D([], [], color=colors[id(row)], linestyle="-" if finished else ":", linewidth=2))
        end = f"{sweep.score(row):.4g}" if finished else row.state.status.lower()
        label = row.label if len(row.label) <= LONGEST_NAME else f"{row.label[: LONGEST_NAME - 1]}…"
        labels.append(f"{label}  ({end})")
    axes.legend(
        handles, labels, fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="upper left",
        bbox_to_anchor=(-0.12, -0.45 / high), borderaxespad=0, handlelength=1.6,
    )  # fmt: skip
