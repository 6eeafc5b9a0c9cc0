"""Marks: facts about a run that are known only when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from expkit.config.schema import Config
from expkit.tracking.errors import TrackingError
from expkit.tracking.journal import Journal
from expkit.tracking.recorder import Recorder, warn
from expkit.tracking.tracker import address_of

__all__ = ["mark"]


def mark(recorder: Recorder, config: Config, folder: Path, tags: Mapping[str, str]) -> None:
    """Record facts about a run that has ended, and stays so: neither its status nor its end change.

    Args:
        recorder: the process that delivers.
        config: the experiment, which tells the store.
        folder: the run's.
        tags: the facts.
    """
    journal, seconds, place = Journal(folder), config.tracking.wait_seconds, str(folder.resolve())
    if not journal.exists():
        return
    journal.append("tags", values=dict(tags))
    try:
        recorder.submit("begin", folder=place, address=asdict(address_of(config)), process="", system=False)
        ended = recorder.submit("finish", folder=place, seconds=seconds).result(seconds)
        left = bool(ended["left"])
    except (TrackingError, TimeoutError):
        left = True
    if left:
        warn(f"MLflow was not told {', '.join(tags)} of this run; deliver it with `expkit sync {folder}`")
