"""The learning curves of all runs of a sweep in one picture."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import wide
from expkit.report.plots.colors import color_bar, colors_of, judged
from expkit.report.runs import Row, Sweep

__all__ = ["children_curves", "panels_of"]

MOST_NAMED = 8
"""Up to how many runs have a colour and a name of their own; of more, the objective gives the colour."""
LONGEST_NAME = 46


def panels_of(sweep: Sweep) -> list[str]:
    """Return the raw metrics that have a panel: the objective, or what of it was measured more than once; the loss."""
    metric = sweep.metric.removesuffix("/ema")
    name = metric.partition("/")[2]
    candidates = [metric, f"valid/{name}", f"train/{name}"]
    several = [it for it in candidates if any(len(row.curve(it)[0]) > 1 for row in sweep.rows)]
    losses = [it for it in ("train/loss", "valid/loss") if any(len(row.curve(it)[0]) > 1 for row in sweep.rows)]
    return list(dict.fromkeys([*several[:1], *losses[:1]]))


def children_curves(sweep: Sweep, title: str) -> Figure | None:
    """Return every run's curves, raw solid and averaged dashed, a panel for the objective and one for the loss."""
    metrics = panels_of(sweep)
    if not metrics:
        return None
    named = len(sweep.rows) <= MOST_NAMED
    averaged = any(row.curve(f"{metric}/ema")[0] for row in sweep.rows for metric in metrics)
    below = f"{judged(sweep)}{'; raw solid, averaged dashed' if averaged else ''}; dotted: not finished"
    below = below if sweep.others else below.removesuffix("; dotted: not finished")
    margins = style.Margins(bottom=0.5 + (0.2 * len(sweep.rows) if named else 0.0), right=0.2 if named else 0.95)
    figure, panels = style.panels(len(metrics), 2, (3.9, 2.9), title, below, margins)
    by_score = colors_of(sweep)
    colors = {
        id(row): style.COLORS[place] if named else by_score.get(id(row), style.BAD)
        for place, row in enumerate(sweep.rows)
    }
    for axes, metric in zip(panels, metrics, strict=True):
        style.quiet(axes, "step", metric)
        style.steps_axis(axes)
        for row in reversed(sweep.rows):
            _curves(axes, row, metric, colors[id(row)], finished=id(row) in by_score, best=row is sweep.best)
        if wide([value for row in sweep.rows for name in (metric, f"{metric}/ema") for value in row.curve(name)[1]]):
            axes.set_yscale("log")
    if named:
        _names(panels[0], sweep, colors, 2.9)
    elif by_score:
        color_bar(figure, panels[-1], sweep)
    return figure


def _curves(axes: Axes, row: Row, metric: str, color: Any, *, finished: bool, best: bool) -> None:
    width = 2.4 if best else 1.2
    for name in (metric, f"{metric}/ema"):
        steps, values = row.curve(name)
        if not steps:
            continue
        look = ":" if not finished else style.averaged_style(name != metric)
        axes.plot(steps, values, look, color=color, linewidth=width, alpha=0.9, zorder=3 if best else 2)
        if not finished:
            axes.plot(steps[-1:], values[-1:], "x", color=color, markersize=6)


def _names(axes: Axes, sweep: Sweep, colors: dict[int, Any], high: float) -> None:
    """Write the runs' names under the first panel, best first."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    for row in sweep.rows:
        finished = row.status == "FINISHED" and sweep.metric in row.last
        handles.append(Line2D([], [], color=colors[id(row)], linestyle="-" if finished else ":", linewidth=2))
        end = f"{sweep.score(row):.4g}" if finished else row.status.lower()
        label = row.label if len(row.label) <= LONGEST_NAME else f"{row.label[: LONGEST_NAME - 1]}…"
        labels.append(f"{label}  ({end})")
    axes.legend(
        handles, labels, fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="upper left",
        bbox_to_anchor=(-0.12, -0.45 / high), borderaxespad=0, handlelength=1.6,
    )  # fmt: skip
