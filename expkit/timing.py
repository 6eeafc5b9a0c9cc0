"""How long the parts of a run took, said in its log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]

_log = logging.getLogger(__name__)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log how long the block took: "WHAT took N s"."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        _log.info("%s took %.3f s", what, time.perf_counter() - begun)
