"""Learning curves of a sweep's configurations, each a mean over its runs with a band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from expkit.plots import style
from expkit.plots.axis_scale import spans_decades
from expkit.report.plots.colors import COLORS, caption
from expkit.report.rows import RunRow
from expkit.report.runs import Sweep
from expkit.sweeps.standing import mean_text
from expkit.sweeps.statistics import summarize

__all__ = ["band_of", "bands"]

MOST_NAMED = 8
"""Maximum number of configurations with colors of their own; with more, the first ones are drawn by rank."""
MOST_DRAWN = 24
LONGEST_NAME = 60


def band_of(rows: Sequence[RunRow], metric: str) -> list[tuple[int, float, float, float]]:
    """Return step, mean, and the ends of its 95 % interval, at every step where all of the runs have a finite value."""
    recorded = (zip(*row.curve(metric), strict=True) for row in rows)
    curves = [{step: value for step, value in curve if math.isfinite(value)} for curve in recorded]
    curves = [curve for curve in curves if curve]
    if not curves:
        return []
    found = []
    for step in sorted(set.intersection(*(set(curve) for curve in curves))):
        summary = summarize([curve[step] for curve in curves], "max", bootstrap=False)
        low, high = summary.interval or (summary.mean, summary.mean)
        found.append((step, summary.mean, low, high))
    return found


def bands(sweep: Sweep, metrics: Sequence[str], title: str) -> Figure:
    """Return a panel for each metric, raw solid and EMA dashed, a line and a band for each configuration."""
    shown = [(item, rows) for item, rows in sweep.configurations[:MOST_DRAWN]]
    dropped = len(sweep.configurations) - len(shown)
    has_ema = any(row.curve(f"{metric}/ema")[0] for row in sweep.rows for metric in metrics)
    below = f"{caption(sweep)}; mean of the finished runs of a configuration, band: its 95 % interval"
    below += "; raw solid, EMA dashed" if has_ema else ""
    below += f"; {dropped} more configurations are not shown" if dropped else ""
    margins = style.Margins(bottom=0.5 + 0.2 * min(len(shown), MOST_NAMED))
    figure, panels = style.panels(len(metrics), 2, (3.9, 2.9), title, below, margins)
    named = len(shown) <= MOST_NAMED
    colors: list[Any] = [
        style.COLORS[place] if named else COLORS(place / max(1, len(shown) - 1)) for place in range(len(shown))
    ]
    for axes, metric in zip(panels, metrics, strict=True):
        style.quiet(axes, "step", metric)
        style.steps_axis(axes)
        drawn: list[float] = []
        for place, (_, rows) in reversed(list(enumerate(shown))):
            finished = [row for row in rows if row.state.status == "FINISHED"]
            for name in (metric, f"{metric}/ema"):
                drawn += _band(axes, band_of(finished, name), colors[place], ema=name != metric, best=place == 0)
        if spans_decades(drawn):
            axes.set_yscale("log")
    _names(panels[0], sweep, colors)
    return figure


def _band(
    axes: Axes, band: Sequence[tuple[int, float, float, float]], color: Any, *, ema: bool, best: bool
) -> list[float]:
    """Draw a line with its band, which only raw values have; return its values."""
    if not band:
        return []
    steps, means, lows, highs = map(list, zip(*band, strict=True))
    if not ema:
        axes.fill_between(steps, lows, highs, color=color, alpha=0.18, linewidth=0, zorder=1)
    axes.plot(steps, means, style.line_style(ema=ema), color=color, linewidth=2.2 if best else 1.3, zorder=3)
    return means


def _names(axes: Axes, sweep: Sweep, colors: Sequence[Any]) -> None:
    """Write the names of the first configurations below the first panel, best first."""
    handles, labels = [], []
    for (item, _), color in list(zip(sweep.configurations, colors, strict=False))[:MOST_NAMED]:
        handles.append(Line2D([], [], color=color, linewidth=2))
        place = sweep.standing.ranked.index(item) if item in sweep.standing.ranked else None
        end = "no value" if place is None else mean_text(sweep.standing.summaries[place])
        label = item.label if len(item.label) <= LONGEST_NAME else f"{item.label[: LONGEST_NAME - 1]}…"
        labels.append(f"{label}  ({end})")
    axes.legend(
        handles, labels, fontsize=style.SMALL, frameon=False, labelcolor=style.INK, loc="upper left",
        bbox_to_anchor=(-0.12, -0.45 / 2.9), borderaxespad=0, handlelength=1.6,
    )  # fmt: skip
