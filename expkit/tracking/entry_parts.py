"""Parts of a journal's entry that are not records: status, note, dataset, files, model, end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from expkit.errors import error_message
from expkit.tracking.client import Store
from expkit.tracking.errors import StoreRefused
from expkit.tracking.journal import JournalEntry
from expkit.tracking.model import ModelRecord

__all__ = ["EntryPart", "entry_parts"]

_ONLY_RECORDS = ("begin", "metrics", "tags")


@dataclass(frozen=True, kw_only=True)
class EntryPart:
    """One thing that is sent by itself, so that its refusal costs nothing else."""

    what: str
    """Its kind and name, for messages."""
    send: Callable[[], None]
    """Sends it; raises StoreRefused."""
    is_file: bool = False
    """True if it is stored as a file, for which a server may lack a place."""


def entry_parts(store: Store, run_id: str, folder: Path, entry: JournalEntry) -> list[EntryPart]:
    """Return the parts of an entry.

    Args:
        store: the store.
        run_id: the run in it.
        folder: the run folder, in which all files must lie.
        entry: the entry.
    """
    if entry.act in _ONLY_RECORDS:
        return []
    try:
        return list(_parts(store, run_id, folder, entry))
    except (LookupError, TypeError, ValueError, AttributeError):
        return [EntryPart(what=f"an entry '{entry.act}'", send=_refuse_damaged)]


def _parts(store: Store, run_id: str, folder: Path, entry: JournalEntry) -> Iterator[EntryPart]:
    values = entry.values
    if entry.act == "continue":
        yield EntryPart(what="the run's status", send=partial(store.resume, run_id))
        if changed := values.get("changed"):
            yield EntryPart(what="the run's note", send=partial(store.add_note, run_id, _note(values, changed)))
    elif entry.act == "describe":
        yield EntryPart(what="the run's description", send=partial(store.describe, run_id, str(values["text"])))
    elif entry.act == "dataset":
        about = (values["kind"], values["digest"], values["sizes"])
        yield EntryPart(what=f"dataset '{values['kind']}'", send=partial(store.log_dataset, run_id, *about))
    elif entry.act == "artifacts":
        for path in values["paths"]:
            send = partial(_send_file, store, run_id, folder, path)
            yield EntryPart(what=f"artifact '{path}'", send=send, is_file=True)
    elif entry.act == "model":
        record = ModelRecord(**values)
        yield EntryPart(what=f"model '{record.graph}'", send=partial(_send_model, store, run_id, folder, record))
    elif entry.act == "finish":
        end = (values["status"], values["milliseconds"])
        yield EntryPart(what="the run's end", send=partial(store.finish, run_id, *end))
    else:
        yield EntryPart(what=f"an entry '{entry.act}'", send=_refuse_damaged)


def _note(values: Any, changed: Any) -> str:
    moment = datetime.fromtimestamp(values["milliseconds"] / 1000, UTC)
    new = ", ".join(f"{key}={now} ({before} before)" for key, (before, now) in changed.items())
    return f"Resumed on {moment:%Y-%m-%d %H:%M:%S} UTC with {new}."


def _send_file(store: Store, run_id: str, folder: Path, path: str) -> None:
    _check_inside(folder, path)
    store.log_file(run_id, folder / path)


def _send_model(store: Store, run_id: str, folder: Path, record: ModelRecord) -> None:
    for path in (record.graph, record.example):
        if path is not None:
            _check_inside(folder, path)
    store.log_model(run_id, folder, record)


def _check_inside(folder: Path, path: str) -> None:
    """Refuse what would take other files to the store than those in the run folder: the journal may be another's.

    Raises:
        StoreRefused: the path, or a link in it or below it, leads out of the run folder, or to something else than
            a file or a folder.
    """
    try:
        top, inside = folder / path, folder.resolve()
        below = (Path(place) / name for place, folders, files in os.walk(top) for name in (*folders, *files))
        for found in (top, *below):
            if not found.resolve().is_relative_to(inside):
                raise StoreRefused(f"{found} is not in the run folder, and only files in it are uploaded")
            if not (stat.S_ISREG(mode := found.stat().st_mode) or stat.S_ISDIR(mode)):
                raise StoreRefused(f"{found} is not a file")
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise StoreRefused(f"it cannot be read: {error_message(error)}") from None


def _refuse_damaged() -> None:
    raise StoreRefused("it is damaged")
