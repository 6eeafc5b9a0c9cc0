"""Delivering a journal: all of it reaches MLflow, in its order, once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from expkit.tracking.client import Address, Store
from expkit.tracking.errors import Refused, Unreachable
from expkit.tracking.journal import Cursor, Entry, Journal

__all__ = ["Delivery", "Stores", "Trashed"]

_log = logging.getLogger(__name__)
_MOST_METRICS = 1000
_FILE_ATTEMPTS = 3


class Trashed(Exception):
    """Raised when the run was deleted in MLflow; its records stay in the journal."""


class Stores:
    """Stores by address, each opened once, when it is first needed and answers."""

    def __init__(self) -> None:
        self._open: dict[Address, Store] = {}

    def at(self, address: Address) -> Store:
        """Return the store at an address; raises what opening it raises."""
        if address not in self._open:
            self._open[address] = Store(address)
        return self._open[address]


class Delivery:
    """Delivers one journal to one store.

    What an act did is written down after it; whoever dies between the two leaves an act to be done again, which changes
    nothing. That holds for the run itself too: it is looked for by its key before it is made.
    """

    def __init__(self, journal: Journal, address: Address, stores: Stores, *, anew: bool = False) -> None:
        """Deliver nothing yet.

        Args:
            journal: what is to be delivered.
            address: where to.
            stores: the stores opened so far.
            anew: whether a run that was deleted before is recorded anew, because it goes on.
        """
        self.journal = journal
        self._anew = anew
        self.address = address
        self._stores = stores
        self._cursor = Cursor()
        self._seen = False

    def deliver(self, until: float = float("inf"), only_begin: bool = False) -> Cursor:
        """Deliver all there is, or until a time of ``time.monotonic``.

        Raises:
            Unreachable: the store does not answer, or another process delivers this journal.
            TrackingError: it cannot be used as it is configured.
            Trashed: the run was deleted in it.
        """
        if not self.journal.lock():
            raise Unreachable(f"another process is delivering {self.journal.folder}")
        self._cursor = self.journal.cursor()
        if not self.journal.exists() or (self._seen and not self.journal.read(self._cursor.delivered)):
            return self._cursor
        store = self._stores.at(self.address)
        self._have_run(store)
        while not only_begin and time.monotonic() < until and (entries := self.journal.read(self._cursor.delivered)):
            for group in _groups(entries):
                self._take(store, group)
                if time.monotonic() >= until:
                    break
        return self._cursor

    def deliver_refused(self) -> Cursor:
        """Try once more what the store did not take; raises what ``deliver`` raises."""
        self._cursor = self.journal.cursor()
        store = self._stores.at(self.address)
        for start in self._cursor.refused:
            entry = self.journal.read(start)[0]
            try:
                self._give(store, str(self._cursor.run_id), [entry])
            except Refused as error:
                _log.warning("MLflow did not take %s: %s", entry.act, error)
            else:
                left = tuple(other for other in self._cursor.refused if other != start)
                self._cursor = self.journal.move(self._cursor, refused=left)
        return self._cursor

    @property
    def run_id(self) -> str | None:
        """The run's id, once the store has answered."""
        return self._cursor.run_id

    def _have_run(self, store: Store) -> None:
        """Make sure that the store has the run: it may be new, made by a call whose answer was lost, or forgotten."""
        run_id = self._cursor.run_id
        if run_id is not None and not self._seen:
            state = store.state(run_id)
            if state == "deleted" and not self._anew:
                raise Trashed(_trashed(run_id))
            if state != "active":
                _log.warning("MLflow has no run %s any more: %s is recorded there anew", run_id, self.journal.folder)
                self._cursor = self.journal.move(Cursor())
        if self._cursor.run_id is None:
            begin = next(entry for entry in self.journal.read(0) if entry.act == "begin")
            found = store.find(begin.values["key"])
            if not found:
                parent, before = self._parent(begin.values["parent"]), self._cursor.unclear
                self._cursor = self.journal.move(self._cursor, unclear=True)
                found = [store.create(begin.values, parent)]
                self._cursor = self.journal.move(self._cursor, unclear=before)
            self._cursor = self.journal.move(self._cursor, run_id=found[0], link=store.link(found[0]))
        self._seen = True

    def _parent(self, parent: str | None) -> str | None:
        """Return the id of the run to nest under, which may be known only as the folder of a sweep."""
        if parent is None or not Path(parent).is_absolute():
            return parent
        journal = Journal(Path(parent))
        if not journal.exists():
            _log.warning("the sweep's folder %s is gone: a run is recorded without its parent", parent)
            return None
        try:
            above = Delivery(journal, self.address, self._stores)
            known = journal.cursor().run_id
            return known if known is not None else above.deliver(only_begin=True).run_id
        finally:
            journal.close()

    def _take(self, store: Store, group: Sequence[Entry]) -> None:
        """Do one act, or hand over the metrics of a group; leave out what the store refuses."""
        assert self._cursor.run_id is not None
        refused = self._cursor.refused
        try:
            self._give(store, self._cursor.run_id, group)
        except Refused as error:
            state = store.state(self._cursor.run_id)
            if state == "deleted":
                raise Trashed(_trashed(self._cursor.run_id)) from None
            if state is None:
                self._seen = False
                raise Unreachable(f"MLflow has no run {self._cursor.run_id} any more") from None
            if len(group) > 1:
                for entry in group:
                    self._take(store, [entry])
                return
            refused = (*refused, group[0].start)
            _log.warning("MLflow did not take %s: %s", group[0].act, error)
        self._cursor = self.journal.move(self._cursor, delivered=group[-1].end, refused=refused)

    def _give(self, store: Store, run_id: str, group: Sequence[Entry]) -> None:
        if group[0].act == "metrics":
            store.metrics(run_id, group)
            return
        if group[0].act == "artifacts":
            self._give_files(store, run_id, group[0])
            return
        if group[0].act == "finish" and self._cursor.unclear:
            self._drop_twins(store, run_id)
        store.act(run_id, self.journal.folder, group[0])

    def _give_files(self, store: Store, run_id: str, entry: Entry) -> None:
        """Hand over files; a place for them that fails while the server answers holds up nothing that comes later."""
        for attempt in range(_FILE_ATTEMPTS):
            try:
                store.act(run_id, self.journal.folder, entry)
                return
            except Unreachable as error:
                store.state(run_id)  # raises when the server does not answer
                if attempt == _FILE_ATTEMPTS - 1:
                    raise Refused(str(error)) from None

    def _drop_twins(self, store: Store, run_id: str) -> None:
        """Put away runs made by calls whose answers were lost, and that were not there yet when looked for."""
        begin = next(entry for entry in self.journal.read(0) if entry.act == "begin")
        for other in store.find(begin.values["key"]):
            if other != run_id:
                store.drop(other)
        self._cursor = self.journal.move(self._cursor, unclear=False)


def _groups(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return entries in their order: metrics that follow each other together, up to what one request takes."""
    groups: list[list[Entry]] = []
    size = 0
    for entry in entries:
        count = len(entry.values["values"]) if entry.act == "metrics" else _MOST_METRICS
        if groups and groups[-1][0].act == entry.act == "metrics" and size + count <= _MOST_METRICS:
            groups[-1].append(entry)
            size += count
        else:
            groups.append([entry])
            size = count
    return groups


def _trashed(run_id: str) -> str:
    return f"run {run_id} was deleted in MLflow; its records stay in the run folder"
