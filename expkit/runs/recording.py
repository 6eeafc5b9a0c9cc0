"""The recorder of this process: one for all runs that are made in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expkit.tracking.recorder import Recorder

__all__ = ["own_recorder", "recorder_of_process"]

_recorder: Recorder | None = None


@contextmanager
def recorder_of_process(*, wanted: bool) -> Iterator[Recorder | None]:
    """Have one recorder for all runs that are made in this process, inside the block.

    It is the process that has MLflow, and is started early, so that it is ready when the first run is.
    """
    global _recorder
    if not wanted:
        yield None
        return
    from expkit.tracking.recorder import Recorder

    with Recorder() as _recorder:
        try:
            yield _recorder
        finally:
            _recorder = None


def own_recorder() -> Recorder:
    """Return the recorder of this process; one that a launcher started gets its own, and keeps it for the next run."""
    global _recorder
    if _recorder is None:
        from expkit.tracking.recorder import Recorder

        _recorder = Recorder()
        Finalize(None, _recorder.close, exitpriority=0)
    return _recorder
