"""Garbage collection around imports of large libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from searching the objects that a block creates, now or later.

    While an import creates hundreds of thousands of objects, the collector would search them again and again, for a
    fifth of the import's time.
    """
    enabled = gc.isenabled()
    gc.collect()  # What is frozen is never released.
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
