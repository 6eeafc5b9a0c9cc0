"""Delivering later: what MLflow has not got of runs whose folders are here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from expkit.errors import RunError, comma_list
from expkit.run_folder import named_path, run_of_uri
from expkit.tracking.client import Address
from expkit.tracking.errors import TrackingError, Unreachable
from expkit.tracking.journal import Journal
from expkit.tracking.uploader import Delivery, Stores, Trashed

__all__ = ["Synced", "journals", "sync"]


@dataclass(frozen=True)
class Synced:
    """What became of one run."""

    folder: Path
    run_id: str | None
    delivered: int
    """Records that were missing and are in MLflow now."""
    left: int
    """Records that are still missing."""
    refused: int
    """Records among them that MLflow does not take, though it answers."""
    why: str | None
    """Why some are missing."""

    def __str__(self) -> str:
        run = f"MLflow run {self.run_id}" if self.run_id is not None else "no run in MLflow yet"
        parts = [
            f"delivered {self.delivered:,} records" if self.delivered else "",
            f"{self.left:,} records are missing: {self.why}" if self.why is not None else "",
            f"{self.refused:,} records are refused" if self.refused else "",
        ]
        return f"{self.folder}: {run}: {'; '.join(part for part in parts if part) or 'nothing was missing'}"


def journals(named: str, runs: str) -> list[Path]:
    """Return the folders that a user means: a run, or a sweep, which comes before its runs.

    Args:
        named: a folder, or ``runs:/ID`` of MLflow.
        runs: where an id is looked for.

    Raises:
        RunError: there is none with records.
    """
    if (run := run_of_uri(named, runs, named)) is not None:
        return [run.path]
    path = named_path(named, "run")
    found = sorted(file.parent for file in path.rglob("tracking.jsonl")) if path.is_dir() else []
    if not found:
        what = "has no records of a run (no tracking.jsonl in it)" if path.exists() else "does not exist"
        near = [folder for place in (path.parent, Path("runs")) for folder in place.glob("*/*/tracking.jsonl")]
        others = sorted({file.parent.as_posix() for file in near}, reverse=True)
        raise RunError.at(named, f"{what}; runs: {comma_list(others, 5)}")
    return found


def sync(folder: Path, stores: Stores, uri: str | None = None, restore: bool = False) -> Synced:
    """Deliver what is missing of one run.

    Args:
        folder: its folder.
        stores: the stores opened so far.
        uri: of the store, instead of the one that the run was recorded in.
        restore: whether to take a run that was deleted in MLflow out of its trash.

    Raises:
        TrackingError: the store cannot be used.
    """
    journal = Journal(folder)
    start = journal.start()
    if start is None:
        raise TrackingError.at(
            str(folder / "tracking.jsonl"), "cannot be read: it does not say where the run is recorded"
        )
    kept = Address(**start.values["address"])
    address = Address(uri, kept.experiment) if uri is not None else kept
    file = address.uri.partition("sqlite:///")[2].partition("?")[0]
    if file and uri is None and not os.path.exists(file):
        raise TrackingError.at(str(folder), f"its store {file} is not there any more; give another with --uri URI")
    before, why = journal.left() + len(journal.cursor().refused), None
    delivery = Delivery(journal, address, stores)
    run_id = journal.cursor().run_id
    try:
        if restore and run_id is not None and stores.at(address).state(run_id) == "deleted":
            stores.at(address).restore(run_id)
        delivery.deliver()
        delivery.deliver_refused()
    except Unreachable as error:
        why = str(error)
    except Trashed as error:
        why = f"{error}; `expkit sync --restore {folder}` takes it back"
    finally:
        journal.close()
    cursor = journal.cursor()
    left = journal.left() + len(cursor.refused)
    return Synced(folder, cursor.run_id, max(before - left, 0), left, len(cursor.refused), why)
