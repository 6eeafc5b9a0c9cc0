"""The pictures of one run, drawn from what its folder holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.confusion import confusion_matrix
from expkit.plots.curves import learning_curves, learning_rate
from expkit.plots.data import Evidence
from expkit.plots.misclassified import worst_mistakes
from expkit.plots.weights import weight_histograms
from expkit.run_folder import RunFolder

__all__ = ["draw_run"]


def draw_run(path: Path) -> list[Path]:
    """Draw a run's pictures into its folder; what there is nothing to show of is left out.

    Returns:
        All pictures of the run, the network's drawing among them.
    """
    folder = RunFolder(path)
    state = folder.state()
    title = ": ".join(str(state[key]) for key in ("name", "label") if state.get(key))
    for name, figure in _figures(folder, title):
        if figure is not None:
            style.save(figure, folder.plots / f"{name}.png")
    return sorted(file for file in folder.plots.glob("*") if file.suffix in (".png", ".svg"))


def _figures(folder: RunFolder, title: str) -> Iterator[tuple[str, Figure | None]]:
    points = folder.metrics()
    yield "learning_curves", learning_curves(points, title)
    yield "learning_rate", learning_rate(points, title)
    if not folder.evidence_file.is_file():
        return
    evidence = Evidence.load(folder.evidence_file)
    averaged = "averaged weights" if evidence.weights == "ema" else "weights"
    whose = f"{averaged} of step {evidence.step:,}"
    for name, head in evidence.heads.items():
        several = len(evidence.heads) > 1
        end = f"_{_file_name(name)}" if several else ""
        called = f"{title}, {name}" if several else title
        of = f"{head.examples:,}" if head.examples == evidence.examples else f"the first {head.examples:,}"
        said = f"{head.wrong:,} of {of} test examples wrong ({whose})"
        yield f"confusion_matrix{end}", confusion_matrix(head, called, said)
        shown = said if head.wrong else f"no mistake in {of} test examples ({whose}): the least certain"
        yield (
            f"worst_mistakes{end}",
            worst_mistakes(head, called, f"{shown}; over each the probability given to the answer, and its number"),
        )
    count = len(evidence.histograms)
    largest = "" if count == evidence.variables else f", the {count} largest of {evidence.variables} variables"
    below = f"share of a variable's values by value, step {evidence.step:,}{largest}"
    yield "weights", weight_histograms(evidence.histograms, title, below)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
