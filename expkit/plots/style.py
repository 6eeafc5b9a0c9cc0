"""Style of every plot: sizes, colors for the color-blind, plain axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, NullLocator

from expkit.fs import atomic_write
from expkit.plots.axis_scale import number_text

__all__ = [
    "BAD",
    "COLORS",
    "GRID",
    "INK",
    "MUTED",
    "SPLITS",
    "Margins",
    "line_style",
    "panels",
    "plain_numbers",
    "quiet",
    "save",
    "steps_axis",
    "ticks_at",
    "wrapped",
]

MOST_TICKS = 8
"""Values that all have a tick."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#4D4D4D")
"""By Okabe and Ito (2008), with the yellow darkened, which is too light for lines."""
SPLITS = {"train": COLORS[0], "valid": COLORS[1], "test": COLORS[2]}
"""Colors by split of the data."""
BAD = "#9AA3AD"
"""Color of failed runs."""
INK, MUTED, GRID = "#1C2733", "#5F6B78", "#E3E7EB"
SMALL, NORMAL, LARGE = 8.0, 9.0, 11.0
DPI = 120


def line_style(*, ema: bool) -> str:
    """Return the style of a line: EMA dashed, raw solid."""
    return "--" if ema else "-"


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Inches around every panel, for its labels."""

    left: float = 0.72
    right: float = 0.2
    top: float = 0.22
    bottom: float = 0.52


def panels(
    count: int,
    columns: int,
    size: tuple[float, float],
    title: str,
    caption: str = "",
    margins: Margins = Margins(),
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels in rows, positioned in inches: automatic layout would take as long as the drawing.

    Args:
        count: number of panels.
        columns: most panels in a row.
        size: width and height of a panel's axes in inches.
        title: title of the figure.
        caption: text in small letters below the title.
        margins: margins of every panel.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    wide, high = size[0] + margins.left + margins.right, size[1] + margins.top + margins.bottom
    heading = wrapped(title, columns * wide - 0.2, LARGE * 1.12)
    small = wrapped(caption, columns * wide - 0.2, SMALL)
    head = 0.12 + (0.2 * len(heading) + 0.14 * len(small))
    figure = Figure((columns * wide, rows * high + head), dpi=DPI, facecolor="white")
    width, height = figure.get_size_inches()
    figure.text(
        0.1 / width, 1 - 0.08 / height, "\n".join(heading),
        va="top", fontsize=LARGE, fontweight="bold", color=INK,
    )  # fmt: skip
    figure.text(
        0.1 / width, 1 - (0.11 + 0.2 * len(heading)) / height, "\n".join(small), va="top", fontsize=SMALL, color=MUTED
    )
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = column * wide + margins.left
        bottom = height - head - (row + 1) * high + margins.bottom
        axes.append(figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height)))
    return figure, axes


def wrapped(text: str, inches: float, points: float) -> list[str]:
    """Return a text in lines that fit a width in inches at a font size in points."""
    return textwrap.wrap(text, max(12, int(inches * 72 / (points * 0.56))))


def quiet(axes: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    """Label axes, and remove needless lines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(BAD)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=3)
    axes.set_xlabel(x, fontsize=NORMAL, color=INK)
    axes.set_ylabel(y, fontsize=NORMAL, color=INK)
    if title:
        axes.set_title(title, fontsize=NORMAL, color=INK, loc="left")
    return axes


def steps_axis(axes: Axes) -> None:
    """Format steps with thousands separators."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_numbers(axis: Axis) -> None:
    """Format the numbers of an axis without trailing zeros."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))


def ticks_at(axes: Axes, values: Sequence[float]) -> None:
    """Put the ticks of the x axis at the values, if these are few, without overlapping labels."""
    distinct = sorted(set(values))
    if len(distinct) <= MOST_TICKS:
        position = math.log if axes.get_xscale() == "log" else float
        distance = (position(distinct[-1]) - position(distinct[0])) / 10
        shown = distinct[:1]
        for value in distinct[1:]:
            if position(value) - position(shown[-1]) > distance:
                shown.append(value)
        axes.xaxis.set_major_locator(FixedLocator(shown))
        axes.xaxis.set_minor_locator(NullLocator())
        plain_numbers(axes.xaxis)


def _take_literally(figure: Figure) -> None:
    """Draw ``$`` in names and values as it stands: matplotlib takes what is between two of them for a formula.

    Only the powers of ten at a logarithmic axis are formulas.
    """
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    powers = [
        label
        for axis in axes
        for label in axis.get_ticklabels(which="both")
        if isinstance(axis.get_major_formatter(), LogFormatter)
    ]
    for text in figure.findobj(Text):
        text.set_parse_math(text in powers)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG; equal data give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _take_literally(figure)
    with atomic_write(path, durable=False) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
    return path
