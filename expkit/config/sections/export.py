"""The section ``export``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from expkit.registry import Section

__all__ = ["ExportConfig"]


class ExportConfig(Section):
    """The frozen graph."""

    enabled: bool = True
    """Freeze a graph at the end of the run."""
    weights: Literal["auto", "raw", "ema"] = "auto"
    """Values to freeze; ``auto`` takes the EMA if the run keeps one."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Checkpoint to freeze."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Largest allowed difference between the outputs of the frozen graph and those of the evaluation graph."""
