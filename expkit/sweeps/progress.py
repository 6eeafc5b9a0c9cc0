"""Watching a sweep: a thread that reads the folders of its runs and shows how far they are."""

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

from expkit.sweeps.objective import Objective, front
from expkit.sweeps.sweep_folder import Child, State

__all__ = ["ENDED", "Lines", "LiveTable", "Screen", "Watch", "tally"]

ENDED = ("FINISHED", "PRUNED", "FAILED", "KILLED")
"""What will not change any more."""

_POLL_SECONDS = 0.3
_MOST_ROWS = 8
_WORDS = {"FINISHED": "finished", "FAILED": "failed", "PRUNED": "pruned", "KILLED": "killed", "RUNNING": "running"}


class Screen(Protocol):
    """Where a sweep is shown."""

    def show(self, watch: Watch) -> None:
        """Show how far it is."""

    def ended(self, watch: Watch, child: Child, state: State) -> None:
        """Say that a run has ended."""

    def note(self, text: str) -> None:
        """Say something."""

    def close(self) -> None:
        """Show nothing any more."""


class Watch:
    """What is known of a sweep's runs; a thread keeps it up to date while a launcher has the others."""

    def __init__(self, total: int, objectives: Sequence[Objective], screen: Callable[[], Screen]) -> None:
        self.total = total
        """How many runs there will be."""
        self.objectives = objectives
        self.refused = 0
        """How many points were asked for that no run can be made of."""
        self.states: dict[str, tuple[Child, State]] = {}
        """The runs that were asked for so far, by folder."""
        self._ended_here: list[float] = []
        self._begun = time.monotonic()
        self._open: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._screen = screen()
        self._thread = threading.Thread(target=self._work, name="sweep", daemon=True)
        self._thread.start()

    def add(self, children: Iterable[Child], *, done: bool) -> None:
        """Follow runs; those that were done before this command are only counted."""
        with self._lock:
            for child in children:
                self.states[child.folder.path.name] = (child, child.state())
                if not done:
                    self._open[child.folder.path.name] = child

    def note(self, text: str) -> None:
        """Say something."""
        with self._lock:
            self._screen.note(text)

    def look(self) -> None:
        """Read what has changed, and show it."""
        with self._lock:
            for name, child in list(self._open.items()):
                state = child.state()
                self.states[name] = (child, state)
                if state.status in ENDED:
                    del self._open[name]
                    self._ended_here.append(time.monotonic() - self._begun)
                    self._screen.ended(self, child, state)
            self._screen.show(self)

    def close(self) -> None:
        """Look once more, and stop."""
        self._stop.set()
        self._thread.join()
        self.look()
        self._screen.close()

    @property
    def objective(self) -> Objective:
        """The first of what it is judged by."""
        return self.objectives[0]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are at every status; what no run can be made of has failed."""
        found: dict[str, int] = {"FAILED": self.refused} if self.refused else {}
        for _, state in self.states.values():
            found[state.status] = found.get(state.status, 0) + 1
        return found

    @property
    def settled(self) -> int:
        """How many runs have ended."""
        return sum(count for status, count in self.counts.items() if status in ENDED)

    @property
    def best(self) -> list[tuple[Child, State]]:
        """The best finished run; of several objectives all runs that no other is better than, best first."""
        finished = [(child, state) for child, state in self.states.values() if state.status == "FINISHED"]
        return [finished[place] for place in front(self.objectives, [state.values for _, state in finished])]

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at the pace so far, or ``None`` while that is not known."""
        if not self._ended_here:
            return None
        return self._ended_here[-1] / len(self._ended_here) * (self.total - self.settled)

    def _work(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            self.look()


def tally(counts: dict[str, int], total: int) -> str:
    """Return how many runs are where, in words."""
    others = [f"{counts[status]} {_WORDS[status]}" for status in ("FAILED", "PRUNED", "KILLED") if counts.get(status)]
    return ", ".join([f"{counts.get('FINISHED', 0)} of {total} runs finished", *others])


class Lines:
    """A line for every run that ends; for pipes and files."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, watch: Watch) -> None:
        """Say nothing: only ends are told."""

    def ended(self, watch: Watch, child: Child, state: State) -> None:
        """Say how a run has ended, and on standard error why."""
        _say_why(child, state)
        said = _value(watch.objective, state)
        words = [_WORDS[state.status], *([said] if said else [])]
        where = f"{watch.settled} of {watch.total}"
        self._console.print(
            f"{child.label} ({where}): {', '.join(words)}", soft_wrap=True, highlight=False, markup=False
        )

    def note(self, text: str) -> None:
        """Say something."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """Nothing is open."""


class LiveTable:
    """One table that changes in its place; for terminals."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def show(self, watch: Watch) -> None:
        """Draw the table anew."""
        self._live.update(picture(watch))

    def ended(self, watch: Watch, child: Child, state: State) -> None:
        """Say above the table how a run has ended, and why."""
        said = _value(watch.objective, state)
        self._live.console.print(
            f"{escape(child.label)}: {_WORDS[state.status]}{', ' + said if said else ''}", highlight=False
        )
        _say_why(child, state)

    def note(self, text: str) -> None:
        """Say something above the table."""
        self._live.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def picture(watch: Watch) -> Group:
    """Return the table of runs that are under way, and the line of counts."""
    table = Table("run", "steps", watch.objective.metric, box=None, header_style="bold")
    running = [(child, state) for child, state in watch.states.values() if state.status == "RUNNING"]
    for child, state in running[:_MOST_ROWS]:
        value = state.values.get(watch.objective.metric)
        table.add_row(
            escape(child.label),
            f"{state.step:,} of {child.job.config.train.steps:,}",
            "" if value is None else f"{value:.4f}",
        )
    counts = watch.counts
    words = [f"{watch.settled} of {watch.total} done", f"{len(running)} running"]
    words += [f"{counts[status]} {_WORDS[status]}" for status in ("FAILED", "PRUNED", "KILLED") if counts.get(status)]
    if best := watch.best:
        child, state = best[0]
        words.append(f"best {state.values[watch.objective.metric]:.4f} ({child.label})")
    if (left := watch.seconds_left) is not None:
        words.append(f"{int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02} left")
    return Group(table, Text("   ".join(words)))


def _value(objective: Objective, state: State) -> str:
    value = state.values.get(objective.metric)
    return "" if value is None or state.status == "FAILED" else f"{objective.metric} {value:.4f}"


def _say_why(child: Child, state: State) -> None:
    if state.status in ("FAILED", "KILLED") and state.error:
        print(f"error: {child.label}: {state.error}", file=sys.stderr)
