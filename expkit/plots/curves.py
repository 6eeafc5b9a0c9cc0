"""Learning curves: metrics over steps, with the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.metric_names import RATES
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
        if split in style.SPLITS and metric not in RATES:
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
    """Return the learning rate over steps."""
    pairs = [(int(point["step"]), point["train/learning_rate"]) for point in points if "train/learning_rate" in point]
    if not pairs:
        return None
    steps, values = zip(*pairs, strict=True)
    figure, (axes,) = style.panels(1, 1, (5.0, 2.4), title, margins=style.Margins(left=0.95))
    style.quiet(axes, "step", "learning rate")
    style.steps_axis(axes)
    axes.plot(steps, values, color=style.COLORS[0], marker="o" if len(steps) < 20 else "", markersize=3)
    style.plain_numbers(axes.yaxis)
    if spans_decades(values):
        axes.set_yscale("log")
    elif len(set(values)) == 1:
        axes.set_ylim(0, 2 * values[0] or 1)
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
