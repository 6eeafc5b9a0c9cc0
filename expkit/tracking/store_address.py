"""The store of a run: by the configuration, or by MLflow's environment variables, or beside the runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from expkit.redact import masked
from expkit.tracking.client import StoreAddress
from expkit.tracking.sqlite_store import sqlite_file

if TYPE_CHECKING:
    from expkit.config.schema import Config

__all__ = [
    "environment_note",
    "is_default",
    "local_artifacts",
    "local_store",
    "local_uri",
    "records_system_metrics",
    "store_address",
    "store_uri",
    "sync_command",
    "uri_of_environment",
]

EXPERIMENT = "expkit"
"""Name of the experiment where nothing names one."""
_URI, _NAME, _ID = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"
_SYSTEM_METRICS = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
_FOLDERS_ABOVE = 4  # of a run in a sweep: runs/multirun/DAY/TIME/NUMBER


def local_store(folder: str | Path) -> Path:
    """Return the SQLite file of the local store, in the folder of all runs."""
    return Path(folder).resolve() / "mlflow.db"


def local_uri(folder: str | Path) -> str:
    """Return the URI of the local store in the folder of all runs."""
    return f"sqlite:///{local_store(folder)}"


def local_artifacts(store: Path) -> str:
    """Return the URI of the folder in which a local store keeps files."""
    return (store.parent / "mlartifacts").as_uri()


def uri_of_environment() -> str | None:
    """Return the store that ``MLFLOW_TRACKING_URI`` names, if it does."""
    uri = _environment(_URI)
    return None if uri is None else _absolute(uri)


def store_uri(config: Config) -> str:
    """Return the URI of a configuration's store."""
    given = config.tracking.uri
    return (_absolute(given) if given else uri_of_environment()) or local_uri(config.run.folder)


def store_address(config: Config) -> StoreAddress:
    """Return the address under which a configuration's run is recorded."""
    tracking = config.tracking
    is_local = not tracking.uri and uri_of_environment() is None
    name = tracking.experiment or _environment(_NAME)
    return StoreAddress(
        uri=store_uri(config),
        experiment=name or EXPERIMENT,
        artifacts=local_artifacts(local_store(config.run.folder)) if is_local else None,
        experiment_id=None if name else _environment(_ID),
    )


def records_system_metrics(config: Config) -> bool:
    """Return whether the use of the machine is recorded."""
    chosen = config.tracking.system_metrics
    return (_environment(_SYSTEM_METRICS) or "").lower() in ("true", "1") if chosen is None else chosen


def environment_note(config: Config) -> str | None:
    """Return a line about the values that MLflow's environment variables give; ``None`` where they give none."""
    tracking, address = config.tracking, store_address(config)
    given = [
        (not tracking.uri, _URI, f"store {masked(address.uri)}"),
        (not tracking.experiment, _NAME, f"experiment {address.experiment}"),
        (not tracking.experiment and not _environment(_NAME), _ID, f"experiment {address.experiment_id}"),
        (tracking.system_metrics is None, _SYSTEM_METRICS, f"system metrics {records_system_metrics(config)}".lower()),
    ]
    used = [f"{what} ({name})" for is_open, name, what in given if is_open and _environment(name)]
    return f"MLflow: {', '.join(used)}" if used and tracking.enabled else None


def is_default(uri: str, folder: Path) -> bool:
    """Return whether a run folder's records go to a store without being told so.

    Args:
        uri: the store; its secrets may be hidden.
        folder: the run folder.
    """
    if (environment := uri_of_environment()) is not None and masked(environment) == masked(uri):
        return True
    file = sqlite_file(uri)
    above = folder.resolve().parents[:_FOLDERS_ABOVE]
    return file is not None and Path(file) in {local_store("runs"), *(local_store(parent) for parent in above)}


def sync_command(folder: Path, uri: str) -> str:
    """Return the command that uploads a run's records to its store."""
    return f"expkit sync {folder}" + ("" if is_default(uri, folder) else f" --uri {shlex.quote(masked(uri))}")


def _environment(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _absolute(uri: str) -> str:
    """Return a URI that means the same from every working folder."""
    file = sqlite_file(uri)
    if file is None or not file or file == ":memory:":
        return uri
    return f"sqlite:///{Path(file).resolve()}{uri.partition('?')[1]}{uri.partition('?')[2]}"
