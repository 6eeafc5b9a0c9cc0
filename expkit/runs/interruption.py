"""Interruptions: SIGTERM as an exception, so that a run can write its status; exit codes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Terminated", "interruption_exits", "termination_raises"]


class Terminated(BaseException):
    """Raised in the main thread when SIGTERM asks the process to end."""


@contextmanager
def termination_raises() -> Iterator[None]:
    """Turn SIGTERM into ``Terminated`` inside the block; outside the main thread, where none can, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruption_exits() -> Iterator[None]:
    """End the process with the usual exit code if the block is interrupted: 130 for Ctrl-C, 143 for SIGTERM."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Terminated:
        raise SystemExit(143) from None
