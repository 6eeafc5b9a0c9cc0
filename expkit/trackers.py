"""The tracker of a run: its interface, and the one that records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from expkit.data.dataset import Dataset
from expkit.export.exporter import ExportFolder
from expkit.export.run import Frozen

__all__ = ["NoTracker", "Tracker"]


class Tracker(Protocol):
    """The record of a run."""

    def begin(self) -> None:
        """Wait until records are accepted, or the store is known not to answer; raise if it is misconfigured."""

    def identify(self) -> None:
        """Wait until the run has an id, or the store is known not to answer."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of a step."""

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Keep copies of files and folders."""

    def model(self, frozen: Frozen) -> None:
        """Keep the frozen graph as a model that can be served."""

    def exported(self, exported: ExportFolder, frozen: Frozen | None) -> None:
        """Keep copies of exported files; with the frozen graph also as models, of the formats that have such."""

    def dataset(self, dataset: Dataset) -> None:
        """Record which data was used."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record facts about the run."""

    @property
    def link(self) -> str | None:
        """The run's address for people; ``None`` where nothing is recorded."""


class NoTracker:
    """A tracker that records nothing."""

    link: str | None = None

    def begin(self) -> None:
        """Wait for nothing."""

    def identify(self) -> None:
        """Wait for nothing."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record no metrics."""

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Keep no copies."""

    def model(self, frozen: Frozen) -> None:
        """Keep no model."""

    def exported(self, exported: ExportFolder, frozen: Frozen | None) -> None:
        """Keep no copies."""

    def dataset(self, dataset: Dataset) -> None:
        """Record no dataset."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record no facts."""

    def plots(self) -> None:
        """Keep no plots."""

    def finish(self, status: str, error: str | None = None) -> None:
        """Record no end."""
