"""Slices: the objective against one parameter at a time."""

from __future__ import annotations

from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import AxisScale, scale_of, spans_decades
from expkit.report.plots.colors import caption
from expkit.report.runs import Sweep

__all__ = ["slices"]

MAX_MEDIANS = 10
"""Maximum number of different values with a line through their medians."""


def slices(sweep: Sweep, title: str) -> Figure | None:
    """Return a panel for each varied key, with a point for each run and the medians of the values."""
    if not sweep.varied or not sweep.finished:
        return None
    keys = sweep.varied
    bars = "; bars: mean of a configuration with its 95 % interval" if sweep.standing.replicated else ""
    best = "the best configuration" if bars else "the best run"
    below = f"{caption(sweep)}; line: median of the runs of each value{bars}; ring: {best}"
    figure, panels = style.panels(len(keys), 3, (2.6, 2.2) if len(keys) > 1 else (4.6, 2.6), title, below)
    scores = [sweep.score(row) for row in sweep.finished]
    for axes, key in zip(panels, keys, strict=True):
        style.quiet(axes, sweep.names[key], sweep.metric)
        if spans_decades(scores):
            axes.set_yscale("log")
        scale = scale_of(row.values.get(key) for row in sweep.rows)
        _points(axes, sweep, key, scale)
        if scale.words:
            axes.set_xticks(range(len(scale.words)), [_shortened(word) for word in scale.words])
            axes.set_xlim(-0.5, len(scale.words) - 0.5)
            if len(scale.words) > 4:
                axes.tick_params(axis="x", rotation=30)
        else:
            if scale.logarithmic:
                axes.set_xscale("log")
            style.ticks_at(axes, [row.values[key] for row in sweep.rows])
    return figure


def _points(axes: Axes, sweep: Sweep, key: str, scale: AxisScale) -> None:
    def x(value: Any) -> float:
        return scale.position(value) if scale.words else float(value)

    rows = sweep.finished
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        groups.setdefault(sweep.texts[key](row.values.get(key)), []).append((x(row.values.get(key)), sweep.score(row)))
    if 1 < len(groups) <= MAX_MEDIANS and len(rows) > len(groups):
        middle = sorted((pairs[0][0], median(score for _, score in pairs)) for pairs in groups.values())
        axes.plot(*zip(*middle, strict=True), color=style.BAD, linewidth=1.2, zorder=1)
    axes.plot(
        [x(row.values.get(key)) for row in rows], [sweep.score(row) for row in rows], "o", color=style.COLORS[0],
        markersize=5, alpha=0.75, markeredgewidth=0, zorder=2,
    )  # fmt: skip
    standing = sweep.standing
    for item, summary in zip(standing.ranked, standing.summaries, strict=True) if standing.replicated else ():
        at = x(sweep.by_name[item.runs[0].name].values.get(key))
        if summary.interval is not None:
            axes.errorbar(
                [at], [summary.mean], [[summary.mean - summary.interval[0]], [summary.interval[1] - summary.mean]],
                fmt="_", color=style.INK, markersize=7, elinewidth=1.1, capsize=2, zorder=2.5,
            )  # fmt: skip
    best = rows[0]
    score = standing.best_summary.mean if standing.best is not None else sweep.score(best)
    axes.plot(
        [x(best.values.get(key))], [score], "o", color=style.COLORS[1], markersize=10,
        markerfacecolor="none", markeredgewidth=1.6, zorder=3,
    )  # fmt: skip
    if sweep.unfinished:
        axes.plot(
            [x(row.values.get(key)) for row in sweep.unfinished], [0.0] * len(sweep.unfinished), "x", color=style.MUTED,
            markersize=5, clip_on=False, transform=axes.get_xaxis_transform(), zorder=3,
        )  # fmt: skip


def _shortened(word: str) -> str:
    return word if len(word) <= 14 else f"{word[:13]}…"
