"""The section ``run``."""

from __future__ import annotations

from pydantic import Field

from expkit.registry import Section

__all__ = ["RunConfig"]


class RunConfig(Section):
    """The run: its name, seed and folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")
    """Name of the run, part of its folder's name."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of initial values, batch order and dropout; the same seed gives the same results."""
    folder: str = "runs"
    """Folder of all runs and of the local MLflow store."""
    resume: str | None = None
    """Run folder to resume, or ``auto`` for the newest unfinished run of this configuration."""
