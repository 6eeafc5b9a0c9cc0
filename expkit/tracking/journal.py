"""The journal: what of a run must reach MLflow, in the run's folder, and how far it has been delivered."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from expkit.fs import Locked, atomic_write_text, file_lock

__all__ = ["Cursor", "Entry", "Journal"]

_STARTS = ("begin", "continue")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    act: str
    values: Mapping[str, Any]
    start: int
    """Bytes of the journal before it."""
    end: int
    """Bytes of the journal up to its end."""


@dataclass(frozen=True)
class Cursor:
    """What of a journal is delivered."""

    run_id: str | None = None
    """The run in MLflow, once it has answered."""
    link: str | None = None
    """Where to look at it."""
    delivered: int = 0
    """Bytes of the journal."""
    refused: tuple[int, ...] = ()
    """Where the entries begin that MLflow did not take, though it answered."""
    unclear: bool = False
    """Whether a run may have been made by a call whose answer was lost."""


class Journal:
    """A run's journal: appended to by the run, read by whoever delivers it.

    A line is written in one call, so a run that is killed leaves whole lines. One process at a time delivers: it has
    the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "tracking.jsonl"
        self._cursor_file = folder / "tracking.json"
        self._written: int | None = None
        self._locked: ExitStack | None = None

    def exists(self) -> bool:
        """Return whether something has been recorded."""
        return self.file.is_file() and self.file.stat().st_size > 0

    def append(self, act: str, **values: Any) -> None:
        """Record something; it is in the file when this returns."""
        line = json.dumps({"act": act, **values}) + "\n"
        if self._written is None:
            self._written = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            if not _ends_whole(self.file):
                line = "\n" + line
        os.write(self._written, line.encode())

    def read(self, start: int) -> list[Entry]:
        """Return the next entries from a place on, at most about a megabyte; they are on the disk for good.

        What is delivered is never lost here: a run that goes on after a crash would record it again.
        """
        try:
            with self.file.open("rb") as file:
                file.seek(start)
                data = file.read(_MOST_BYTES)
                if data and b"\n" not in data:
                    data += file.readline()
                if data:
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return []
        return list(_entries(data, start))

    def all(self) -> Iterator[Entry]:
        """Yield all entries."""
        place = 0
        while entries := self.read(place):
            yield from entries
            place = entries[-1].end

    def last_steps(self) -> dict[str, int]:
        """Return the last step of every metric recorded, by name."""
        steps: dict[str, int] = {}
        for entry in self.all():
            if entry.act == "metrics":
                for name in entry.values["values"]:
                    steps[name] = max(steps.get(name, -1), int(entry.values["step"]))
        return steps

    def start(self) -> Entry | None:
        """Return the last entry with which a process began or went on; ``None`` when there is none."""
        found = None
        for entry in self.all():
            found = entry if entry.act in _STARTS else found
        return found

    def ended(self) -> bool:
        """Return whether the last process that recorded here said how it ended."""
        last = [entry.act for entry in self.all() if entry.act in (*_STARTS, "finish")]
        return not last or last[-1] == "finish"

    def cursor(self) -> Cursor:
        """Return what is delivered; nothing when it cannot be read."""
        try:
            values = json.loads(self._cursor_file.read_text())
            return Cursor(**{**values, "refused": tuple(values["refused"])})
        except (OSError, ValueError, TypeError, KeyError):
            return Cursor()

    def move(self, cursor: Cursor, **changed: Any) -> Cursor:
        """Record the progress. A power loss may take it back: what is then uploaded again changes nothing."""
        cursor = replace(cursor, **changed)
        atomic_write_text(self._cursor_file, json.dumps(asdict(cursor), indent=2) + "\n", durable=False)
        return cursor

    def left(self) -> int:
        """Return how many entries are not delivered."""
        count, place = 0, self.cursor().delivered
        while entries := self.read(place):
            count, place = count + len(entries), entries[-1].end
        return count

    def lock(self) -> bool:
        """Take the right to deliver; return whether nobody else has it. It ends with the process."""
        if self._locked is None:
            lock = ExitStack()
            try:
                lock.enter_context(file_lock(self.file))
            except Locked:
                return False
            self._locked = lock
        return True

    def close(self) -> None:
        """Give up the lock and close the files."""
        if self._written is not None:
            with suppress(OSError):
                os.close(self._written)
        if self._locked is not None:
            self._locked.close()
        self._written = self._locked = None


def _entries(data: bytes, start: int) -> Iterator[Entry]:
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        end = start + len(line)
        try:
            values = json.loads(line)
            yield Entry(str(values.pop("act")), values, start, end)
        except (ValueError, KeyError, AttributeError):
            yield Entry("unreadable", {}, start, end)  # a line that a full disk cut off
        start = end


def _ends_whole(file: Path) -> bool:
    with file.open("rb") as reader:
        if reader.seek(0, os.SEEK_END) == 0:
            return True
        reader.seek(-1, os.SEEK_END)
        return reader.read(1) == b"\n"
