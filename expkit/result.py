"""The outcome of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from expkit.errors import ExportError
from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen
from expkit.training import loop
from expkit.training.execution import ExecutionChoice

__all__ = ["Result"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of a run."""

    folder: Path
    test: Mapping[str, float]
    """Metrics of the test data."""
    trained: loop.Trained
    choice: ExecutionChoice
    """The execution mode of the steps, with its reason."""
    checkpoint: Path
    """Prefix of the last checkpoint."""
    frozen: Frozen | None = None
    exported: ExportFolder | None = None
    """The files of ``export.to``; ``None`` where it names none, or one is not proven."""
    not_exported: ExportError | None = None
    """Why there are no files of ``export.to``."""
    tracking: str | None = None
    """The run's address in MLflow."""
    last: Mapping[str, float] = field(default_factory=dict)
    """The last value of every metric that was recorded."""
    restored: str | None = None
    """A summary of the restore before training; ``None`` where nothing was restored."""
