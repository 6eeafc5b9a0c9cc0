"""The section ``tracking``: what of a run MLflow gets."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from expkit.registry import Section

__all__ = ["TrackingConfig"]


class TrackingConfig(Section):
    """MLflow."""

    enabled: bool = True
    """Whether the run is recorded."""
    uri: str | None = None
    """Tracking store; ``null`` for a SQLite store in the run folder's parent."""
    experiment: str = Field(default="expkit", min_length=1)
    """Name of the MLflow experiment."""
    wait_seconds: float = Field(default=60, gt=0)
    """Most seconds for which the start, and then the end, of a run waits for the store.

    What the store has not got by then stays in the run folder, for ``expkit sync``.
    """
    system_metrics: bool = False
    """Whether processor, memory, disk and network are recorded while the run trains (needs psutil)."""
    plots: bool = True
    """Whether the run ends with pictures: curves, confusion matrix, worst mistakes, weights, network."""
    model: bool = True
    """Whether the frozen graph is kept as an MLflow model, which ``mlflow models serve`` serves."""
    register_: str | None = Field(default=None, alias="register", min_length=1, max_length=256)
    """Name under which the model gets a version in MLflow's registry; ``null`` for none."""
    alias: str | None = "champion"
    """Alias in the registry that the version gets, from an older one that has it; ``null`` for none."""

    @field_validator("register_")
    @classmethod
    def _nameable(cls, name: str | None) -> str | None:
        if name is not None and (found := re.search(r"[/:@]|^\.+$", name)):
            raise ValueError(f"'{name}' is no name for a registered model: '{found[0]}' is not allowed in it")
        return name

    @field_validator("alias")
    @classmethod
    def _assignable(cls, alias: str | None) -> str | None:
        if alias is not None and not re.fullmatch(r"(?!(?:latest|v\d+)$)[\w-]{1,255}", alias, re.IGNORECASE):
            raise ValueError(
                f"'{alias}' is no alias of a registered model; allowed: letters, digits, _ and -, but not 'latest' and "
                "'v1', which MLflow keeps for versions"
            )
        return alias
