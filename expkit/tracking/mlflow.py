"""One MLflow run for every run of expkit: params, metrics, artifacts, dataset, tags, an honest status."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import ExpkitError, reason
from expkit.provenance import git_commit, versions
from expkit.rundir import RunFolder, flat

__all__ = ["MlflowTracker", "Status", "SweepRun", "TrackingError", "local_store", "store_uri"]

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)
_FLUSH_SECONDS = 1.0
_BATCH = 1000  # MLflow's limit for metrics in one request
_LONGEST_PARAM = 6000


class TrackingError(ExpkitError):
    """Raised when the tracking store cannot be opened."""


def local_store(folder: str | Path) -> Path:
    """Return the SQLite file of the local store beside the runs."""
    return Path(folder).resolve() / "mlflow.db"


def store_uri(config: Config) -> str:
    """Return the URI of the store that a configuration means."""
    return config.tracking.uri or f"sqlite:///{local_store(config.run.folder)}"


class _Store:
    """A store, opened: its client and the experiment."""

    def __init__(self, config: Config) -> None:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.uri = store_uri(config)
        try:
            _check_sqlite(self.uri)
            self.client = MlflowClient(self.uri)
            self.experiment_id = self._experiment(config, MlflowException)
        except Exception as error:  # SQLAlchemy's, requests' and MLflow's own errors all end here
            raise TrackingError.at(
                "tracking.uri",
                f"the store {_without_secret(self.uri)} cannot be opened ({_without_secret(reason(error))}); "
                "mend it, give another with tracking.uri=URI, or use tracking=none",
            ) from None

    def _experiment(self, config: Config, exception: type[Exception]) -> str:
        name = config.tracking.experiment
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        artifacts = None
        if config.tracking.uri is None:
            artifacts = (local_store(config.run.folder).parent / "mlartifacts").as_uri()
        try:
            return str(self.client.create_experiment(name, artifact_location=artifacts))
        except exception:
            found = self.client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
            return str(found.experiment_id)

    def attempt(self, what: str, call: Any, *arguments: Any, **named: Any) -> None:
        """Call the store; whatever it does, training and metrics.jsonl go on."""
        try:
            call(*arguments, **named)
        except Exception as error:  # the store's own errors are of many kinds
            _log.warning("MLflow did not take %s: %s", what, _without_secret(str(error)))

    def link(self, run_id: str) -> str:
        """Return where to look at a run."""
        if self.uri.startswith("http"):
            return f"{_without_secret(self.uri)}/#/experiments/{self.experiment_id}/runs/{run_id}"
        return f"{run_id} (expkit ui)"


class MlflowTracker:
    """Records one run; metrics are buffered, and a store that fails later never stops training."""

    def __init__(
        self, config: Config, folder: RunFolder, *, name: str | None = None, parent: str | None = None
    ) -> None:
        """Begin a run, or go on with the one that ``run.json`` names.

        Args:
            config: the experiment.
            folder: its folder.
            name: name of the MLflow run; the run's own when not given.
            parent: id of the run to nest under.

        Raises:
            TrackingError: the store cannot be opened.
        """
        self._store = _Store(config)
        self._client = self._store.client
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()
        self._logged: dict[str, int] = {}
        known = folder.state().get("mlflow_run_id")
        if known is not None and self._exists(known):
            self.run_id = str(known)
            self._client.update_run(self.run_id, status="RUNNING")
            run = self._client.get_run(self.run_id)
            if "error" in run.data.tags:
                self._store.attempt("error", self._client.delete_tag, self.run_id, "error")
            for key in run.data.metrics:
                history = self._client.get_metric_history(self.run_id, key)
                self._logged[key] = max(metric.step for metric in history)
        else:
            tags = {**_tags(folder), **({"mlflow.parentRunId": parent} if parent else {})}
            run = self._client.create_run(self._store.experiment_id, run_name=name or config.run.name, tags=tags)
            self.run_id = str(run.info.run_id)
            folder.update(mlflow_run_id=self.run_id)
            self._log_params(config)

    @property
    def link(self) -> str:
        """Where to look at the run."""
        return self._store.link(self.run_id)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step, once: those that a resumed run logs again are passed over."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        fresh = {key: value for key, value in values.items() if step > self._logged.get(key, -1)}
        self._buffer += [Metric(key, value, now, step) for key, value in fresh.items()]
        self._logged |= dict.fromkeys(fresh, step)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS or len(self._buffer) >= _BATCH:
            self._flush()

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Keep copies of files."""
        for path in paths:
            self._store.attempt("artifact", self._client.log_artifact, self.run_id, str(path))

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts about the run."""
        for key, value in values.items():
            self._store.attempt("tag", self._client.set_tag, self.run_id, key, value)

    def dataset(self, dataset: Dataset) -> None:
        """Record which data was used, by a digest of its bytes."""
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        profile = {part: dataset.size(part) for part in dataset.parts}
        entity = Entity(
            name=dataset.kind,
            digest=dataset.digest[:32],
            source_type="expkit",
            source=json.dumps({"kind": dataset.kind, "sha256": dataset.digest}),
            profile=json.dumps(profile),
        )
        item = DatasetInput(entity, [InputTag("mlflow.data.context", "training")])
        self._store.attempt("dataset", self._client.log_inputs, self.run_id, [item])

    def finish(self, status: Status, error: str | None = None) -> None:
        """End the run with its status, and the error's text when it failed."""
        self._flush()
        if error is not None:
            self._store.attempt("error", self._client.set_tag, self.run_id, "error", error[:5000])
        self._store.attempt("status", self._client.set_terminated, self.run_id, status)

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(run_id)
        except MlflowException:
            return False
        return True

    def _log_params(self, config: Config) -> None:
        from mlflow.entities import Param

        values = flat(config.model_dump(mode="json", by_alias=True, serialize_as_any=True, exclude_unset=True))
        params = [
            Param(key, _text(value)[:_LONGEST_PARAM]) for key, value in values.items() if value not in (None, {}, [])
        ]
        for start in range(0, len(params), 100):
            self._store.attempt("params", self._client.log_batch, self.run_id, params=params[start : start + 100])

    def _flush(self) -> None:
        while self._buffer:
            batch, self._buffer = self._buffer[:_BATCH], self._buffer[_BATCH:]
            self._store.attempt("metrics", self._client.log_batch, self.run_id, metrics=batch)
        self._flushed = time.monotonic()


class SweepRun:
    """The parent of a sweep's runs."""

    def __init__(self, config: Config, name: str) -> None:
        self._store = _Store(config)
        tags = {"mlflow.user": _user(), "expkit.sweep": name}
        run = self._store.client.create_run(self._store.experiment_id, run_name=name, tags=tags)
        self.run_id = str(run.info.run_id)

    @property
    def link(self) -> str:
        """Where to look at the sweep."""
        return self._store.link(self.run_id)

    def finish(self, status: Status) -> None:
        """End the parent run."""
        self._store.attempt("status", self._store.client.set_terminated, self.run_id, status)


def _check_sqlite(uri: str) -> None:
    """Open a SQLite file once, because MLflow tries one that cannot be opened for minutes."""
    scheme, found, path = uri.partition(":///")
    if found and scheme == "sqlite":
        with contextlib.closing(sqlite3.connect(path.partition("?")[0])) as connection:
            connection.execute("pragma schema_version")


def _tags(folder: RunFolder) -> dict[str, str]:
    commit = git_commit()
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": "expkit train",
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": commit.removesuffix("-dirty"), "git_commit": commit} if commit else {}),
        **{f"version.{name}": version for name, version in versions().items()},
        "run_folder": str(folder.path),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _without_secret(uri: str) -> str:
    scheme, found, rest = uri.partition("://")
    if not found or "@" not in rest.split("/")[0]:
        return uri
    return f"{scheme}://***@{rest.split('@', 1)[1]}"
