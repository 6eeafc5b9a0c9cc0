"""The journal of a run: records for MLflow in the run folder, with the progress of their upload."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from expkit.fs import Locked, atomic_write_text, file_lock, read_json
from expkit.redact import masked_values

__all__ = ["Journal", "JournalEntry", "UploadProgress"]

_STARTS = ("begin", "continue")
_PATHS = ("paths", "graph", "example", "parent")
"""Values that are opened as they are."""
_BYTES_PER_READ = 1 << 20
_NEEDED: Mapping[str, Mapping[str, type]] = {
    "metrics": {"step": int, "values": dict},
    "begin": {"params": dict},
}
"""Values without which an entry cannot be read."""


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One line of the journal."""

    act: str
    values: Mapping[str, Any]
    start: int
    """Position of its first byte."""
    end: int
    """Position after its last byte."""


@dataclass(frozen=True, kw_only=True)
class UploadProgress:
    """The state of an upload, as ``tracking.json`` holds it."""

    run_id: str | None = None
    """The run in MLflow, once it has answered."""
    link: str | None = None
    """Address of the run's page."""
    delivered: int = 0
    """Bytes of the journal that are uploaded."""
    refused: tuple[int, ...] = ()
    """Positions of the entries that MLflow refused."""
    unclear: bool = False
    """True if a call whose answer was lost may have created a second run."""


class Journal:
    """A run's journal: the run appends to it, an uploader reads it.

    A line is written in one call, so a run that is killed leaves whole lines. One process at a time uploads: it holds
    the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "tracking.jsonl"
        self._progress_file = folder / "tracking.json"
        self._written: int | None = None
        self._locked: ExitStack | None = None

    def exists(self) -> bool:
        """Return whether the journal has an entry."""
        return self.file.is_file() and self.file.stat().st_size > 0

    def append(self, act: str, **values: Any) -> None:
        """Append an entry; it is in the file when this returns."""
        shown = {key: value if key in _PATHS else masked_values(value) for key, value in values.items()}
        line = json.dumps({"act": act, **shown}) + "\n"
        if self._written is None:
            self._written = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            if not _ends_whole(self.file):
                line = "\n" + line
        os.write(self._written, line.encode())

    def read(self, start: int) -> list[JournalEntry]:
        """Return the entries from a position on, at most about a megabyte, after forcing them to the disk.

        An uploaded entry must not be lost here: a run that is resumed after a crash would record it again.
        """
        try:
            with self.file.open("rb") as file:
                file.seek(start)
                data = file.read(_BYTES_PER_READ)
                if data and b"\n" not in data:
                    data += file.readline()
                if data:
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return []
        return list(_entries(data, start))

    def all(self, start: int = 0) -> Iterator[JournalEntry]:
        """Yield all entries from a position on."""
        while entries := self.read(start):
            yield from entries
            start = entries[-1].end

    def last_steps(self) -> dict[str, int]:
        """Return the last step of every recorded metric, by name."""
        steps: dict[str, int] = {}
        for entry in self.all():
            if entry.act == "metrics":
                for name in entry.values["values"]:
                    steps[name] = max(steps.get(name, -1), int(entry.values["step"]))
        return steps

    def params(self) -> dict[str, str]:
        """Return the recorded params, as they were when the run was last resumed."""
        params: dict[str, str] = {}
        for entry in self.all():
            if entry.act == "begin":
                params |= entry.values["params"]
            elif entry.act == "continue":
                params |= {key: now for key, (_, now) in entry.values.get("changed", {}).items()}
        return params

    def last_start(self) -> JournalEntry | None:
        """Return the last entry with which a process began or resumed the run; ``None`` when there is none."""
        found = None
        for entry in self.all():
            found = entry if entry.act in _STARTS else found
        return found

    def has_ended(self) -> bool:
        """Return whether the last process that recorded here finished."""
        last = [entry.act for entry in self.all() if entry.act in (*_STARTS, "finish")]
        return not last or last[-1] == "finish"

    def progress(self) -> UploadProgress:
        """Return the progress of the upload; none when it cannot be read."""
        values = read_json(self._progress_file)
        try:
            return UploadProgress(**{**values, "refused": tuple(values["refused"])})
        except (TypeError, KeyError):
            return UploadProgress()

    def save_progress(self, progress: UploadProgress, **changed: Any) -> UploadProgress:
        """Save the progress; a power loss may undo that, and to upload an entry again changes nothing."""
        progress = replace(progress, **changed)
        atomic_write_text(self._progress_file, json.dumps(asdict(progress), indent=2) + "\n", durable=False)
        return progress

    def pending(self) -> int:
        """Return the number of entries that are not uploaded."""
        return sum(1 for _ in self.all(self.progress().delivered))

    def lock(self) -> bool:
        """Take the right to upload; return False if another process has it. It ends with the process."""
        if self._locked is None:
            lock = ExitStack()
            try:
                lock.enter_context(file_lock(self.file))
            except Locked:
                return False
            self._locked = lock
        return True

    def close(self) -> None:
        """Release the lock and close the files."""
        if self._written is not None:
            with suppress(OSError):
                os.close(self._written)
        if self._locked is not None:
            self._locked.close()
        self._written = self._locked = None


def _entries(data: bytes, start: int) -> Iterator[JournalEntry]:
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        end = start + len(line)
        try:
            values = json.loads(line)
            act = str(values.pop("act"))
            readable = all(isinstance(values[key], kind) for key, kind in _NEEDED.get(act, {}).items())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            readable = False
        if not readable:
            act, values = "unreadable", {}  # A line that a full disk cut off.
        yield JournalEntry(act=act, values=values, start=start, end=end)
        start = end


def _ends_whole(file: Path) -> bool:
    with file.open("rb") as reader:
        if reader.seek(0, os.SEEK_END) == 0:
            return True
        reader.seek(-1, os.SEEK_END)
        return reader.read(1) == b"\n"
