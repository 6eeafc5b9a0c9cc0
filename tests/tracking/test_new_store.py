"""New SQLite stores: their tables are copied from those that MLflow has created once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from expkit.tracking import sqlite_store
from expkit.tracking.sqlite_store import created_alone


def schema(path: Path) -> list[object]:
    """Return the columns of a file's tables, their indices, and its revision."""
    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("select type, name, tbl_name from sqlite_master order by type, name").fetchall()
        columns = [connection.execute(f"pragma table_info('{name}')").fetchall() for _, name, _ in made]
        return [*made, *columns, *connection.execute("select * from alembic_version").fetchall()]


def test_a_new_store_has_the_tables_of_mlflow_which_are_created_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with mock.patch.object(sqlite_store, "create_tables", wraps=sqlite_store.create_tables) as created:
        for name in ("first", "second"):
            with created_alone(f"sqlite:///{tmp_path / name}?timeout=20"):
                pass
    assert created.call_count == 1
    MlflowClient(f"sqlite:///{tmp_path / 'mlflow'}").search_experiments()
    assert schema(tmp_path / "first") == schema(tmp_path / "second") == schema(tmp_path / "mlflow")
    (kept,) = (tmp_path / "cache/expkit/mlflow").iterdir()
    whole = kept.read_bytes()
    for damage in (b"", b"no database at all, but long enough to be read as one" * 20):
        kept.write_bytes(damage)
        (tmp_path / "third").unlink(missing_ok=True)
        with mock.patch.object(sqlite_store, "create_tables", side_effect=lambda path: path.write_bytes(whole)):
            with created_alone(f"sqlite:///{tmp_path / 'third'}"):
                pass
        assert schema(tmp_path / "third") == schema(tmp_path / "first"), "a damaged file is replaced"


def test_a_store_is_left_to_mlflow_where_it_has_content_or_nothing_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "used").write_text("content")
    for name in ("new", "used"):
        with created_alone(f"sqlite:///{tmp_path / name}"):
            pass
    assert [(tmp_path / name).read_text() for name in ("new", "used")] == ["", "content"]
