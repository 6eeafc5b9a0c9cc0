"""A contact sheet of training examples: images in columns, other fields as lines of text."""

from __future__ import annotations

from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.examples_data import ExampleRow, ExampleSheet

__all__ = ["contact_sheet"]

SIDE, SPACE, LINE = 0.95, 0.1, 0.14
"""Inches: height of an image, distance between images, height of a line of text."""
LABEL, TEXT = 1.0, 6.0
"""Inches: width of the labels, of the lines of text."""
SMALL = 7.0
MOST_LINES = 12
"""Lines of text of an example."""


def contact_sheet(sheet: ExampleSheet, title: str) -> Figure:
    """Return a picture of examples, one in each row, the stages of their fields in columns."""
    columns = len(sheet.columns)
    lines = max(min(len(row.lines), MOST_LINES) for row in sheet.rows)
    captioned = any(caption for row in sheet.rows for caption in row.captions)
    high = max(SIDE + (2 * LINE if captioned else 0) if columns else 0, lines * LINE, 3 * LINE) + SPACE
    head = 3 * LINE if columns else 0
    size = (LABEL + columns * (SIDE + SPACE) + (TEXT if lines else 0), head + len(sheet.rows) * high)
    margins = style.Margins(left=0.1, right=0.05, top=0.06, bottom=0.05)
    caption = f"{len(sheet.rows)} of {sheet.examples:,} training examples"
    figure, (axes,) = style.panels(1, 1, size, title, caption, margins)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))  # shared, because axes for every image would take 20 ms each
    axes.set_axis_off()

    def write(x: float, y: float, text: str, color: str = style.INK) -> None:
        axes.text(x, y, text, fontsize=SMALL, color=color, va="top", ha="left")

    for column, name in enumerate(sheet.columns):
        words = style.wrapped(name.replace(", ", " ", 1), SIDE, SMALL)[:2]
        write(LABEL + column * (SIDE + SPACE), 0, "\n".join(words), style.MUTED)
    for number, row in enumerate(sheet.rows):
        top = head + number * high
        write(0, top, "\n".join(line for part in row.label.split("\n") for line in style.wrapped(part, LABEL, SMALL)))
        for column, image in enumerate(row.images):
            left = LABEL + column * (SIDE + SPACE)
            height, width = image.shape[:2]
            scale = SIDE / max(height, width)
            extent = (left, left + width * scale, top + height * scale, top)
            axes.imshow(image, interpolation="nearest", extent=extent)
            words = [line[: int(SIDE * 72 / (SMALL * 0.6))] for line in row.captions[column].split("\n")]
            write(left, top + SIDE + 0.02, "\n".join(words), style.MUTED)
        write(LABEL + columns * (SIDE + SPACE), top, "\n".join(_lines(row)))
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="equal")
    return figure


def _lines(row: ExampleRow) -> list[str]:
    width = int(TEXT * 72 / (SMALL * 0.56))
    lines = [line if len(line) <= width else f"{line[: width - 1]}…" for line in row.lines]
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[: MOST_LINES - 1], f"and {len(lines) - MOST_LINES + 1} more fields"]
