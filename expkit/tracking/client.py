"""The MLflow store: every call may be repeated, and repeating it changes nothing."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from expkit.redact import HIDDEN, is_masked, masked, without_user
from expkit.tracking.errors import StoreRefused, StoreUnreachable, TrackingError, failure
from expkit.tracking.mlflow_internals import run_page
from expkit.tracking.model import ModelRecord, log_model
from expkit.tracking.records import Record
from expkit.tracking.sqlite_store import check_sqlite, created_alone

__all__ = ["Status", "Store", "StoreAddress", "prepare"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

KEY = "expkit.key"
"""Tag that identifies a run before the store has given it an id."""
TIMEOUT_SECONDS = 10
"""Timeout of a request to a server; ``MLFLOW_HTTP_REQUEST_TIMEOUT`` sets another one."""
_PER_REQUEST = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits
_LONGEST_PARAM = 6000
_NOTE = "mlflow.note.content"
_TEXT_BEGINS = "## Result"
_TEXT_ENDS = "---"


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """The store and the experiment in which a run is recorded."""

    uri: str
    """Tracking URI."""
    experiment: str
    """Name of the MLflow experiment."""
    artifacts: str | None = None
    """URI of the folder of a new experiment's artifacts; the store's own choice when not given."""
    experiment_id: str | None = None
    """Id of the experiment, which exists, in place of its name."""


def prepare() -> None:
    """Import MLflow, quietly and without retries.

    MLflow would repeat every request, even one that creates a run and whose answer was lost. Retries are left to the
    uploader, which first checks whether the run exists.
    """
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT_SECONDS))
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # Failures are reported in a shorter form.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    logging.getLogger("alembic").setLevel(logging.WARNING)
    importlib.import_module("mlflow")


class Store:
    """An open store: its client and the experiment.

    Every method raises ``StoreUnreachable`` where the store does not answer and ``StoreRefused`` where it refuses the
    call. A call that was interrupted may be repeated.
    """

    def __init__(self, address: StoreAddress) -> None:
        """Open the store and find or create the experiment.

        Raises:
            TrackingError: the store cannot be used as it is configured.
            StoreUnreachable: it does not answer.
        """
        prepare()
        from mlflow import MlflowClient

        shown = masked(address.uri)
        try:
            self._uri = _without_hidden(address.uri)
            check_sqlite(self._uri)
            with created_alone(self._uri):
                self._client = MlflowClient(self._uri)
                self._experiment_id = self._experiment(address)
        except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors all end here
            meaning = error if isinstance(error, StoreRefused) else failure(error, opening=True)
            if isinstance(meaning, StoreUnreachable):
                raise StoreUnreachable(f"{shown}: {meaning}") from None
            raise TrackingError.at(
                "tracking.uri",
                f"the store {shown} cannot be opened ({meaning}); "
                "fix it, give another with tracking.uri=URI, or use tracking=none",
            ) from None

    def lifecycle_stage(self, run_id: str) -> Literal["active", "deleted"] | None:
        """Return whether a run is active or in the trash; ``None`` where the store has no such run."""
        try:
            return "deleted" if self._call(self._client.get_run, run_id).info.lifecycle_stage == "deleted" else "active"
        except StoreRefused as refused:
            if refused.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def find(self, key: str) -> list[str]:
        """Return the runs that were created with a key: at most one, unless an answer was lost."""
        from mlflow.entities import ViewType

        search = f"tags.`{KEY}` = '{key}'"
        runs = self._call(self._client.search_runs, [self._experiment_id], search, ViewType.ACTIVE_ONLY)
        return [str(run.info.run_id) for run in runs]

    def create(self, begin: Mapping[str, Any], parent: str | None) -> str:
        """Create the run of a ``begin`` entry, named if the entry has a name; return its id."""
        nested = {"mlflow.parentRunId": parent} if parent is not None else {}
        run = self._call(
            self._client.create_run,
            self._experiment_id,
            start_time=begin["milliseconds"],
            tags={**{key: _storable(tag) for key, tag in begin["tags"].items()}, **nested, KEY: begin["key"]},
            run_name=_storable(begin.get("name", "")) or None,
        )
        return str(run.info.run_id)

    def delete(self, run_id: str) -> None:
        """Move a run to the trash."""
        self._call(self._client.delete_run, run_id)

    def restore(self, run_id: str) -> None:
        """Restore a run from the trash."""
        self._call(self._client.restore_run, run_id)

    def link(self, run_id: str) -> str:
        """Return the address of a run's page, or the id and the verb that shows a local store."""
        if self._uri.startswith("http"):
            page = masked(self._uri).replace(f"{HIDDEN}@", "").rstrip("/")
            return run_page(page, self._experiment_id, run_id)
        return f"{run_id} (expkit ui)"

    def log(self, run_id: str, records: Sequence[Record]) -> None:
        """Log records; the store identifies a point of a metric by name, step, time and value, and keeps none twice."""
        from mlflow.entities import Metric, Param, RunTag

        by_kind: dict[str, list[Any]] = {"metrics": [], "params": [], "tags": []}
        for record in records:
            name, value = record.name, record.value
            if record.kind == "metric":
                by_kind["metrics"].append(Metric(name, float(value), record.milliseconds, record.step))
            elif record.kind == "param":
                by_kind["params"].append(Param(name, _storable(value)[:_LONGEST_PARAM]))
            else:
                by_kind["tags"].append(RunTag(name, _storable(value)))
        for kind, items in by_kind.items():
            for start in range(0, len(items), _PER_REQUEST[kind]):
                self._call(self._client.log_batch, run_id, **{kind: items[start : start + _PER_REQUEST[kind]]})

    def resume(self, run_id: str) -> None:
        """Record that a run goes on."""
        self._call(self._client.update_run, run_id, status="RUNNING")
        if "error" in self._call(self._client.get_run, run_id).data.tags:
            self._call(self._client.delete_tag, run_id, "error")

    def add_note(self, run_id: str, line: str) -> None:
        """Add a line to the run's description."""
        note = self._call(self._client.get_run, run_id).data.tags.get(_NOTE, "")
        if line not in note.splitlines():
            self._call(self._client.set_tag, run_id, _NOTE, f"{note}\n{line}".strip("\n"))

    def describe(self, run_id: str, text: str) -> None:
        """Put a text at the beginning of the run's description, in place of an earlier one; other lines are kept."""
        note = self._call(self._client.get_run, run_id).data.tags.get(_NOTE, "")
        kept = re.sub(rf"^{_TEXT_BEGINS}.*?^{_TEXT_ENDS}$", "", note, flags=re.MULTILINE | re.DOTALL).strip("\n")
        self._call(self._client.set_tag, run_id, _NOTE, f"{_TEXT_BEGINS}\n{text}\n{_TEXT_ENDS}\n\n{kept}".strip("\n"))

    def log_file(self, run_id: str, file: Path) -> None:
        """Copy a file, or a folder with all in it, into the run's artifacts."""
        self._call(self._client.log_artifact, run_id, str(file))

    def log_model(self, run_id: str, folder: Path, record: ModelRecord) -> None:
        """Log the frozen graph of a run folder as a model."""
        self._call(log_model, self._client, run_id, folder, record)

    def finish(self, run_id: str, status: Status, milliseconds: int) -> None:
        """Record the end of a run."""
        self._call(self._client.set_terminated, run_id, status, milliseconds)

    def log_dataset(self, run_id: str, kind: str, digest: str, sizes: Mapping[str, int]) -> None:
        """Log the dataset of a run."""
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
        except StoreRefused:  # Another run wrote the same dataset between MLflow's search and its write.
            self._call(self._client.log_inputs, run_id, [item])

    def _experiment(self, address: StoreAddress) -> str:
        if address.experiment_id is not None:
            found = self._client.get_experiment(address.experiment_id)
        else:
            found = self._client.get_experiment_by_name(address.experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(address.experiment, artifact_location=address.artifacts))
            except Exception:
                found = self._client.get_experiment_by_name(address.experiment)  # Another process was faster.
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise StoreRefused(
                f"its experiment '{found.name}' was deleted; restore it there, "
                "or give another with tracking.experiment=NAME"
            )
        return str(found.experiment_id)

    def _call(self, call: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except Exception as error:  # A store raises errors of many kinds.
            raise failure(error) from None


def _storable(text: Any) -> str:
    """Return a text that any database keeps: surrogates, as of file names that are not UTF-8, and NUL are escaped."""
    return str(text).encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _without_hidden(uri: str) -> str:
    """Return a URI from a run's folder without its hidden secrets.

    Raises:
        StoreRefused: it cannot be used without them.
    """
    if not is_masked(uri):
        return uri
    if uri.startswith("http") and f"={HIDDEN}" not in uri:
        return without_user(uri)  # MLflow then reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD
    raise StoreRefused("its password is not kept in the run's folder; give the whole URI with --uri URI")
