"""A run that is recorded: in the journal of its folder at once, in MLflow when the recorder uploads it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from expkit.config.schema import Config
from expkit.tracking.client import Status
from expkit.tracking.errors import TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.recorder import Recorder, warn
from expkit.tracking.store_address import store_address, sync_command

__all__ = ["NewRun", "RecordedRun"]

_NONE = "null"
"""Text of a value that is not recorded."""
_RESUME = "run.resume"


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """The first entry of a journal, from which the run is created."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None


class RecordedRun:
    """A run that is recorded: in the journal at once, in MLflow when the recorder uploads it.

    Only ``begin``, ``identify`` and ``finish`` wait for the store, each at most ``tracking.wait_seconds``.
    """

    def __init__(
        self, recorder: Recorder, config: Config, folder: Path, new: NewRun, *, system_metrics: bool = False
    ) -> None:
        self._recorder = recorder
        self._in_background = False
        self._folder = folder
        self._seconds = config.tracking.wait_seconds
        self._journal = Journal(folder)
        address = asdict(store_address(config))
        process = uuid.uuid4().hex
        self._sync = sync_command(folder, address["uri"])
        start = {"address": address, "process": process}
        self._last: dict[str, int] = {}
        """The last step of every recorded metric, by name."""
        if self._journal.exists():
            self._last = self._journal.last_steps()
            changed = _changed_params(self._journal, new.params)
            self._journal.append("continue", milliseconds=_now(), changed=changed, **start)
        else:
            self._journal.append("begin", key=uuid.uuid4().hex, milliseconds=_now(), **asdict(new), **start)
        self._store = tuple(address.values())
        self._waited = False
        self._begun: Future[Any] = recorder.submit(
            "begin", folder=str(folder.resolve()), address=address, process=process, system_metrics=system_metrics
        )

    def begin(self) -> None:
        """Wait until the run has begun in the store, or its server is known not to answer.

        A run whose records are uploaded in the background waits only for a store that no earlier run has opened.

        Raises:
            TrackingError: the store cannot be used as it is configured.
        """
        if not self._in_background or self._store not in self._recorder.opened:
            self._wait_for_begin()

    def identify(self) -> None:
        """Wait until the run has an id, or its server is known not to answer."""
        try:
            self._wait_for_begin()
        except TrackingError as error:
            warn(f"MLflow does not accept records ({error}); upload them with `{self._sync}`")

    def _wait_for_begin(self) -> None:
        if self._waited:
            return
        self._waited = True
        try:
            begun = self._begun.result(self._seconds)
        except TimeoutError:
            begun = {"run_id": None, "cause": f"no answer within {self._seconds:g} s"}
        if begun["cause"] is None:
            self._recorder.opened.add(self._store)
        else:
            warn(
                f"MLflow does not accept records ({begun['cause']}): the run continues and keeps them; they are "
                f"uploaded as soon as it does, or with `{self._sync}`"
            )

    @property
    def run_id(self) -> str | None:
        """The run's id in the store; ``None`` until the store has answered."""
        return self._journal.progress().run_id

    @property
    def reference(self) -> str:
        """The parent for a run that nests under this one: the id, or the journal's folder until there is one."""
        return self.run_id or str(self._folder.resolve())

    @property
    def link(self) -> str:
        """Address of the run's page."""
        return self._journal.progress().link or f"not recorded yet ({self._sync})"

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags of the run."""
        self._journal.append("tags", values=dict(values))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step, once: steps that a resumed run logs again are skipped."""
        fresh = {name: float(value) for name, value in values.items() if step > self._last.get(name, -1)}
        if fresh:
            self._journal.append("metrics", step=step, values=fresh, milliseconds=_now())
            self._last |= dict.fromkeys(fresh, step)

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Copy files and folders, as they are when they are uploaded, into the artifacts."""
        self._journal.append("artifacts", paths=[self._relative(path) for path in paths])

    def describe(self, text: str) -> None:
        """Record a text in Markdown for the run's page, in place of an earlier one."""
        self._journal.append("describe", text=text)

    def _relative(self, path: Path) -> str:
        """Return a path relative to the run's folder, or an absolute one outside of it."""
        folder, path = self._folder.resolve(), path.resolve()
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def finish(self, status: Status, error: str | None = None) -> None:
        """End the run with its status, and the message of the error that failed it; warn if records are missing."""
        self._journal.append("finish", status=status, error=error, milliseconds=_now())
        if self._begun.done() and self._begun.exception() is not None:
            return
        finished = self._recorder.submit("finish", folder=str(self._folder.resolve()), seconds=self._seconds)
        if self._in_background:
            self._recorder.settle_later(partial(self._settle, finished))
        else:
            self._settle(finished)

    def _settle(self, finished: Future[Any]) -> None:
        """Wait until the end of the run is in the store; warn if records are missing."""
        try:
            ended = finished.result(self._seconds)
            cause = ended["cause"] or (f"not all within {self._seconds:g} s" if ended["missing"] else None)
        except (TrackingError, TimeoutError) as failed:
            cause = str(failed) or f"no answer within {self._seconds:g} s"
        if cause is not None:
            warn(f"MLflow does not have all of this run ({cause}); upload the rest with `{self._sync}`")


def _now() -> int:
    """Return milliseconds since the epoch."""
    return int(time.time() * 1000)


def _changed_params(journal: Journal, params: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the params that are no longer as recorded, with their values before and now: MLflow cannot change them."""
    before = journal.params()
    pairs = {key: (before.get(key, _NONE), params.get(key, _NONE)) for key in dict.fromkeys((*before, *params))}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and key != _RESUME}
