"""Files and folders that the system refuses end in a message; refusals are injected, since root is refused nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expkit.errors import DataError
from expkit.kinds.sources.base import Source
from expkit.kinds.sources.image_folder import ImageFolder
from expkit.kinds.sources.table import Table
from expkit.kinds.sources.text import TextFolder

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55")


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, str], None]:
    """Return a function that lets a function of a module or class refuse a path."""

    def refuse(where: Any, function: str, path: str) -> None:
        known = getattr(where, function)

        def refused(given: Any, *args: Any, **options: Any) -> Any:
            if os.path.normpath(given) == str(tmp_path / path):
                raise PermissionError(13, "Permission denied", os.fspath(given))
            return known(given, *args, **options)

        monkeypatch.setattr(where, function, refused)

    return refuse


@pytest.mark.parametrize(
    ("where", "function", "path", "source"),
    [
        (Path, "stat", "t.csv", Table(path="t.csv")),
        (Path, "open", "t.csv", Table(path="t.csv")),
        (Path, "stat", "photos", ImageFolder(path="photos")),
        (os, "scandir", "photos", ImageFolder(path="photos")),
        (os, "scandir", "photos/b", ImageFolder(path="photos")),
        (os, "open", "photos/b/2.png", ImageFolder(path="photos")),
        (os, "stat", "photos/b/2.png", ImageFolder(path="photos")),
        (os, "scandir", "texts/a", TextFolder(path="texts")),
        (os, "stat", "texts/a/1.txt", TextFolder(path="texts")),
    ],
)
def test_what_the_system_refuses_is_named(
    where: Any, function: str, path: str, source: Source, tmp_path: Path, refuse: Callable[[Any, str, str], None]
) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    for name, content in (("photos/a/1.png", PNG), ("photos/b/2.png", PNG), ("texts/a/1.txt", b"x")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    given = source.model_copy(update={"path": str(tmp_path / source.path)})
    given.load()
    if function == "open":
        (tmp_path / path).write_bytes((tmp_path / path).read_bytes() + b"\n")  # What is known of it holds no more.
    refuse(where, function, path)
    with pytest.raises(DataError) as caught:
        given.load()
    message = str(caught.value)
    assert message.startswith(f"data.source.path: {tmp_path / path}")
    assert " cannot be read: " in message
    assert "Permission denied" in message
