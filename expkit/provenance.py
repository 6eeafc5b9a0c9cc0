"""Provenance of a result: commit, versions, installed packages."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["code_digest", "digest_of", "git_commit", "is_installed", "versions"]

_PACKAGES = ("expkit", "tensorflow", "hydra-core", "omegaconf", "mlflow", "numpy")


def git_commit() -> str | None:
    """Return the commit that is checked out, with ``-dirty`` if files differ; ``None`` outside git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return f"{commit}-dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def code_digest(files: Iterable[Path]) -> str:
    """Return a SHA-256 hash of expkit's own code and of further files."""
    package = Path(__file__).resolve().parent
    found = hashlib.sha256()
    for path in [*sorted(package.rglob("*.py")), *sorted(files)]:
        found.update(path.read_bytes())
    return found.hexdigest()


def digest_of(value: object, default: Callable[[Any], object] | None = None) -> str:
    """Return a SHA-256 hash of plain data, independent of the order of keys.

    Args:
        value: plain data.
        default: makes other values plain.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=default).encode()).hexdigest()


def is_installed(module: str) -> bool:
    """Return True if a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package around it
        return False


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
