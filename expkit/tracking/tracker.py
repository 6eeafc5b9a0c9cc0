"""One MLflow run for every run of expkit: params, metrics, artifacts, dataset, tags, status."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen
from expkit.provenance import git_commit, is_installed, versions
from expkit.run_folder import RunFolder
from expkit.tracking.errors import TrackingError
from expkit.tracking.exported import models_of
from expkit.tracking.journal import Journal
from expkit.tracking.params import param_name, params_of, texts
from expkit.tracking.recorded_run import NewRun, RecordedRun
from expkit.tracking.recorder import Recorder, warn
from expkit.tracking.store_address import environment_note, records_system_metrics, store_address, sync_command

__all__ = ["MlflowTracker", "SweepRun", "run_tags", "tag_ended_run", "upload_ended_run"]

_log = logging.getLogger(__name__)


class MlflowTracker(RecordedRun):
    """Records one run; a store that fails later never stops training."""

    def __init__(
        self,
        recorder: Recorder,
        config: Config,
        folder: RunFolder,
        *,
        name: str | None = None,
        parent: str | None = None,
        in_background: bool = False,
    ) -> None:
        """Begin a run, or resume the one of the folder's journal, without waiting for the store.

        Args:
            recorder: the process that uploads.
            config: the run's configuration.
            folder: the run folder.
            name: name of the MLflow run, in place of the run's own.
            parent: the parent run: its id, or the folder of its journal.
            in_background: whether its last records are uploaded while the next run begins.

        Raises:
            TrackingError: system metrics are enabled without psutil.
        """
        system_metrics = records_system_metrics(config)
        if system_metrics and not is_installed("psutil"):
            message = "needs psutil; pip install 'expkit[system]', or leave it false"
            raise TrackingError.at("tracking.system_metrics", message)
        if (note := environment_note(config)) is not None:
            _log.info("%s", note)
        self._run = folder
        self._registered = (config.tracking.register_, config.tracking.alias)
        new = NewRun(
            name=name or config.run.name,
            tags=run_tags(folder.path, "expkit train"),
            params=params_of(config),
            parent=parent,
        )
        super().__init__(recorder, config, folder.path, new, system_metrics=system_metrics)
        self._in_background = in_background
        if config.tracking.plots:
            recorder.submit("prepare_plots")

    def begin(self) -> None:
        """Wait until the run has begun in the store, or its server is known not to answer."""
        super().begin()
        self._keep_id()

    def identify(self) -> None:
        """Wait until the run has an id, or its server is known not to answer."""
        super().identify()
        self._keep_id()

    def dataset(self, dataset: Dataset) -> None:
        """Record the dataset, by a digest of its bytes."""
        sizes = {split: dataset.size(split) for split in dataset.splits}
        self._journal.append("dataset", kind=dataset.kind, digest=dataset.digest, sizes=sizes)

    def model(self, frozen: Frozen) -> None:
        """Log the frozen graph as an MLflow model, and register it under the name in ``tracking.register``."""
        files = {"graph": self._relative(frozen.path), "example": self._relative(frozen.example)}
        register, alias = self._registered
        self._journal.append("model", **files, metadata=dict(frozen.metadata), register=register, alias=alias)

    def exported(self, exported: ExportFolder, frozen: Frozen | None) -> None:
        """Keep copies of exported files; with the frozen graph log those in ONNX as models."""
        self.artifacts([exported.path])
        for values in models_of(exported, frozen, self._relative) if frozen is not None else ():
            self._journal.append("model", **values)

    def _settle(self, finished: Future[Any]) -> None:
        super()._settle(finished)
        self._keep_id()

    def plots(self) -> None:
        """Draw the run's plots in the recorder and record them; only the end of the recorder waits for that."""
        self._recorder.submit("plots", folder=str(self._folder.resolve())).add_done_callback(_warn_without_plots)

    def _keep_id(self) -> None:
        if self.run_id is not None:
            self._run.update(mlflow_run_id=self.run_id)


class SweepRun(RecordedRun):
    """The parent of a sweep's runs."""

    def __init__(
        self,
        recorder: Recorder,
        config: Config,
        folder: Path,
        name: str,
        *,
        tags: Mapping[str, str] = {},
        params: Mapping[str, object] = {},
    ) -> None:
        """Begin a sweep, or resume the one of the folder's journal.

        Args:
            recorder: the process that uploads.
            config: any configuration of the sweep, for the store.
            folder: the sweep's folder, created where it is missing.
            name: name of the MLflow run.
            tags: tags of the sweep.
            params: settings of the sweep: what varies, and how.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tags = {"mlflow.user": _user(), "expkit.sweep": name, **tags}
        new = NewRun(name=name, tags=tags, params=texts({param_name(key): value for key, value in params.items()}))
        super().__init__(recorder, config, folder, new)


def tag_ended_run(recorder: Recorder, config: Config, folder: Path, tags: Mapping[str, str]) -> None:
    """Record tags of a run that has ended, without a change of its status or end.

    Args:
        recorder: the process that uploads.
        config: the run's configuration, for the store.
        folder: the run folder; one without a journal is left alone.
        tags: the tags.
    """
    journal = Journal(folder)
    if not journal.exists():
        return
    journal.append("tags", values=dict(tags))
    try:
        missing = bool(_upload(recorder, config, folder).result(config.tracking.wait_seconds)["missing"])
    except (TrackingError, TimeoutError):
        missing = True
    if missing:
        sync = sync_command(folder, store_address(config).uri)
        warn(f"MLflow does not have {', '.join(tags)} of this run; `{sync}` uploads it")


def upload_ended_run(recorder: Recorder, config: Config, folder: Path) -> None:
    """Upload what MLflow lacks of a run that has ended, if anything, without waiting; arguments as above."""
    journal = Journal(folder)
    if journal.exists() and journal.pending():
        _upload(recorder, config, folder)


def _upload(recorder: Recorder, config: Config, folder: Path) -> Future[Any]:
    path, address = str(folder.resolve()), asdict(store_address(config))
    recorder.submit("begin", folder=path, address=address, process="", system_metrics=False)
    return recorder.submit("finish", folder=path, seconds=config.tracking.wait_seconds)


def _warn_without_plots(drawn: Future[Any]) -> None:
    if (error := drawn.exception()) is not None:
        warn(f"the run's plots could not be drawn: {error}")


def run_tags(folder: Path, source: str) -> dict[str, str]:
    """Return the tags of a run: user, program, commit, versions, folder.

    Args:
        folder: the run's folder.
        source: the command that made it.
    """
    commit = git_commit()
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": source,
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": commit.removesuffix("-dirty"), "git_commit": commit} if commit else {}),
        **{f"version.{name}": version for name, version in versions().items()},
        "run_folder": str(folder),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
