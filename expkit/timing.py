"""The duration of each phase of a run, in its log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["timed"]

_log = logging.getLogger(__name__)


@contextmanager
def timed(phase: str) -> Iterator[None]:
    """Log the duration of the block: "PHASE took N s"."""
    start = time.perf_counter()
    try:
        yield
    finally:
        _log.info("%s took %.3f s", phase, time.perf_counter() - start)
