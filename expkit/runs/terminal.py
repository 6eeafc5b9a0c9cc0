"""Terminal output of a run: a progress bar, tables, the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from expkit.export.exporter import ExportFolder
from expkit.export.parity import Difference
from expkit.result import Result

__all__ = ["Bar", "export_table", "metrics_table", "parity_table", "summary"]


class Bar:
    """Progress of training: steps, loss, accuracy, steps per second, time left; a line a record without a terminal."""

    def __init__(self, console: Console, name: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),  # so that all fits into 80 columns
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )
        self._console = console
        self._last = 0
        self._task = self._progress.add_task(name, total=None, shown="")
        self._shown: dict[str, float] = {}

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def start(self, folder: Path, steps: tuple[int, int], note: str) -> None:
        """Print the run folder with a note, and start the bar; ``steps`` are those done and the last one."""
        done, self._last = steps
        text = f"run {_short(folder)}{f' ({note})' if note else ''}"
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._progress.update(self._task, completed=done, total=self._last)

    def advance(self, step: int, shown: Mapping[str, float]) -> None:
        """Show a step with its metrics."""
        self._shown |= shown
        names = {
            "train/loss": "loss {:.4f}",
            "train/accuracy": "accuracy {:.4f}",
            "train/steps_per_second": "{:,.0f} steps/s",
        }
        text = " ".join(form.format(self._shown[name]) for name, form in names.items() if name in self._shown)
        self._progress.update(self._task, completed=step, shown=text)
        if self._progress.disable and "train/loss" in shown:
            self._console.print(f"step {step:,} of {self._last:,}: {text}", soft_wrap=True, highlight=False)


def metrics_table(metrics: Mapping[str, float]) -> None:
    """Print metrics in two columns, raw and EMA."""
    has_ema = any(name.endswith("/ema") for name in metrics)
    table = Table("metric", "raw", *(("EMA",) if has_ema else ()), box=None, header_style="bold")
    for name, value in metrics.items():
        if not name.endswith("/ema"):
            cells = [f"{value:.6f}", *([_number(metrics.get(f"{name}/ema"))] if has_ema else [])]
            table.add_row(name, *cells)
    Console().print(table)


def parity_table(differences: Sequence[Difference]) -> None:
    """Print the differences of other computations from the evaluation graph."""
    table = Table("against the evaluation graph", "largest difference", "allowed", box=None, header_style="bold")
    for item in differences:
        table.add_row(
            item.name, f"{item.maximum:.3g}", "must differ" if item.allowed is None else f"{item.allowed:.3g}"
        )
    Console().print(table)


def export_table(folder: ExportFolder) -> None:
    """Print the proofs of exported files, and where they are."""
    headers = ("target", "door", "compared", "difference", "allowed", "permuted", "ms", "frozen ms", "MB")
    table = Table(*headers, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for item in folder.targets:
        size = folder.record["targets"][item.target]["bytes"]
        controls = {row.door: f"{row.difference:.2g}" for row in item.proofs if row.allowed is None}
        for index, row in enumerate(row for row in item.proofs if row.allowed is not None):
            is_layer = row.compared.startswith("layer")
            limit = "" if row.allowed == float("inf") else f"{row.allowed:.2g}"
            table.add_row(
                item.target if index == 0 else "",
                row.door,
                escape(row.compared if is_layer else f"{row.compared} {row.note}".strip().replace(" ,", ",")),
                f"{row.difference:.2g}",
                limit if row.holds else f"[bold red]{limit}[/]",
                controls.get(row.door, "") if row.compared == "outputs" else "",
                *("" if ms is None else f"{ms:.3f}" for ms in (row.latency_ms, row.frozen_latency_ms)),
                f"{size / 1e6:.2f}" if index == 0 else "",
            )
    table.add_row("frozen", *[""] * 7, f"{folder.record['source']['frozen_bytes'] / 1e6:.2f}")
    Console(width=max(Console().width, 120)).print(table)  # Wrapped into 80 columns nobody could read it.
    for item in folder.targets:
        verdict = "; ".join([folder.record["targets"][item.target]["verdict"], *item.problems])
        print(f"{item.target}: {verdict}: {', '.join(map(str, item.files))}")


def summary(console: Console, result: Result) -> None:
    """Print the outcome of a run, and a command to continue with."""
    folder = _short(result.folder)
    lines: list[tuple[str, str]] = []
    for name, value in result.test.items():
        if not name.endswith("/ema"):
            ema = result.test.get(f"{name}/ema")
            ema_text = f"   EMA {ema:.4f}" if ema is not None else ""
            lines.append((name.replace("/", " ", 1), f"{value:.4f}{ema_text}"))
    trained = result.trained
    if trained.steps_per_second:
        lines.append(("speed", f"{trained.steps_per_second:,.0f} steps/s  ({result.choice})"))
    if trained.stopped_at is not None:
        lines.append(("stopped", f"early, at step {trained.stopped_at:,}"))
    if trained.roll_backs:
        steps = ", ".join(map(str, trained.roll_backs))
        lines.append(("rolled back", f"{len(trained.roll_backs)} x, because values were not finite in steps {steps}"))
    if result.restored is not None:
        lines.append(("restored", f"{result.restored} (restore.json)"))
    lines.append(("checkpoint", _short(result.checkpoint)))
    if result.frozen is not None:
        worst = max(item.maximum for item in result.frozen.parity if item.allowed is not None)
        proof = f"{result.frozen.weights} weights, within {worst:.2g} of the evaluation graph"
        lines.append(("frozen", f"{_short(result.frozen.path)}  ({proof})"))
    if result.exported is not None:
        names = ", ".join(item.target for item in result.exported.targets)
        lines.append(("exported", f"{_short(result.exported.path)}  ({names}, proven)"))
    if result.tracking is not None:
        lines.append(("MLflow run", result.tracking))
    lines.append(("next", f"expkit evaluate {folder}"))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        console.print(f"[bold]{name.ljust(width)}[/]  {escape(text)}", soft_wrap=True, highlight=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _short(path: Path) -> str:
    """Return a path relative to the working folder if it is inside."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
