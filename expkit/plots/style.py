"""The look of every picture: sizes, colours that the colour-blind tell apart, quiet axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from expkit.fs import atomic_write
from expkit.plots.axis_scale import number

__all__ = [
    "BAD",
    "COLORS",
    "GRID",
    "INK",
    "MUTED",
    "PARTS",
    "Margins",
    "averaged_style",
    "panels",
    "plain_numbers",
    "quiet",
    "save",
    "steps_axis",
    "ticks_at",
    "wrapped",
]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#4D4D4D")
"""Okabe and Ito's (2008), the yellow, which is too light for a line, darkened."""
PARTS = {"train": COLORS[0], "valid": COLORS[1], "test": COLORS[2]}
"""By part of the data."""
BAD = "#9AA3AD"
"""What failed."""
INK, MUTED, GRID = "#1C2733", "#5F6B78", "#E3E7EB"
SMALL, NORMAL, LARGE = 8.0, 9.0, 11.0
DPI = 120


def averaged_style(averaged: bool) -> str:
    """Return how a line is drawn: averaged dashed, raw solid."""
    return "--" if averaged else "-"


@dataclass(frozen=True)
class Margins:
    """Inches around every panel, for what is written there."""

    left: float = 0.72
    right: float = 0.2
    top: float = 0.22
    bottom: float = 0.52


def panels(
    count: int,
    columns: int,
    size: tuple[float, float],
    title: str,
    below: str = "",
    margins: Margins = Margins(),
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels in rows, placed by inches: to have matplotlib find the places takes as long as to draw.

    Args:
        count: of panels.
        columns: how many stand beside each other.
        size: of a panel's axes, width and height in inches.
        title: of the figure.
        below: what is to be known of it, in small letters under the title.
        margins: around every panel.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    wide, high = size[0] + margins.left + margins.right, size[1] + margins.top + margins.bottom
    heading = wrapped(title, columns * wide - 0.2, LARGE * 1.12)
    said = wrapped(below, columns * wide - 0.2, SMALL)
    head = 0.12 + (0.2 * len(heading) + 0.14 * len(said))
    figure = Figure((columns * wide, rows * high + head), dpi=DPI, facecolor="white")
    width, height = figure.get_size_inches()
    figure.text(
        0.1 / width, 1 - 0.08 / height, "\n".join(heading),
        va="top", fontsize=LARGE, fontweight="bold", color=INK,
    )  # fmt: skip
    figure.text(
        0.1 / width, 1 - (0.11 + 0.2 * len(heading)) / height, "\n".join(said), va="top", fontsize=SMALL, color=MUTED
    )
    axes = []
    for place in range(count):
        row, column = divmod(place, columns)
        left = column * wide + margins.left
        bottom = height - head - (row + 1) * high + margins.bottom
        axes.append(figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height)))
    return figure, axes


def wrapped(text: str, inches: float, points: float) -> list[str]:
    """Return a text in lines that fit a width in letters of a size."""
    return textwrap.wrap(text, max(12, int(inches * 72 / (points * 0.56))))


def quiet(axes: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    """Name the axes, and take away what says nothing."""
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
    """Write steps with thousands separated."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_numbers(axis: Axis) -> None:
    """Write an axis' numbers without zeros at their ends."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def ticks_at(axes: Axes, values: Sequence[float], most: int = 8) -> None:
    """Put the ticks of the x axis where the values are, when there are few of them; none is written over another."""
    distinct = sorted(set(values))
    if len(distinct) <= most:
        place = math.log if axes.get_xscale() == "log" else float
        apart = (place(distinct[-1]) - place(distinct[0])) / 10
        shown = distinct[:1]
        for value in distinct[1:]:
            if place(value) - place(shown[-1]) > apart:
                shown.append(value)
        axes.xaxis.set_major_locator(FixedLocator(shown))
        axes.xaxis.set_minor_locator(NullLocator())
        plain_numbers(axes.xaxis)


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG; equal data gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, durable=False) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})
    return path
