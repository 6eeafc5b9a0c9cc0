"""One MLflow run for every run of expkit: params, metrics, artifacts, dataset, tags, an honest status."""

from __future__ import annotations

import getpass
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expkit.config.load import plain
from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.experiment import Frozen
from expkit.provenance import git_commit, is_installed, versions
from expkit.redact import masked
from expkit.run_folder import RunFolder, flat
from expkit.tracking.client import Address, Status
from expkit.tracking.errors import TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.recorder import Recorder, warn

__all__ = ["MlflowTracker", "Status", "SweepRun", "TrackingError", "address_of", "local_store", "store_uri"]

_LONGEST_PARAM = 250


def local_store(folder: str | Path) -> Path:
    """Return the SQLite file of the local store beside the runs."""
    return Path(folder).resolve() / "mlflow.db"


def store_uri(config: Config) -> str:
    """Return the URI of the store that a configuration means."""
    return config.tracking.uri or f"sqlite:///{local_store(config.run.folder)}"


def address_of(config: Config) -> Address:
    """Return where a configuration's run is recorded."""
    local = (local_store(config.run.folder).parent / "mlartifacts").as_uri()
    return Address(store_uri(config), config.tracking.experiment, local if config.tracking.uri is None else None)


class _Recorded:
    """A run that is recorded: in the journal at once, in MLflow when the recorder delivers it.

    Nothing here waits for the store but ``begin`` and ``finish``, which wait at most ``tracking.wait_seconds``.
    """

    def __init__(
        self,
        recorder: Recorder,
        config: Config,
        folder: Path,
        *,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        parent: str | None,
        system: bool = False,
    ) -> None:
        self._recorder = recorder
        self._folder = folder
        self._seconds = config.tracking.wait_seconds
        self._journal = Journal(folder)
        address = asdict(address_of(config))
        process = uuid.uuid4().hex
        start = {"address": {**address, "uri": masked(address["uri"])}, "process": process}
        self._last: dict[str, int] = {}
        """The last step of every metric that is recorded, by name."""
        if self._journal.exists():
            self._last = self._journal.last_steps()
            self._journal.append("continue", **start)
        else:
            about = {"name": name, "tags": dict(tags), "params": dict(params), "parent": parent}
            self._journal.append("begin", key=uuid.uuid4().hex, milliseconds=_now(), **about, **start)
        self._begun: Future[Any] = recorder.submit(
            "begin", folder=str(folder.resolve()), address=address, process=process, system=system
        )

    def begin(self) -> None:
        """Wait until the run has begun in the store, or its server is known not to answer.

        Raises:
            TrackingError: the store cannot be used as it is configured.
        """
        try:
            begun = self._begun.result(self._seconds)
        except TimeoutError:
            begun = {"run_id": None, "why": f"no answer within {self._seconds:g} s"}
        if begun["why"] is not None:
            warn(
                f"MLflow does not take records ({begun['why']}): the run goes on and keeps them; they are delivered "
                f"when it does, or with `expkit sync {self._folder}`"
            )

    @property
    def run_id(self) -> str | None:
        """The run's id in the store; ``None`` as long as the store has not answered."""
        return self._journal.cursor().run_id

    @property
    def reference(self) -> str:
        """What a run that nests under this one is given: its id, or its journal's folder as long as it has none."""
        return self.run_id or str(self._folder.resolve())

    @property
    def link(self) -> str:
        """Where to look at the run."""
        return self._journal.cursor().link or f"not recorded yet (expkit sync {self._folder})"

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts about the run."""
        self._journal.append("tags", values=dict(values))

    def artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Keep copies of files, as they are when they are delivered; in a folder of the artifacts when one is given."""
        self._journal.append("artifacts", paths=[self._kept(path) for path in paths], folder=folder)

    def _kept(self, path: Path) -> str:
        """Return a path as the journal has it: relative to the run's folder where it lies inside."""
        place, path = self._folder.resolve(), path.resolve()
        return str(path.relative_to(place) if path.is_relative_to(place) else path)

    def finish(self, status: Status, error: str | None = None) -> None:
        """End the run with its status, and the error's text when it failed; say so when not all is delivered."""
        if error is not None:
            error = masked(error)
        self._journal.append("finish", status=status, error=error, milliseconds=_now())
        if self._begun.done() and self._begun.exception() is not None:
            return
        try:
            ended = self._recorder.submit("finish", folder=str(self._folder.resolve()), seconds=self._seconds).result(
                self._seconds
            )
            why = ended["why"] or (f"not all within {self._seconds:g} s" if ended["left"] else None)
        except (TrackingError, TimeoutError) as failed:
            why = str(failed) or f"no answer within {self._seconds:g} s"
        if why is not None:
            warn(f"MLflow does not have all of this run ({why}); deliver the rest with `expkit sync {self._folder}`")


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
        """Begin a run, or go on with the one that the folder's journal is of; this does not wait for the store.

        Args:
            recorder: the process that delivers.
            config: the experiment.
            folder: its folder.
            name: name of the MLflow run; the run's own when not given.
            parent: the run to nest under: its id, or the folder of its journal.

        Raises:
            TrackingError: system metrics are wanted without psutil.
        """
        if config.tracking.system_metrics and not is_installed("psutil"):
            said = "needs psutil; pip install 'expkit[system]', or leave it false"
            raise TrackingError.at("tracking.system_metrics", said)
        self._run = folder
        self._registered = (config.tracking.register_, config.tracking.alias)
        super().__init__(
            recorder,
            config,
            folder.path,
            name=name or config.run.name,
            tags=_tags(folder),
            params=_params(config),
            parent=parent,
            system=config.tracking.system_metrics,
        )
        if config.tracking.plots:
            recorder.submit("prepare_plots")

    def begin(self) -> None:
        """Wait until the run has begun in the store, or its server is known not to answer."""
        super().begin()
        self._keep_id()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step, once: those that a resumed run logs again are passed over."""
        fresh = {name: float(value) for name, value in values.items() if step > self._last.get(name, -1)}
        if fresh:
            self._journal.append("metrics", step=step, values=fresh, milliseconds=_now())
            self._last |= dict.fromkeys(fresh, step)

    def dataset(self, dataset: Dataset) -> None:
        """Record which data was used, by a digest of its bytes."""
        sizes = {part: dataset.size(part) for part in dataset.parts}
        self._journal.append("dataset", kind=dataset.kind, digest=dataset.digest, sizes=sizes)

    def model(self, frozen: Frozen) -> None:
        """Keep the frozen graph as an MLflow model, and register it when ``tracking.register`` names it."""
        graph, example = self._kept(frozen.path), self._kept(frozen.example)
        about = {"metadata": dict(frozen.metadata), "register": self._registered[0], "alias": self._registered[1]}
        self._journal.append("model", graph=graph, example=example, **about)

    def finish(self, status: Status, error: str | None = None) -> None:
        """End the run with its status, and the error's text when it failed; say so when not all is delivered."""
        super().finish(status, error)
        self._keep_id()

    def plots(self) -> None:
        """Have the recorder draw the run's pictures and keep them; only the recorder's end waits for that."""
        self._recorder.submit("plots", folder=str(self._folder.resolve())).add_done_callback(_not_drawn)

    def _keep_id(self) -> None:
        if self.run_id is not None:
            self._run.update(mlflow_run_id=self.run_id)


class SweepRun(_Recorded):
    """The parent of a sweep's runs."""

    def __init__(
        self, recorder: Recorder, config: Config, folder: Path, name: str, *, tags: Mapping[str, str] = {}
    ) -> None:
        """Begin a sweep, or go on with the one that the folder's journal is of.

        Args:
            recorder: the process that delivers.
            config: an experiment of the sweep, which tells the store.
            folder: the sweep's folder; made when it is not there.
            name: name of the MLflow run.
            tags: facts about the sweep.
        """
        folder.mkdir(parents=True, exist_ok=True)
        about = {"mlflow.user": _user(), "expkit.sweep": name, **tags}
        super().__init__(recorder, config, folder, name=name, tags=about, params={}, parent=None)


def _not_drawn(drawn: Future[Any]) -> None:
    if (error := drawn.exception()) is not None:
        warn(f"the run's pictures could not be drawn: {error}")


def _now() -> int:
    """Return milliseconds since the epoch."""
    return int(time.time() * 1000)


def _params(config: Config) -> dict[str, str]:
    values = flat(plain(config, exclude_unset=True))
    shown = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value not in (None, {}, [])
    }
    return {key: _short(masked(value)) for key, value in shown.items()}


def _short(value: str) -> str:
    """Return a value as it can be read in a table; the whole is in config.yaml, which is kept with the run."""
    return value if len(value) <= _LONGEST_PARAM else f"{value[: _LONGEST_PARAM - 3]}..."


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
