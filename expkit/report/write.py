"""The report of a sweep, written as a page, pictures, a CSV table."""

from __future__ import annotations

from pathlib import Path

from expkit.errors import RunError
from expkit.fs import atomic_write_text, cannot_write
from expkit.plots import style
from expkit.report.importance import MIN_RUNS, importance_of
from expkit.report.page import page
from expkit.report.plots.cost import cost_against_score
from expkit.report.plots.curves import children_curves
from expkit.report.plots.importance import importances
from expkit.report.plots.means import means
from expkit.report.plots.parallel import parallel_coordinates
from expkit.report.plots.slices import slices
from expkit.report.runs import Sweep
from expkit.report.table import as_csv

__all__ = ["REPORT", "draw_report"]

REPORT = "report"
"""Name of the report's folder in the sweep's folder."""

_MISSING = {
    "means": "Needs several runs of a configuration: hydra.sweeper.repeats=5 gives each five seeds.",
    "parallel_coordinates": "Needs two runs that differ.",
    "slices": "Needs a finished run, and a parameter that differs.",
    "importance": f"Needs {MIN_RUNS} configurations with different scores, and parameters that explain these.",
    "learning_curves": "No metric was recorded more than once.",
    "cost": "No finished run has recorded its steps per second.",
}


def draw_report(sweep: Sweep, into: Path) -> list[Path]:
    """Write the report of a sweep, from the folders of its runs alone, without MLflow.

    Args:
        sweep: the sweep.
        into: the folder.

    Returns:
        The files: the page first.

    Raises:
        RunError: the report cannot be written.
    """
    importance = importance_of(sweep)
    figures = {
        "means": means(sweep, sweep.name),
        "parallel_coordinates": parallel_coordinates(sweep, sweep.name),
        "slices": slices(sweep, sweep.name),
        "importance": importances(sweep, importance, sweep.name),
        "learning_curves": children_curves(sweep, sweep.name),
        "cost": cost_against_score(sweep, sweep.name),
    }
    try:
        into.mkdir(parents=True, exist_ok=True)
        pictures = {
            name: style.save(figure, into / f"{name}.png") for name, figure in figures.items() if figure is not None
        }
        for name in figures.keys() - pictures.keys():
            (into / f"{name}.png").unlink(missing_ok=True)  # left by an earlier report
        content = {name: file.read_bytes() for name, file in pictures.items()}
        texts = {"report.html": page(sweep, content, _MISSING), "table.csv": as_csv(sweep)}
        for name, text in texts.items():
            atomic_write_text(into / name, text, durable=False)
    except OSError as error:
        raise RunError.at("report", cannot_write(into, error)) from None
    return [*(into / name for name in texts), *pictures.values()]
