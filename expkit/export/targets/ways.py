"""Ways into an exported file: what it reads itself, or what the source gives, through the preprocessing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expkit.export.doors import Door, open_door
from expkit.export.freeze import FrozenGraph, read_frozen
from expkit.export.operations import operations_of
from expkit.export.preprocessing import PREPROCESSING, preprocess
from expkit.export.targets.base import ExportOptions, ExportSource

__all__ = ["Way", "ways"]

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Way:
    """Part of the frozen graph whose inputs reach a file, and how they do."""

    name: str
    door: Door
    before: tuple[FrozenGraph, Door] | None = None
    """The preprocessing beside the file, and the door of the file itself; ``None`` where that is this one."""

    def feed(self, batch: Arrays) -> Arrays:
        """Return what the file reads, for a batch of the door."""
        return batch if self.before is None else preprocess(self.before[0], batch, self.before[1].inputs)


def ways(source: ExportSource, options: ExportOptions, door: Door, file: Path) -> list[Way]:
    """Return the ways into a file, of which the last is that of whoever has the source's examples.

    Args:
        source: the frozen graph.
        options: settings, for the names of outputs.
        door: what the file itself reads.
        file: the file, which need not be there yet; the preprocessing beside it is read.

    Raises:
        ExportError: the preprocessing cannot be read.
    """
    found = [Way(name=door.name, door=door)]
    beside = file.with_name(PREPROCESSING)
    if door.name == "preprocessed" and beside.is_file():
        before = read_frozen(beside, allowed=operations_of(source.frozen.graph_def))
        raw = open_door(source.frozen, "raw", batch=door.batch, rename=options.rename_outputs)
        found.append(Way(name=f"raw by {PREPROCESSING}", door=raw, before=(before, door)))
    return found
