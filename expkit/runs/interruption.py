"""SIGTERM as an exception, so that what is under way can write its status."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Terminated", "termination_raises"]


class Terminated(BaseException):
    """Raised in the main thread when the process is asked to end."""


@contextmanager
def termination_raises() -> Iterator[None]:
    """Turn SIGTERM into ``Terminated`` inside the block."""

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
