"""The target ``npz``: a file of the variables by name."""

from __future__ import annotations

from expkit.export.targets.weights import WeightsTarget

__all__ = ["TARGET"]


class NpzTarget(WeightsTarget):
    """A ``.npz`` file."""

    name = "npz"
    form = "npz"


TARGET = NpzTarget()
