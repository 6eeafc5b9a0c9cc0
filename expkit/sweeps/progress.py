"""Progress of a sweep: a thread reads the folders of its runs and displays their states."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from expkit.sweeps.objective import Objective, pareto_front
from expkit.sweeps.standing import Entry, OnTie, Standing, mean_text, score_text, standing_of
from expkit.sweeps.sweep_folder import CLOSED, Child, RunState

__all__ = ["Display", "LineDisplay", "LiveDisplay", "Progress", "progress_table", "tally"]

_ENDED = (*CLOSED, "KILLED")
"""Statuses of runs that no process executes."""

_POLL_SECONDS = 0.3
_MAX_ROWS = 8
_WORDS = {"FINISHED": "finished", "FAILED": "failed", "PRUNED": "pruned", "KILLED": "killed", "RUNNING": "running"}


class Display(Protocol):
    """Display of a sweep's progress."""

    def show(self, progress: Progress) -> None:
        """Show the progress."""

    def ended(self, progress: Progress, child: Child, state: RunState) -> None:
        """Report a run that has ended."""

    def note(self, text: str) -> None:
        """Print a line."""

    def close(self) -> None:
        """Stop displaying."""


class Progress:
    """States of a sweep's runs; a thread keeps them up to date while a launcher occupies the main thread."""

    def __init__(
        self,
        total: int,
        objectives: Sequence[Objective],
        display: Callable[[], Display],
        on_tie: OnTie | None = None,
    ) -> None:
        self._total = total
        self.objectives = objectives
        self._on_tie = on_tie
        self._standing: tuple[object, Standing] | None = None
        self.skipped = 0
        """Number of runs that are not needed any more."""
        self.on_end: Callable[[Child], None] | None = None
        """Called with every run that has ended."""
        self.rejected = 0
        """Number of jobs with an invalid configuration."""
        self.states: dict[str, tuple[Child, RunState]] = {}
        """The runs requested so far, by folder."""
        self._ended_here: list[float] = []
        self._started = time.monotonic()
        self._open: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._display = display()
        self._thread = threading.Thread(target=self._poll, name="sweep", daemon=True)
        self._thread.start()

    def add(self, children: Iterable[Child], *, done: bool) -> None:
        """Follow runs; runs that an earlier command has done are counted only."""
        with self._lock:
            for child in children:
                self.states[child.name] = (child, child.state())
                if not done:
                    self._open[child.name] = child

    def note(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._display.note(text)

    def refresh(self, *, last: bool = False) -> None:
        """Read the states of all open runs, and display them.

        Args:
            last: nothing runs any more, so that a run that was killed is not taken again.
        """
        with self._lock:
            for name, child in list(self._open.items()):
                state = child.state()
                self.states[name] = (child, state)
                if state.status in _ENDED and (last or state.status != "KILLED"):
                    del self._open[name]
                    self._ended_here.append(time.monotonic() - self._started)
                    self._display.ended(self, child, state)
                    if self.on_end is not None:
                        self.on_end(child)
            self._display.show(self)

    def close(self) -> None:
        """Refresh once more, and stop."""
        self._stop.set()
        self._thread.join()
        self.refresh(last=True)
        self._display.close()

    @property
    def total(self) -> int:
        """Number of runs that the sweep will have."""
        return self._total - self.skipped

    @property
    def objective(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs by status; rejected jobs count as failed."""
        counts: dict[str, int] = {"FAILED": self.rejected} if self.rejected else {}
        for _, state in self.states.values():
            counts[state.status] = counts.get(state.status, 0) + 1
        return counts

    @property
    def ended(self) -> int:
        """Number of runs that have ended, and were reported; rejected jobs count."""
        ended = [name for name, (_, state) in self.states.items() if state.status in _ENDED]
        return self.rejected + sum(name not in self._open for name in ended)

    @property
    def standing(self) -> Standing:
        """The standing by the first objective; it is computed again when another run has ended."""
        ended = [(name, state.status) for name, (_, state) in self.states.items()]
        if self._standing is None or self._standing[0] != ended:
            entries = [_entry(child, state, self._on_tie) for child, state in self.states.values()]
            finished = (child for child, state in self.states.values() if state.status == "FINISHED")
            first = next(finished, None)
            examples = {} if first is None else first.folder.state().get("examples", {})
            kinds = {} if first is None else first.job.metric_kinds
            self._standing = ended, standing_of(entries, self.objective, self._on_tie, examples, kinds)
        return self._standing[1]

    @property
    def best(self) -> list[tuple[Child, RunState]]:
        """The first run of the best configuration, or of each in the Pareto front of several objectives, best first.

        A configuration is as good as the mean of its finished runs.
        """
        if len(self.objectives) == 1:
            best = self.standing.best
            runs = [] if best is None else [run for run in best.runs if run.status == "FINISHED"]
            return [self.states[run.name] for run in runs[:1]]
        configurations: dict[str, list[tuple[Child, RunState]]] = {}
        for child, state in self.states.values():
            if state.status == "FINISHED":
                configurations.setdefault(child.job.configuration, []).append((child, state))
        found = list(configurations.values())
        costs = [
            [sum(objective.cost(state.values) for _, state in each) / len(each) for objective in self.objectives]
            for each in found
        ]
        return [found[index][0] for index in pareto_front(costs)]

    @property
    def best_runs(self) -> list[Child]:
        """All runs of the best configurations."""
        configurations = [child.job.configuration for child, _ in self.best]
        return [child for child, _ in self.states.values() if child.job.configuration in configurations]

    @property
    def seconds_left(self) -> float | None:
        """Estimated time for the remaining runs, or ``None`` before the first has ended."""
        if not self._ended_here:
            return None
        return self._ended_here[-1] / len(self._ended_here) * (self.total - self.ended)

    def _poll(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            self.refresh()


def _entry(child: Child, state: RunState, on_tie: OnTie | None) -> Entry:
    return Entry(
        name=child.name,
        label=child.label,
        configuration=child.job.configuration,
        point=child.job.point,
        replicate=child.job.replicate,
        status=state.status,
        metrics=state.values,
        parameters=child.job.parameters if on_tie == "simplest" else None,
    )


def tally(counts: dict[str, int], total: int) -> str:
    """Return the numbers of runs by status, as a sentence."""
    return ", ".join([f"{counts.get('FINISHED', 0)} of {total} runs finished", *_failures(counts)])


def _failures(counts: dict[str, int]) -> list[str]:
    return [f"{counts[status]} {_WORDS[status]}" for status in ("FAILED", "PRUNED", "KILLED") if counts.get(status)]


class LineDisplay:
    """One line for every run that ends; for pipes and files."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, progress: Progress) -> None:
        """Print nothing: only ends are reported."""

    def ended(self, progress: Progress, child: Child, state: RunState) -> None:
        """Print how a run has ended, and its error on standard error."""
        _print_error(child, state)
        self.note(f"{child.label} ({progress.ended} of {progress.total}): {_outcome(progress.objective, state)}")

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """Do nothing: no display is open."""


class LiveDisplay:
    """A table that is redrawn in place; for terminals."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def show(self, progress: Progress) -> None:
        """Redraw the table."""
        self._live.update(progress_table(progress))

    def ended(self, progress: Progress, child: Child, state: RunState) -> None:
        """Print above the table how a run has ended, and its error."""
        self._live.console.print(f"{child.label}: {_outcome(progress.objective, state)}", highlight=False, markup=False)
        _print_error(child, state)

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._live.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """Remove the table."""
        self._live.stop()


def progress_table(progress: Progress) -> Group:
    """Return the table of running runs with the line of counts."""
    table = Table("run", "steps", progress.objective.metric, box=None, header_style="bold")
    running = [(child, state) for child, state in progress.states.values() if state.status == "RUNNING"]
    for child, state in running[:_MAX_ROWS]:
        value = state.values.get(progress.objective.metric)
        table.add_row(
            escape(child.label),
            f"{state.step:,}{'' if state.last is None else f' of {state.last:,}'}",
            "" if value is None else score_text(value),
        )
    counts = [f"{progress.ended} of {progress.total} done", f"{len(running)} running", *_failures(progress.counts)]
    if best := progress.best:
        counts.append(_best(progress, *best[0]))
    if (left := progress.seconds_left) is not None:
        counts.append(f"{int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02} left")
    return Group(table, Text("   ".join(counts)))


def _best(progress: Progress, child: Child, state: RunState) -> str:
    """Return the best so far: its mean, its number of runs, how many others are tied with it."""
    standing = progress.standing
    if len(progress.objectives) > 1 or standing.best is None:
        return f"best {score_text(state.values[progress.objective.metric])} ({child.label})"
    summary = standing.best_summary
    runs = f", {summary.n} runs" if summary.n > 1 else ""
    tied = f", tied with {len(standing.tied)}" if standing.tied else ""
    return f"best {mean_text(summary)} ({standing.best.label}{runs}{tied})"


def _outcome(objective: Objective, state: RunState) -> str:
    value = state.values.get(objective.metric)
    score = "" if value is None or state.status == "FAILED" else f", {objective.metric} {score_text(value)}"
    return f"{_WORDS[state.status]}{', not exported' if state.is_not_exported else ''}{score}"


def _print_error(child: Child, state: RunState) -> None:
    if state.status in ("FAILED", "KILLED", "FINISHED") and state.error:  # finished, but not exported
        print(f"error: {child.label}: {state.error}", file=sys.stderr)
