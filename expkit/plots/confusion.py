"""Confusion matrices: predicted classes by true class."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.head import Head

__all__ = ["confusion_matrix", "matrix_of"]

MAX_CLASSES = 40
"""Maximum number of classes in a matrix: those most often confused."""
LONG = 3
"""Characters of a name from which on names are written aslant."""
LONGEST = 18
"""Characters of a name that are written."""
MAX_NUMBERED = 20
"""Maximum number of classes with numbers written into the cells."""


def matrix_of(head: Head) -> tuple[list[int], np.ndarray]:
    """Return the classes shown, and how often each true class (row) was predicted as each class (column)."""
    classes = list(range(head.classes))
    if head.classes > MAX_CLASSES:
        errors = head.pairs[head.pairs[:, 0] != head.pairs[:, 1]]
        confused = sum(np.bincount(errors[:, side], errors[:, 2], head.classes) for side in (0, 1))
        classes = sorted(np.argsort(-confused, kind="stable")[:MAX_CLASSES].tolist())
    positions = {name: index for index, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    for target, predicted, frequency in head.pairs.tolist():
        if target in positions and predicted in positions:
            matrix[positions[target], positions[predicted]] = frequency
    return classes, matrix


def confusion_matrix(head: Head, title: str, caption: str) -> Figure:
    """Return the matrix: a row has the examples of a class, colors show fractions of the row."""
    classes, matrix = matrix_of(head)
    count = len(classes)
    if count < head.classes:
        caption = f"{caption}; the {count} of {head.classes} classes most often confused"
    side = min(8.0, max(3.0, 0.4 * count))
    every = max(1, count // 20)
    names = [_shortened(head.name_of(number)) for number in classes[::every]]
    longest = max(map(len, names))
    room = 0.08 * max(0, longest - LONG)  # inches that a character takes
    margins = style.Margins(left=style.Margins().left + room, bottom=style.Margins().bottom + room)
    caption = f"{caption}; darker: a larger fraction of the true class"
    figure, (axes,) = style.panels(1, 1, (side, side), title, caption, margins)
    fractions = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(fractions, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    style.quiet(axes, "predicted class", "true class").grid(False)
    axes.spines[:].set_visible(False)
    aslant = longest > LONG
    axes.set_xticks(range(0, count, every), names, rotation=45 if aslant else 0, ha="right" if aslant else "center")
    axes.set_yticks(range(0, count, every), names)
    if count <= MAX_NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            color = "white" if fractions[row, column] > 0.4 else style.INK
            axes.text(
                column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=color, fontsize=style.SMALL
            )
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
