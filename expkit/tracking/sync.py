"""Later upload of records that MLflow is missing, from run folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expkit.errors import Problem, RunError, comma_list
from expkit.redact import masked
from expkit.run_lookup import named_path, run_of_uri
from expkit.tracking.client import StoreAddress
from expkit.tracking.errors import RunDeleted, StoreUnreachable, TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.sqlite_store import sqlite_file
from expkit.tracking.store_address import is_default, local_artifacts, sync_command, uri_of_environment
from expkit.tracking.uploader import OpenStores, Uploader

__all__ = ["SyncResult", "addresses", "recorded_folders", "sync"]


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """The result of one run's upload."""

    folder: Path
    run_id: str | None
    uploaded: int
    """Records that were missing and are in MLflow now."""
    missing: int
    """Records that are still missing."""
    refused: int
    """Records among them that MLflow refuses, though it answers."""
    cause: str | None
    """Why records are missing."""

    def __str__(self) -> str:
        run = f"MLflow run {self.run_id}" if self.run_id is not None else "no run in MLflow yet"
        results = [
            f"uploaded {self.uploaded:,} records" if self.uploaded else "",
            f"{self.missing:,} records are missing: {self.cause}" if self.cause is not None else "",
            f"{self.refused:,} records are refused" if self.refused else "",
        ]
        return f"{self.folder}: {run}: {'; '.join(filter(None, results)) or 'nothing was missing'}"


def recorded_folders(named: str, runs: str) -> list[Path]:
    """Return the folders with records that a user names: a run, or a sweep followed by its runs.

    Args:
        named: a folder, or ``runs:/ID`` of MLflow.
        runs: the folder in which an id is searched for.

    Raises:
        RunError: there is none.
    """
    if (run := run_of_uri(named, runs, named)) is not None:
        return [run.path]
    path = named_path(named, "run")
    found = sorted(file.parent for file in path.rglob("tracking.jsonl")) if path.is_dir() else []
    if not found:
        problem = "has no records of a run (no tracking.jsonl in it)" if path.exists() else "does not exist"
        near = [file for parent in (path.parent, Path("runs")) for file in parent.glob("*/*/tracking.jsonl")]
        others = sorted({file.parent.as_posix() for file in near}, reverse=True)
        raise RunError.at(named, f"{problem}; runs: {comma_list(others, 5)}")
    return found


def sync(folder: Path, stores: OpenStores, address: StoreAddress, restore: bool = False) -> SyncResult:
    """Upload the missing records of one run.

    Args:
        folder: the run folder.
        stores: stores opened so far.
        address: the store.
        restore: restore the run from MLflow's trash if it was deleted.

    Raises:
        TrackingError: the store cannot be used.
    """
    journal = Journal(folder)
    before, cause = journal.pending() + len(journal.progress().refused), None
    uploader = Uploader(journal, address, stores)
    run_id = journal.progress().run_id
    try:
        if restore and run_id is not None and stores.at(address).lifecycle_stage(run_id) == "deleted":
            stores.at(address).restore(run_id)
        uploader.upload()
        uploader.retry_refused()
    except StoreUnreachable as error:
        cause = str(error)
    except RunDeleted as error:
        cause = f"{error}; `{sync_command(folder, address.uri)} --restore` restores it"
    finally:
        journal.close()
    progress = journal.progress()
    missing = journal.pending() + len(progress.refused)
    return SyncResult(
        folder=folder,
        run_id=progress.run_id,
        uploaded=max(before - missing, 0),
        missing=missing,
        refused=len(progress.refused),
        cause=cause,
    )


def addresses(folders: Sequence[Path], uri: str | None = None) -> list[StoreAddress]:
    """Return the addresses to which the records of runs go: their default one, or the store that is given.

    A run folder may come from somebody else, and name a store of his.

    Args:
        folders: the run folders.
        uri: the store that a user gives.

    Raises:
        TrackingError: with every folder that alone names its store, or whose store no longer exists.
    """
    found: list[StoreAddress] = []
    problems: list[Problem] = []
    for folder in folders:
        try:
            found.append(_address(folder, uri))
        except TrackingError as error:
            problems += error.problems
    if problems:
        raise TrackingError(*problems)
    return found


def _address(folder: Path, uri: str | None) -> StoreAddress:
    start = Journal(folder).last_start()
    try:
        assert start is not None
        recorded, experiment = str(start.values["address"]["uri"]), str(start.values["address"]["experiment"])
        experiment_id = start.values["address"].get("experiment_id")
    except (AssertionError, LookupError, TypeError, AttributeError):
        message = "cannot be read: it does not name the run's store"
        raise TrackingError.at(str(folder / "tracking.jsonl"), message) from None
    if uri is not None:
        return StoreAddress(uri=uri, experiment=experiment)
    if not is_default(recorded, folder):
        raise TrackingError.at(
            str(folder),
            f"only its records name the store {masked(recorded)}; if that is where they belong: "
            f"{sync_command(folder, recorded)}",
        )
    file = sqlite_file(recorded)
    if file is not None and not Path(file).exists():
        raise TrackingError.at(str(folder), f"its store {file} no longer exists; give another with --uri URI")
    environment = uri_of_environment()
    if environment is not None and masked(environment) == masked(recorded):
        return StoreAddress(uri=environment, experiment=experiment, experiment_id=experiment_id)
    assert file is not None
    return StoreAddress(uri=recorded, experiment=experiment, artifacts=local_artifacts(Path(file)))
