"""The target ``safetensors``: a file of the variables by name."""

from __future__ import annotations

from expkit.export.targets.weights import WeightsTarget

__all__ = ["TARGET"]


class SafetensorsTarget(WeightsTarget):
    """A ``.safetensors`` file."""

    name = "safetensors"
    form = "safetensors"


TARGET = SafetensorsTarget()
