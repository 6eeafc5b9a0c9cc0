"""The target ``savedmodel``: TensorFlow's own folder, with signatures for both doors."""

from __future__ import annotations

from expkit.export.converters.savedmodel import RAW, SERVING
from expkit.export.doors import Door
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET"]


class SavedModelTarget(GraphTarget):
    """A SavedModel without variables and assets.

    The signature ``serving_default`` reads tensors as the network does; where there is preprocessing, ``raw`` reads
    what the source gives.
    """

    name = "savedmodel"
    file = "savedmodel"
    refused = frozenset()

    def doors(self, source: ExportSource, options: ExportOptions) -> list[Door]:
        """Return the raw door, and the one behind the preprocessing."""
        raw = self._door(source, "raw", options)
        return [raw, *([self._door(source, "preprocessed", options)] if _preprocessed(source) else [])]

    def signature(self, door: Door, *, several: bool) -> str:
        """Return the name of the signature of a door."""
        return RAW if several and door.name == "raw" else SERVING


def _preprocessed(source: ExportSource) -> bool:
    return bool(source.frozen.metadata.get("preprocessed"))


TARGET = SavedModelTarget()
