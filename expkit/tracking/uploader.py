"""The upload of a journal: every entry reaches MLflow, in order, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from expkit.tracking.client import Store, StoreAddress
from expkit.tracking.entry_parts import entry_parts
from expkit.tracking.errors import RunDeleted, StoreRefused, StoreUnreachable, TrackingError
from expkit.tracking.journal import Journal, JournalEntry, UploadProgress
from expkit.tracking.records import Record, Refusal, records_of, refused_among

__all__ = ["OpenStores", "Uploader"]

_log = logging.getLogger(__name__)
_METRICS_PER_REQUEST = 1000
_ATTEMPTS = 3


class OpenStores:
    """Stores by address, each opened once, when it is first needed and answers."""

    def __init__(self) -> None:
        self._open: dict[StoreAddress, Store] = {}

    def at(self, address: StoreAddress) -> Store:
        """Return the store at an address; raises the errors of opening it."""
        if address not in self._open:
            self._open[address] = Store(address)
        return self._open[address]


class Uploader:
    """Uploads one journal to one store.

    Progress is saved after each upload. A process that dies between the two leaves an entry to be uploaded again, which
    changes nothing. That holds for the run itself too: it is searched for by its key before it is created.
    """

    def __init__(
        self, journal: Journal, address: StoreAddress, stores: OpenStores, *, recreate_deleted: bool = False
    ) -> None:
        """Upload nothing yet.

        Args:
            journal: the journal.
            address: the store.
            stores: stores opened so far.
            recreate_deleted: create a run that was deleted in MLflow again, because it is resumed.
        """
        self.journal = journal
        self._recreate_deleted = recreate_deleted
        self.address = address
        self._stores = stores
        self._progress = UploadProgress()
        self._run_exists = False
        self._warned: set[str] = set()
        """Records and files that the store has refused, by kind and name."""

    def upload(self, until: float = float("inf"), only_begin: bool = False) -> UploadProgress:
        """Upload all entries, or those that fit in until a time of ``time.monotonic``.

        Raises:
            StoreUnreachable: the store does not answer, or another process uploads this journal.
            TrackingError: the store cannot be used as it is configured.
            RunDeleted: the run was deleted in the store.
        """
        if not self.journal.lock():
            raise StoreUnreachable(f"another process is uploading {self.journal.folder}")
        self._progress = self.journal.progress()
        if not self.journal.exists() or (self._run_exists and not self.journal.read(self._progress.delivered)):
            return self._progress
        store = self._stores.at(self.address)
        self._ensure_run(store)
        while not only_begin and time.monotonic() < until and (entries := self.journal.read(self._progress.delivered)):
            for group in _groups(entries):
                self._upload_group(store, group)
                if time.monotonic() >= until:
                    break
        return self._progress

    def retry_refused(self) -> UploadProgress:
        """Upload once more the entries of which the store refused anything; raises the errors of ``upload``."""
        self._progress = self.journal.progress()
        store = self._stores.at(self.address)
        for start in self._progress.refused:
            if not self._refusals(store, self.journal.read(start)[:1]):
                others = tuple(other for other in self._progress.refused if other != start)
                self._progress = self.journal.save_progress(self._progress, refused=others)
        return self._progress

    @property
    def run_id(self) -> str | None:
        """The run's id, once the store has answered."""
        return self._progress.run_id

    def _ensure_run(self, store: Store) -> None:
        """Find or create the run: it may be new, created by a call whose answer was lost, or lost by the store."""
        run_id = self._progress.run_id
        if run_id is not None and not self._run_exists:
            stage = store.lifecycle_stage(run_id)
            if stage == "deleted" and not self._recreate_deleted:
                raise RunDeleted(run_id)
            if stage != "active":
                _log.warning("MLflow no longer has run %s: %s is recorded there again", run_id, self.journal.folder)
                self._progress = self.journal.save_progress(UploadProgress())
        if self._progress.run_id is None:
            begin = next(entry for entry in self.journal.read(0) if entry.act == "begin")
            found = store.find(begin.values["key"])
            if not found:
                parent, before = self._parent(begin.values["parent"]), self._progress.unclear
                self._progress = self.journal.save_progress(self._progress, unclear=True)
                found = [self._created(store, begin, parent)]
                self._progress = self.journal.save_progress(self._progress, unclear=before)
            self._progress = self.journal.save_progress(self._progress, run_id=found[0], link=store.link(found[0]))
        self._run_exists = True

    def _created(self, store: Store, begin: JournalEntry, parent: str | None) -> str:
        """Create the run; if the store refuses its name or a tag, without these, which are then set one by one.

        Raises:
            TrackingError: it refuses every run.
        """
        values = begin.values
        try:
            return store.create(values, parent)
        except (StoreRefused, StoreUnreachable) as error:
            if isinstance(error, StoreUnreachable) and not error.internal:
                raise
        if found := store.find(values["key"]):
            return found[0]
        try:
            run_id = store.create({**values, "name": "", "tags": {}}, parent)
        except StoreRefused as refused:
            raise TrackingError.at("tracking.uri", f"the store refuses the run: {refused}") from None
        self._progress = replace(self._progress, run_id=run_id)
        tags = {**values["tags"], "mlflow.runName": values["name"]}
        records = [Record(kind="tag", name=key, value=value, start=begin.start) for key, value in tags.items()]
        self._warn([*refused_among(lambda some: self._call(store, partial(store.log, run_id, some)), records)])
        return run_id

    def _parent(self, parent: str | None) -> str | None:
        """Return the id of the parent run, which may be given as the folder of a sweep."""
        if parent is None or not Path(parent).is_absolute():
            return parent
        journal = Journal(Path(parent))
        if not self.journal.folder.resolve().is_relative_to(Path(parent).resolve()):
            _log.warning("%s is not in its sweep %s: it is recorded without its parent", self.journal.folder, parent)
            return None
        if not journal.exists():
            _log.warning("the sweep's folder %s is gone: a run is recorded without its parent", parent)
            return None
        try:
            above = Uploader(journal, self.address, self._stores)
            known = journal.progress().run_id
            return known if known is not None else above.upload(only_begin=True).run_id
        finally:
            journal.close()

    def _upload_group(self, store: Store, group: Sequence[JournalEntry]) -> None:
        """Upload a group of metrics, or one other entry; what the store refuses is left out, and its entry noted."""
        starts = {refusal.start for refusal in self._refusals(store, group)}
        refused = (*self._progress.refused, *sorted(starts))
        self._progress = self.journal.save_progress(self._progress, delivered=group[-1].end, refused=refused)

    def _refusals(self, store: Store, group: Sequence[JournalEntry]) -> list[Refusal]:
        """Upload entries; return what the store refuses, after a warning that names what it did not refuse before."""
        run_id, found = str(self._progress.run_id), []

        def send(records: Sequence[Record]) -> None:
            self._call(store, partial(store.log, run_id, records))

        records: list[Record] = []
        for entry in group:
            try:
                records += records_of(entry)
            except (LookupError, TypeError, ValueError, AttributeError):
                found.append(Refusal(what=f"an entry '{entry.act}'", reason="it is damaged", start=entry.start))
        found += refused_among(send, records)
        if group[0].act == "finish" and self._progress.unclear:
            self._delete_duplicates(store, run_id)
        for entry in group:
            for part in entry_parts(store, run_id, self.journal.folder, entry):
                try:
                    self._call(store, part.send, is_file=part.is_file)
                except StoreRefused as error:
                    found.append(Refusal(what=part.what, reason=str(error), start=entry.start))
        self._warn(found)
        return found

    def _call(self, store: Store, send: Callable[[], None], *, is_file: bool = False) -> None:
        """Call the store about the run.

        While it answers other calls, files that it cannot keep and records about which it fails are refused after some
        attempts, so that they do not delay what follows.
        """
        run_id = str(self._progress.run_id)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                send()
                return
            except StoreUnreachable as error:
                if not (is_file or error.internal):
                    raise
                store.lifecycle_stage(run_id)  # raises when the server does not answer
                if attempt == _ATTEMPTS:
                    raise StoreRefused(str(error)) from None
            except StoreRefused:
                stage = store.lifecycle_stage(run_id)
                if stage == "deleted":
                    raise RunDeleted(run_id) from None
                if stage is None:
                    self._run_exists = False
                    raise StoreUnreachable(f"MLflow no longer has run {run_id}") from None
                raise

    def _warn(self, refusals: Sequence[Refusal]) -> None:
        """Warn of what is refused, once of each."""
        if fresh := [refusal for refusal in refusals if refusal.what not in self._warned]:
            self._warned.update(refusal.what for refusal in fresh)
            _log.warning("%s", Refusal.text(fresh))

    def _delete_duplicates(self, store: Store, run_id: str) -> None:
        """Delete runs created by calls whose answers were lost, and that the search before came too early for."""
        begin = next(entry for entry in self.journal.read(0) if entry.act == "begin")
        for other in store.find(begin.values["key"]):
            if other != run_id:
                store.delete(other)
        self._progress = self.journal.save_progress(self._progress, unclear=False)


def _groups(entries: Sequence[JournalEntry]) -> list[list[JournalEntry]]:
    """Return entries in order: successive metrics together, up to the size of a request."""
    groups: list[list[JournalEntry]] = []
    size = 0
    for entry in entries:
        count = len(entry.values["values"]) if entry.act == "metrics" else _METRICS_PER_REQUEST
        if groups and groups[-1][0].act == entry.act == "metrics" and size + count <= _METRICS_PER_REQUEST:
            groups[-1].append(entry)
            size += count
        else:
            groups.append([entry])
            size = count
    return groups
