"""Learning curves: metrics over steps, with the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.metric_names import LEARNING_RATE, is_rate
from expkit.plots import style
from expkit.plots.axis_scale import spans_decades

__all__ = ["Line", "learning_curves", "learning_rate", "lines_of"]

MAX_PANELS = 8

Points = Sequence[Mapping[str, float]]
"""Lines of ``metrics.jsonl``: ``step`` and metrics by name."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric of one split of the data, raw or EMA."""

    split: str
    metric: str
    ema: bool
    steps: tuple[int, ...]
    values: tuple[float, ...]


def lines_of(points: Points) -> list[Line]:
    """Return the curves of losses and metrics, ``SPLIT/METRIC`` and ``SPLIT/METRIC/ema``, in the order recorded."""
    found: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        for name, value in point.items():
            if name != "step":
                found.setdefault(name, []).append((int(point["step"]), value))
    lines = []
    for name, pairs in found.items():
        split, _, rest = name.partition("/")
        metric = rest.removesuffix("/ema")
        if split in style.SPLITS and not is_rate(metric):
            steps, values = zip(*pairs, strict=True)
            lines.append(Line(split=split, metric=metric, ema=rest != metric, steps=steps, values=values))
    return lines


def learning_curves(points: Points, title: str) -> Figure | None:
    """Return a panel for each metric over steps: training, validation and test, raw solid and EMA dashed."""
    lines = lines_of(points)
    metrics = list(dict.fromkeys(line.metric for line in lines))[:MAX_PANELS]
    if not metrics:
        return None
    caption = "raw solid, EMA dashed" if any(line.ema for line in lines) else ""
    figure, every = style.panels(len(metrics), 2, (3.5, 2.3) if len(metrics) > 1 else (5.0, 2.6), title, caption)
    for axes, metric in zip(every, metrics, strict=True):
        style.quiet(axes, "step", metric)
        style.steps_axis(axes)
        shown = [line for line in lines if line.metric == metric]
        for line in shown:
            _draw(axes, line)
        if spans_decades([value for line in shown for value in line.values]):
            axes.set_yscale("log")
        axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK)
    return figure


def learning_rate(points: Points, title: str) -> Figure | None:
    """Return the learning rate over steps, of every phase if there are several."""
    start = f"train/{LEARNING_RATE}"
    names = dict.fromkeys(name for point in points for name in point if name == start or name.startswith(f"{start}/"))
    if not names:
        return None
    every: list[float] = []
    figure, (axes,) = style.panels(1, 1, (5.0, 2.4), title, margins=style.Margins(left=0.95))
    style.quiet(axes, "step", "learning rate")
    style.steps_axis(axes)
    for number, name in enumerate(names):
        steps, values = zip(*[(int(point["step"]), point[name]) for point in points if name in point], strict=True)
        color = style.COLORS[number % len(style.COLORS)]
        marker = "o" if len(steps) < 20 else ""
        axes.plot(steps, values, color=color, marker=marker, markersize=3, label=name.removeprefix(f"{start}/"))
        every += values
    if len(names) > 1:
        axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK)
    style.plain_numbers(axes.yaxis)
    if spans_decades(every):
        axes.set_yscale("log")
    elif len(set(every)) == 1:
        axes.set_ylim(0, 2 * every[0] or 1)
    return figure


def _draw(axes: Axes, line: Line) -> None:
    label = f"{line.split}, EMA" if line.ema else line.split
    color = style.SPLITS[line.split]
    if line.split == "test" or len(line.steps) == 1:
        filled = "none" if line.ema else color
        axes.plot(
            line.steps, line.values, linestyle="none", marker="D", markersize=5, color=color, markerfacecolor=filled,
            label=label, clip_on=False, zorder=3,
        )  # fmt: skip
    else:
        axes.plot(
            line.steps, line.values, style.line_style(ema=line.ema), color=color, linewidth=1.5, label=label,
            marker="o" if len(line.steps) < 20 else "", markersize=2.5,
        )  # fmt: skip
