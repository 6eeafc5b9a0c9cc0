"""The MLflow store: a run found or made in it, and what is recorded of it; every act may be done again."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from expkit.fs import file_lock
from expkit.redact import HIDDEN, is_masked, masked, without_user
from expkit.tracking.errors import Refused, TrackingError, Unreachable, failure
from expkit.tracking.journal import Entry
from expkit.tracking.mlflow_internals import run_page, schema_revisions
from expkit.tracking.model import keep_model

__all__ = ["Address", "Status", "Store", "check_sqlite", "prepare"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

KEY = "expkit.key"
"""Tag that tells a run from all others, given before the store has made an id for it."""
TIMEOUT_SECONDS = 10
"""Seconds in which a server answers a call; ``MLFLOW_HTTP_REQUEST_TIMEOUT`` is another number."""
_BATCH = 1000  # MLflow's limit for metrics in one request
_LONGEST_PARAM = 6000


@dataclass(frozen=True)
class Address:
    """Where a run is recorded."""

    uri: str
    """Tracking URI."""
    experiment: str
    """Name of the MLflow experiment."""
    artifacts: str | None = None
    """URI of the folder of a new experiment's artifacts; the store's own choice when not given."""


def prepare() -> None:
    """Import MLflow, quiet.

    MLflow would try a request again and again, also one that makes a run and whose answer was lost: that is left to
    the delivery, which looks whether the run is there.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_SECONDS))
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # what it says of failures is told shorter
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.getLogger("alembic").setLevel(logging.WARNING)
    importlib.import_module("mlflow")


class Store:
    """A store, opened: its client and the experiment.

    Every method raises ``Unreachable`` where the store does not answer and ``Refused`` where it does not take what it
    is given; whatever of a call was done before, doing it again changes nothing.
    """

    def __init__(self, address: Address) -> None:
        """Open the store and find or make the experiment.

        Raises:
            TrackingError: the store cannot be used as it is configured.
            Unreachable: it does not answer.
        """
        prepare()
        from mlflow import MlflowClient

        shown = masked(address.uri)
        try:
            self._uri = _usable(address.uri)
            check_sqlite(self._uri)
            with _one_maker(self._uri):
                self._client = MlflowClient(self._uri)
                self._experiment_id = self._experiment(address)
        except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors all end here
            meaning = error if isinstance(error, Refused) else failure(error, opening=True)
            if isinstance(meaning, Unreachable):
                raise Unreachable(f"{shown}: {meaning}") from None
            raise TrackingError.at(
                "tracking.uri",
                f"the store {shown} cannot be opened ({meaning}); "
                "mend it, give another with tracking.uri=URI, or use tracking=none",
            ) from None

    def state(self, run_id: str) -> Literal["active", "deleted"] | None:
        """Return whether the store has a run, and whether it lies in the trash."""
        try:
            return "deleted" if self._call(self._client.get_run, run_id).info.lifecycle_stage == "deleted" else "active"
        except Refused as refused:
            if refused.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def find(self, key: str) -> list[str]:
        """Return the runs that were made with a key: at most one, unless an answer came too late."""
        from mlflow.entities import ViewType

        wanted = f"tags.`{KEY}` = '{key}'"
        runs = self._call(self._client.search_runs, [self._experiment_id], wanted, ViewType.ACTIVE_ONLY)
        return [str(run.info.run_id) for run in runs]

    def create(self, begin: Mapping[str, Any], parent: str | None) -> str:
        """Make a run; return its id."""
        nested = {"mlflow.parentRunId": parent} if parent is not None else {}
        run = self._call(
            self._client.create_run,
            self._experiment_id,
            start_time=begin["milliseconds"],
            tags={**begin["tags"], **nested, KEY: begin["key"]},
            run_name=begin["name"],
        )
        return str(run.info.run_id)

    def drop(self, run_id: str) -> None:
        """Put a run into the trash."""
        self._call(self._client.delete_run, run_id)

    def restore(self, run_id: str) -> None:
        """Take a run out of the trash."""
        self._call(self._client.restore_run, run_id)

    def link(self, run_id: str) -> str:
        """Return where to look at a run."""
        if self._uri.startswith("http"):
            page = masked(self._uri).replace(f"{HIDDEN}@", "").rstrip("/")
            return run_page(page, self._experiment_id, run_id)
        return f"{run_id} (expkit ui)"

    def metrics(self, run_id: str, entries: Sequence[Entry]) -> None:
        """Record metrics: the store knows each by name, step, time and value, and takes none twice."""
        from mlflow.entities import Metric

        points = [
            Metric(name, value, entry.values["milliseconds"], entry.values["step"])
            for entry in entries
            for name, value in entry.values["values"].items()
        ]
        for start in range(0, len(points), _BATCH):
            self._call(self._client.log_batch, run_id, metrics=points[start : start + _BATCH])

    def act(self, run_id: str, folder: Path, entry: Entry) -> None:
        """Do what an entry other than metrics says; ``folder`` is the run's, which artifacts' paths are relative to."""
        values = entry.values
        if entry.act == "begin":
            self._params(run_id, values["params"])
        elif entry.act == "continue":
            self._call(self._client.update_run, run_id, status="RUNNING")
            if "error" in self._call(self._client.get_run, run_id).data.tags:
                self._call(self._client.delete_tag, run_id, "error")
        elif entry.act == "tags":
            self._tags(run_id, values["values"])
        elif entry.act == "dataset":
            self._dataset(run_id, **values)
        elif entry.act == "artifacts":
            for path in values["paths"]:
                self._call(self._client.log_artifact, run_id, str(folder / path), values["folder"])
        elif entry.act == "model":
            self._call(keep_model, self._client, run_id, folder, **values)
        elif entry.act == "finish":
            if values["error"] is not None:
                self._tags(run_id, {"error": values["error"][:5000]})
            self._call(self._client.set_terminated, run_id, values["status"], values["milliseconds"])
        else:
            raise Refused(f"the journal has an entry that cannot be read: {entry.act}")

    def _params(self, run_id: str, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:_LONGEST_PARAM]) for key, value in values.items()]
        for start in range(0, len(params), 100):
            self._call(self._client.log_batch, run_id, params=params[start : start + 100])

    def _tags(self, run_id: str, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._call(self._client.log_batch, run_id, tags=[RunTag(*item) for item in values.items()])

    def _dataset(self, run_id: str, kind: str, digest: str, sizes: Mapping[str, int]) -> None:
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        entity = Entity(
            name=kind,
            digest=digest[:32],
            source_type="expkit",
            source=json.dumps({"kind": kind, "sha256": digest}),
            profile=json.dumps(sizes),
        )
        item = DatasetInput(entity, [InputTag("mlflow.data.context", "training")])
        try:
            self._call(self._client.log_inputs, run_id, [item])
        except Refused:  # what MLflow answers when another run writes the same dataset between its look and its write
            self._call(self._client.log_inputs, run_id, [item])

    def _experiment(self, address: Address) -> str:
        found = self._client.get_experiment_by_name(address.experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(address.experiment, artifact_location=address.artifacts))
            except Exception:
                found = self._client.get_experiment_by_name(address.experiment)  # another process was faster
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise Refused(
                f"its experiment '{address.experiment}' was deleted; restore it there, "
                "or give another with tracking.experiment=NAME"
            )
        return str(found.experiment_id)

    def _call(self, call: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except Exception as error:  # the store's own errors are of many kinds
            raise failure(error) from None


def check_sqlite(uri: str) -> None:
    """Look into a SQLite file before MLflow does, which tries one that it cannot open for minutes.

    Raises:
        Refused: a newer MLflow wrote it.
        sqlite3.DatabaseError: it cannot be opened.
    """
    path = _sqlite_file(uri)
    if path is None:
        return
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma schema_version")
        tables = connection.execute("select name from sqlite_master where name = 'alembic_version'").fetchall()
        revisions = (
            [str(row[0]) for row in connection.execute("select version_num from alembic_version")] if tables else []
        )
    unknown = set(revisions) - schema_revisions()
    if unknown:
        raise Refused(
            f"a newer MLflow made it: its schema {', '.join(sorted(unknown))} is unknown to the one installed here; "
            "pip install --upgrade mlflow"
        )


def _sqlite_file(uri: str) -> str | None:
    scheme, found, path = uri.partition(":///")
    return path.partition("?")[0] if found and scheme == "sqlite" else None


@contextlib.contextmanager
def _one_maker(uri: str) -> Iterator[None]:
    """Let one process at a time open a SQLite store: of several that make its tables at once most would fail."""
    path = _sqlite_file(uri)
    if path is None:
        yield
        return
    with file_lock(Path(path), wait=True):
        yield


def _usable(uri: str) -> str:
    """Return a URI that was read from a run's folder, where its secrets are hidden, as it can be used without them."""
    if not is_masked(uri):
        return uri
    if uri.startswith("http") and f"={HIDDEN}" not in uri:
        return without_user(uri)  # MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD
    raise Refused("its password is not kept in the run's folder; give the whole URI with --uri URI")
