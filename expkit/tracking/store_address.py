"""The store of a configuration: given by ``tracking.uri``, or a local one beside the runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from expkit.tracking.client import StoreAddress

if TYPE_CHECKING:
    from expkit.config.schema import Config

__all__ = ["local_store", "store_address", "store_uri"]


def local_store(folder: str | Path) -> Path:
    """Return the SQLite file of the local store, in the folder of all runs."""
    return Path(folder).resolve() / "mlflow.db"


def store_uri(config: Config) -> str:
    """Return the URI of a configuration's store."""
    return config.tracking.uri or f"sqlite:///{local_store(config.run.folder)}"


def store_address(config: Config) -> StoreAddress:
    """Return the address under which a configuration's run is recorded."""
    local = (local_store(config.run.folder).parent / "mlartifacts").as_uri()
    return StoreAddress(store_uri(config), config.tracking.experiment, local if config.tracking.uri is None else None)
