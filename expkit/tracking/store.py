"""The MLflow store: runs begun or continued in it, their metrics buffered, a failure later never raised."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from expkit.errors import ExpkitError, reason

__all__ = ["Status", "Store", "TrackingError", "prepare"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 1.0
_BATCH = 1000  # MLflow's limit for metrics in one request
_LONGEST_PARAM = 6000


class TrackingError(ExpkitError):
    """Raised when the tracking store cannot be opened."""


def prepare() -> None:
    """Import MLflow, quiet and with few attempts at a server that is down."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    importlib.import_module("mlflow")


class _Run:
    """A run of the store: what of it is known here."""

    def __init__(self, run_id: str, logged: dict[str, int]) -> None:
        self.run_id = run_id
        self.logged = logged
        """The last step of every metric that the store has, by name."""
        self.buffer: list[Any] = []
        self.flushed = time.monotonic()


class Store:
    """A store, opened: its client and the experiment; plain data in and out."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        """Open the store.

        Args:
            uri: of the store.
            experiment: its name; made when it is not there.
            artifacts: URI of the folder of a new experiment's artifacts; the store's own choice when not given.

        Raises:
            TrackingError: the store cannot be opened.
        """
        prepare()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._uri = uri
        self._runs: dict[str, _Run] = {}
        try:
            _check_sqlite(uri)
            self._client = MlflowClient(uri)
            self._experiment_id = self._experiment(experiment, artifacts, MlflowException)
        except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors all end here
            raise TrackingError.at(
                "tracking.uri",
                f"the store {_without_secret(uri)} cannot be opened ({_without_secret(reason(error))}); "
                "mend it, give another with tracking.uri=URI, or use tracking=none",
            ) from None

    def begin(
        self, name: str, tags: Mapping[str, str], params: Mapping[str, str], known: str | None = None
    ) -> dict[str, str]:
        """Begin a run, or go on with a known one that the store has.

        Returns:
            ``run_id``, and ``link``: where to look at it.
        """
        logged = self._continued(known) if known is not None else None
        if known is None or logged is None:
            run = self._client.create_run(self._experiment_id, run_name=name, tags=dict(tags))
            self._runs[run.info.run_id] = _Run(str(run.info.run_id), {})
            self._log_params(str(run.info.run_id), params)
            known = str(run.info.run_id)
        else:
            self._runs[known] = _Run(known, logged)
        return {"run_id": known, "link": self._link(known)}

    def metrics(self, run_id: str, step: int, values: Mapping[str, float], milliseconds: int) -> None:
        """Record metrics of a step, once: those that a resumed run logs again are passed over."""
        from mlflow.entities import Metric

        run = self._runs[run_id]
        fresh = {key: value for key, value in values.items() if step > run.logged.get(key, -1)}
        run.buffer += [Metric(key, value, milliseconds, step) for key, value in fresh.items()]
        run.logged |= dict.fromkeys(fresh, step)
        if time.monotonic() - run.flushed > _FLUSH_SECONDS or len(run.buffer) >= _BATCH:
            self._flush(run)

    def artifacts(self, run_id: str, paths: Sequence[str]) -> None:
        """Keep copies of files."""
        for path in paths:
            self._attempt("artifact", self._client.log_artifact, run_id, path)

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Record facts about the run, in one request."""
        from mlflow.entities import RunTag

        self._attempt("tags", self._client.log_batch, run_id, tags=[RunTag(*item) for item in values.items()])

    def dataset(self, run_id: str, kind: str, digest: str, sizes: Mapping[str, int]) -> None:
        """Record which data was used, by a digest of its bytes."""
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
        self._attempt("dataset", self._client.log_inputs, run_id, [item])

    def finish(self, run_id: str, status: Status, error: str | None = None) -> None:
        """End the run with its status, and the error's text when it failed."""
        self._flush(self._runs.pop(run_id))
        if error is not None:
            self._attempt("error", self._client.set_tag, run_id, "error", error[:5000])
        self._attempt("status", self._client.set_terminated, run_id, status)

    def flush(self) -> None:
        """Hand over what is buffered of every run."""
        for run in self._runs.values():
            self._flush(run)

    def _experiment(self, name: str, artifacts: str | None, exception: type[Exception]) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        except exception:
            found = self._client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
            return str(found.experiment_id)

    def _continued(self, run_id: str) -> dict[str, int] | None:
        """Set a run to running again; return its metrics' last steps, ``None`` when the store does not have it."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return None
        self._client.update_run(run_id, status="RUNNING")
        if "error" in run.data.tags:
            self._attempt("error", self._client.delete_tag, run_id, "error")
        return {
            key: max(metric.step for metric in self._client.get_metric_history(run_id, key)) for key in run.data.metrics
        }

    def _log_params(self, run_id: str, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:_LONGEST_PARAM]) for key, value in values.items()]
        for start in range(0, len(params), 100):
            self._attempt("params", self._client.log_batch, run_id, params=params[start : start + 100])

    def _flush(self, run: _Run) -> None:
        while run.buffer:
            batch, run.buffer = run.buffer[:_BATCH], run.buffer[_BATCH:]
            self._attempt("metrics", self._client.log_batch, run.run_id, metrics=batch)
        run.flushed = time.monotonic()

    def _attempt(self, what: str, call: Any, *arguments: Any, **named: Any) -> None:
        """Call the store; whatever it does, training and metrics.jsonl go on."""
        try:
            call(*arguments, **named)
        except Exception as error:  # the store's own errors are of many kinds
            _log.warning("MLflow did not take %s: %s", what, _without_secret(str(error)))

    def _link(self, run_id: str) -> str:
        if self._uri.startswith("http"):
            return f"{_without_secret(self._uri)}/#/experiments/{self._experiment_id}/runs/{run_id}"
        return f"{run_id} (expkit ui)"


def _check_sqlite(uri: str) -> None:
    """Open a SQLite file once, because MLflow tries one that cannot be opened for minutes."""
    scheme, found, path = uri.partition(":///")
    if found and scheme == "sqlite":
        with contextlib.closing(sqlite3.connect(path.partition("?")[0])) as connection:
            connection.execute("pragma schema_version")


def _without_secret(uri: str) -> str:
    scheme, found, rest = uri.partition("://")
    if not found or "@" not in rest.split("/")[0]:
        return uri
    return f"{scheme}://***@{rest.split('@', 1)[1]}"
