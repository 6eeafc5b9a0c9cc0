"""Folders of values that are computed from data once, for later runs."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from expkit.fs import atomic_write_text

__all__ = ["cache_folder", "remembered"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

MOST_FACTS = 1000
"""Number of facts of a kind that are kept; the oldest are deleted."""


def cache_folder(name: str) -> Path:
    """Return a folder of the cache: ``expkit/NAME`` in ``XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "expkit" / name


def remembered(name: str, identity: bytes | None, find: Callable[[], T], kind: Any) -> T:
    """Return a fact about unchanged data that an earlier start found, or find it and keep it for the next.

    Args:
        name: name of the fact, with a number that a change of how it is found increases, such as ``images-1``.
        identity: digest that differs where the data does, and all else that the fact depends on; ``None`` if there is
            none, so that nothing is kept.
        find: function that returns the fact, a value of JSON; its errors are not kept.
        kind: type of the fact, as pydantic reads it: a file that holds anything else is damaged, and found anew.
    """
    if identity is None:
        return find()
    file = cache_folder("facts") / f"{name}-{hashlib.sha256(identity).hexdigest()[:32]}.json"
    fact: TypeAdapter[T] = TypeAdapter(kind)
    try:
        return fact.validate_json(file.read_bytes(), strict=True)
    except (OSError, ValueError):
        found = find()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, fact.dump_json(found).decode(), durable=False)
        facts = sorted(file.parent.glob(f"{name}-*.json"), key=lambda path: path.stat().st_mtime)
        for oldest in facts[:-MOST_FACTS]:
            oldest.unlink(missing_ok=True)
    except OSError as error:  # Without a place for it the next start reads the data again.
        _log.info("%s is not written: %s", file, error.strerror)
    return found
