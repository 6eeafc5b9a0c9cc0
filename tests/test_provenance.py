"""Where a result comes from: the commit that is checked out, and the versions installed."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from expkit.provenance import git_commit, versions

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed here")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one\n")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commit_of_a_clean_checkout(checkout: Path) -> None:
    assert git_commit() == git(checkout, "rev-parse", "HEAD")


def test_a_file_that_differs_makes_the_commit_dirty(checkout: Path) -> None:
    (checkout / "file").write_text("two\n")
    assert git_commit() == f"{git(checkout, 'rev-parse', 'HEAD')}-dirty"


def test_files_that_git_does_not_know_do_not_count(checkout: Path) -> None:
    (checkout / "runs").mkdir()
    (checkout / "runs" / "run.json").write_text("{}")
    assert git_commit() == git(checkout, "rev-parse", "HEAD")


def test_a_checkout_without_a_commit_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None


def test_versions_name_python_and_what_decides_about_numbers() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert {"tensorflow", "hydra-core", "omegaconf", "mlflow", "numpy"} <= set(found)
