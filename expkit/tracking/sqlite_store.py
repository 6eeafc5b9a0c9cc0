"""SQLite files as MLflow's store."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from expkit.cache import cache_folder
from expkit.fs import atomic_write, file_lock
from expkit.tracking.errors import StoreRefused
from expkit.tracking.mlflow_internals import create_tables, schema_revisions

__all__ = ["check_sqlite", "created_alone", "sqlite_file"]

_log = logging.getLogger(__name__)


def sqlite_file(uri: str) -> str | None:
    """Return the path of a SQLite store; ``None`` for another store."""
    scheme, found, path = uri.partition(":///")
    return path.partition("?")[0] if found and scheme == "sqlite" else None


def check_sqlite(uri: str) -> None:
    """Check a SQLite file before MLflow opens it, which retries for minutes when it cannot.

    Raises:
        StoreRefused: a newer MLflow wrote the file.
        sqlite3.DatabaseError: it cannot be opened.
    """
    path = sqlite_file(uri)
    if path is None:
        return
    unknown = _revisions(Path(path)) - schema_revisions()
    if unknown:
        raise StoreRefused(
            f"a newer MLflow created it: its schema {', '.join(sorted(unknown))} is unknown to the one installed here; "
            "pip install --upgrade mlflow"
        )


@contextmanager
def created_alone(uri: str) -> Iterator[None]:
    """Hold a lock while a SQLite store is opened: of several processes that create its tables at once, most fail.

    An empty file gets the tables of MLflow first, unless they cannot be kept.
    """
    path = sqlite_file(uri)
    if path is None:
        yield
        return
    with file_lock(Path(path), wait=True) as file:
        if not Path(file.name).stat().st_size:
            try:
                _copy_tables(Path(path))
            except Exception as error:  # Of MLflow, SQLAlchemy or the disk: MLflow creates them here, or tells why not.
                _log.info("the tables of a new store are not copied: %s", error)
        yield


def _copy_tables(path: Path) -> None:
    """Copy the tables of a new store into a file, in one transaction.

    MLflow creates them in dozens of steps, each of which waits for the disk; so it does that once, in the cache.
    """
    empty = cache_folder("mlflow") / f"tables-{version('mlflow')}.db"
    if not _is_whole(empty):
        empty.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(empty) as partial:
            create_tables(partial)
    with closing(sqlite3.connect(empty)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)


def _is_whole(path: Path) -> bool:
    """Return True if a file has tables of this MLflow."""
    try:
        if not path.is_file():
            return False
        with closing(sqlite3.connect(path)) as connection:
            whole = connection.execute("pragma quick_check").fetchone() == ("ok",)
        return whole and bool(_revisions(path) & schema_revisions())
    except sqlite3.DatabaseError:
        return False


def _revisions(path: Path) -> set[str]:
    """Return the revisions of the schema in a file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma schema_version")
        tables = connection.execute("select name from sqlite_master where name = 'alembic_version'").fetchall()
        found = connection.execute("select version_num from alembic_version").fetchall() if tables else []
    return {str(row[0]) for row in found}
