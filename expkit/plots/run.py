"""Plots of one run and tables of its classes, from the files in its folder."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from expkit.errors import DataError, reading
from expkit.fs import atomic_write_text
from expkit.plots import style
from expkit.plots.class_tables import class_tables, classes_csv
from expkit.plots.confusion import confusion_matrix
from expkit.plots.curves import learning_curves, learning_rate
from expkit.plots.data import PlotData
from expkit.plots.examples import contact_sheet
from expkit.plots.examples_data import ExampleSheet
from expkit.plots.misclassified import worst_mistakes
from expkit.plots.samples import image_grid
from expkit.plots.weights import weight_histograms
from expkit.run_folder import RunFolder

__all__ = ["draw", "draw_run"]


def draw_run(path: Path) -> list[Path]:
    """Draw the plots of a run into its folder, and write the tables of its classes; those without data are omitted.

    Returns:
        All of them, including the diagram of the network.
    """
    pictures = draw(path)
    while True:
        try:
            next(pictures)
        except StopIteration as end:
            return list(end.value)


def draw(path: Path) -> Generator[None, None, list[Path]]:
    """Draw as ``draw_run`` does, and yield after every plot."""
    folder = RunFolder(path)
    state = folder.state()
    title = ": ".join(str(state[key]) for key in ("name", "label") if state.get(key))
    data = PlotData.load(folder.evidence_file) if folder.evidence_file.is_file() else None
    for name, figure in _figures(folder, title, data):
        if figure is not None:
            style.save(figure, folder.plots / f"{name}.png")
            yield
    tables = class_tables(data) if data is not None else {}
    for name, table in tables.items():
        suffix = f"_{_file_name(name)}" if len(tables) > 1 else ""
        atomic_write_text(folder.plots / f"classes{suffix}.csv", classes_csv(table), durable=False)
    return sorted(file for file in folder.plots.glob("*") if file.suffix in (".png", ".svg", ".csv"))


def _figures(folder: RunFolder, title: str, data: PlotData | None) -> Iterator[tuple[str, Figure | None]]:
    points = folder.metrics()
    yield "learning_curves", learning_curves(points, title)
    yield "learning_rate", learning_rate(points, title)
    if folder.examples_file.is_file():
        yield "examples", contact_sheet(ExampleSheet.load(folder.examples_file), title)
    for file in sorted(folder.samples.glob("*.npy")):
        step = int(file.stem)
        with reading(str(file), "not readable", raises=DataError):
            images = np.load(file, allow_pickle=False)
        yield f"samples_step_{step:08d}", image_grid(images, title, f"{len(images)} samples at step {step:,}")
    if data is None:
        return
    weights = f"{'EMA weights' if data.weights == 'ema' else 'weights'} of step {data.step:,}"
    for name, head in data.heads.items():
        several = len(data.heads) > 1
        suffix = f"_{_file_name(name)}" if several else ""
        head_title = f"{title}, {name}" if several else title
        errors = f"{head.wrong:,} of {head.examples:,} test examples wrong ({weights})"
        yield f"confusion_matrix{suffix}", confusion_matrix(head, head_title, errors)
        errors = errors if head.wrong else f"no error in {head.examples:,} test examples ({weights}): the least certain"
        caption = f"{errors}; text: probability of the predicted class, index of the example"
        yield f"worst_mistakes{suffix}", worst_mistakes(head, head_title, caption)
    count = len(data.histograms)
    largest = "" if count == data.variables else f", the {count} largest of {data.variables} variables"
    caption = f"fraction of a variable's values by value, step {data.step:,}{largest}"
    yield "weights", weight_histograms(data.histograms, title, caption)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
