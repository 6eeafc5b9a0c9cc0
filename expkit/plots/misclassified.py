"""Images of the worst misclassified examples."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.head import Head

__all__ = ["image_of", "worst_mistakes"]

COLUMNS = 8
SIDE, TEXT, SPACE = 0.95, 0.3, 0.12
"""Inches: height of an image, height of its text, distance between examples."""
GAP = 0.06
"""Distance between the images of one example, as a fraction of their width."""


def worst_mistakes(head: Head, title: str, caption: str) -> Figure | None:
    """Return the misclassified examples whose true class was least likely, worst first; ``None`` without images."""
    if not head.images or not len(head.worst):
        return None
    count = len(head.worst)
    examples = [
        np.concatenate(_spaced([image_of(images, index) for images in head.images.values()]), axis=1)
        for index in range(count)
    ]
    columns = max(2, COLUMNS // len(head.images))
    rows = math.ceil(count / columns)
    wide, high = SIDE * examples[0].shape[1] / len(examples[0]), SIDE + TEXT
    margins = style.Margins(left=0.1, right=0.0, top=0.06, bottom=0.06)
    size = (columns * (wide + SPACE), rows * (high + SPACE))
    figure, (axes,) = style.panels(1, 1, size, title, caption, margins)
    for index, (number, target, predicted) in enumerate(head.worst.tolist()):
        confused = f"{head.name_of(target)} taken for {head.name_of(predicted)}"
        row, column = divmod(index, columns)
        left, top = column * (wide + SPACE), row * (high + SPACE)
        extent = (left, left + wide, top + high, top + TEXT)
        axes.imshow(examples[index], interpolation="nearest", extent=extent)
        axes.text(
            left, top + TEXT - 0.03, f"{confused}\n{head.certainty[index]:.0%}, no. {number}",
            fontsize=7, color=style.COLORS[1] if predicted != target else style.INK, va="bottom",
        )  # fmt: skip
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))  # shared, because axes for every image would take 20 ms each
    axes.set_axis_off()
    return figure


def image_of(images: np.ndarray, index: int) -> np.ndarray:
    """Return one of images [examples, height, width, channels] as [height, width, 3] between 0 and 1.

    Bytes are divided by 255; other numbers are scaled from the range of all images.
    """
    if images.dtype == np.uint8:
        image = images[index] / 255
    else:
        low, high = float(images.min()), float(images.max())
        image = (images[index] - low) / ((high - low) or 1)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]


def _spaced(images: list[np.ndarray]) -> list[np.ndarray]:
    """Return images padded to the same height, with white images between them."""
    height = max(map(len, images))
    even = [np.pad(image, ((0, height - len(image)), (0, 0), (0, 0)), constant_values=1) for image in images]
    gap = np.ones((height, max(1, round(GAP * even[0].shape[1])), 3))
    return [item for image in even for item in (gap, image)][1:]
