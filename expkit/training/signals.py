"""Signals during training: the first is noted, and delivered once a checkpoint is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["deferred_signals"]


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Defer Ctrl-C and SIGTERM to the end of the block, which receives a function that tells whether one came.

    A second one raises at once. Only signals that raise an exception are deferred: Ctrl-C with Python's own handler,
    SIGTERM with any; outside the main thread none is.
    """
    first: list[int] = []

    def note(number: int, frame: Any) -> None:
        if first:
            handlers[number](number, frame)
        first.append(number)

    handlers: dict[int, Callable[[int, Any], Any]] = {}
    if threading.current_thread() is threading.main_thread():
        number: int
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler is signal.default_int_handler or (number == signal.SIGTERM and callable(handler)):
                handlers[number] = handler
    try:
        for number in handlers:
            signal.signal(number, note)
        yield lambda: bool(first)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if first:
        signal.raise_signal(first[0])
