"""The recorder of this process, which all runs in it share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expkit.config.schema import Config
    from expkit.tracking.recorder import Recorder, RecorderProcess

__all__ = ["own_recorder", "recorder_of_process", "recorders_started_by", "say_environment"]

_recorder: Recorder | None = None
_start: Callable[[], RecorderProcess] | None = None


@contextmanager
def recorders_started_by(start: Callable[[], RecorderProcess]) -> Iterator[None]:
    """Start the processes of this block's recorders with a function, in place of ``recorder.start_process``.

    For programs that call ``main`` many times, as tests do: a forked process is ready sooner than a new one.
    """
    global _start
    before, _start = _start, start
    try:
        yield
    finally:
        _start = before


@contextmanager
def recorder_of_process(*, tracked: bool) -> Iterator[Recorder | None]:
    """Have one recorder for all runs of this block, or ``None`` where nothing is tracked.

    It is started early, because its process imports MLflow, so that it is ready when the first run is.
    """
    global _recorder
    if not tracked:
        yield None
        return
    with _new_recorder() as _recorder:
        try:
            yield _recorder
        finally:
            _recorder = None


def say_environment(config: Config, *, quiet: bool = False) -> None:
    """Print which of the store and its experiment MLflow's environment variables give, if any."""
    from expkit.tracking.store_address import environment_note

    if not quiet and (note := environment_note(config)) is not None:
        print(note, file=sys.stderr)


def own_recorder() -> Recorder:
    """Return the recorder of this process; a process that a launcher started makes one, and keeps it until its end."""
    global _recorder
    if _recorder is None:
        _recorder = _new_recorder()
        Finalize(None, _recorder.close, exitpriority=0)
    return _recorder


def _new_recorder() -> Recorder:
    from expkit.tracking.recorder import Recorder, start_process

    return Recorder(_start or start_process)
