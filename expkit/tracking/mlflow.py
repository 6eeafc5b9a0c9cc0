"""One MLflow run for every run of expkit: params, metrics, artifacts, dataset, tags, an honest status."""

from __future__ import annotations

import getpass
import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from expkit.config.load import plain
from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.provenance import git_commit, versions
from expkit.rundir import RunFolder, flat
from expkit.tracking.recorder import Recorder
from expkit.tracking.store import Status, TrackingError

__all__ = ["MlflowTracker", "Status", "SweepRun", "TrackingError", "local_store", "store_uri"]

_log = logging.getLogger(__name__)


def local_store(folder: str | Path) -> Path:
    """Return the SQLite file of the local store beside the runs."""
    return Path(folder).resolve() / "mlflow.db"


def store_uri(config: Config) -> str:
    """Return the URI of the store that a configuration means."""
    return config.tracking.uri or f"sqlite:///{local_store(config.run.folder)}"


class _Recorded:
    """A run that the recorder begins; nothing here waits for the store but ``begin``, ``run_id`` and ``finish``."""

    def __init__(self, recorder: Recorder, config: Config, **run: Any) -> None:
        artifacts = None
        if config.tracking.uri is None:
            artifacts = (local_store(config.run.folder).parent / "mlartifacts").as_uri()
        self._recorder = recorder
        store = {"uri": store_uri(config), "experiment": config.tracking.experiment, "artifacts": artifacts}
        self._begun: Future[Any] = recorder.submit("begin", store=store, **run)

    @property
    def run_id(self) -> str:
        """The run's id in the store."""
        return str(self._begun.result()["run_id"])

    @property
    def link(self) -> str:
        """Where to look at the run."""
        return str(self._begun.result()["link"])

    def _record(self, what: str, **values: Any) -> Future[Any]:
        """Hand something to the recorder; it goes behind what was handed before."""
        future = self._recorder.submit(what, run_id=self.run_id, **values)
        future.add_done_callback(_warn(what))
        return future

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Keep copies of files."""
        self._record("artifacts", paths=[str(path) for path in paths])

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts about the run."""
        self._record("tags", values=dict(values))

    def finish(self, status: Status, error: str | None = None) -> None:
        """End the run with its status, and the error's text when it failed; all that was recorded is in the store."""
        if self._begun.exception() is None:
            self._record("finish", status=status, error=error).exception()


class MlflowTracker(_Recorded):
    """Records one run; a store that fails later never stops training."""

    def __init__(
        self,
        recorder: Recorder,
        config: Config,
        folder: RunFolder,
        *,
        name: str | None = None,
        parent: str | None = None,
    ) -> None:
        """Begin a run, or go on with the one that ``run.json`` names; this does not wait for the store.

        Args:
            recorder: the process that has the store.
            config: the experiment.
            folder: its folder.
            name: name of the MLflow run; the run's own when not given.
            parent: id of the run to nest under.
        """
        self._folder = folder
        super().__init__(
            recorder,
            config,
            name=name or config.run.name,
            tags={**_tags(folder), **({"mlflow.parentRunId": parent} if parent else {})},
            params=_params(config),
            known=folder.state().get("mlflow_run_id"),
        )

    def begin(self) -> None:
        """Wait until the run has begun in the store.

        Raises:
            TrackingError: the store cannot be opened.
        """
        self._folder.update(mlflow_run_id=self.run_id)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step, once: those that a resumed run logs again are passed over."""
        self._record("metrics", step=step, values=dict(values), milliseconds=int(time.time() * 1000))

    def dataset(self, dataset: Dataset) -> None:
        """Record which data was used, by a digest of its bytes."""
        sizes = {part: dataset.size(part) for part in dataset.parts}
        self._record("dataset", kind=dataset.kind, digest=dataset.digest, sizes=sizes)


class SweepRun(_Recorded):
    """The parent of a sweep's runs."""

    def __init__(self, recorder: Recorder, config: Config, name: str) -> None:
        super().__init__(
            recorder, config, name=name, tags={"mlflow.user": _user(), "expkit.sweep": name}, params={}, known=None
        )


def _warn(what: str) -> Any:
    def warn(future: Future[Any]) -> None:
        if (error := future.exception()) is not None:
            _log.warning("MLflow did not take %s: %s", what, error)

    return warn


def _params(config: Config) -> dict[str, str]:
    values = flat(plain(config, exclude_unset=True))
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value not in (None, {}, [])
    }


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
