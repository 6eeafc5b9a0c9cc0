"""Means of a sweep's configurations with their intervals, best first."""

from __future__ import annotations

from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import spans_decades
from expkit.report.plots.colors import caption
from expkit.report.runs import Sweep

__all__ = ["means"]

MAX_CONFIGURATIONS = 30
LONGEST_NAME = 44


def means(sweep: Sweep, title: str) -> Figure | None:
    """Return a line for each configuration: its runs as dots, its mean with the 95 % interval; ties in color."""
    standing = sweep.standing
    shown = standing.ranked[:MAX_CONFIGURATIONS]
    if not standing.replicated or not shown:
        return None
    names = [item.label if len(item.label) <= LONGEST_NAME else f"{item.label[: LONGEST_NAME - 1]}…" for item in shown]
    dropped = len(standing.ranked) - len(shown)
    below = f"{caption(sweep)}; dots: runs; bars: 95 % interval of the mean; {standing.verdict or 'one configuration'}"
    below += f"; {dropped} more configurations are not shown" if dropped else ""
    margins = style.Margins(left=0.35 + 0.07 * max(map(len, names)), right=0.3)
    figure, (axes,) = style.panels(1, 1, (5.2, 0.3 * len(shown) + 0.3), title, below, margins)
    style.quiet(axes, sweep.metric).grid(axis="y", visible=False)
    values: list[float] = []
    for place, (item, summary) in enumerate(zip(shown, standing.summaries, strict=False)):
        best, tied = place == 0, item in standing.tied
        color = style.COLORS[0] if best else style.COLORS[4] if tied else style.BAD
        runs = list(item.sample(sweep.metric).values())
        values += runs
        axes.plot(runs, [place] * len(runs), "o", color=color, markersize=3.5, alpha=0.45, markeredgewidth=0, zorder=2)
        low, high = summary.interval or (summary.mean, summary.mean)
        axes.plot([low, high], [place, place], color=color, linewidth=1.8, zorder=3, solid_capstyle="butt")
        axes.plot([summary.mean], [place], "D" if item is standing.best else "o", color=color, markersize=7, zorder=4)
        if tied:
            place_of_text = (max(high, *runs), place)
            axes.annotate(
                "tied", place_of_text, xytext=(5, 0), textcoords="offset points", va="center", fontsize=7.5,
                color=style.MUTED,
            )  # fmt: skip
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    if spans_decades(values):
        axes.set_xscale("log")
    return figure
