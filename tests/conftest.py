"""What several tests share: configurations from a few words of YAML."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a ``conf`` of its own, so that only the built-in files are read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
