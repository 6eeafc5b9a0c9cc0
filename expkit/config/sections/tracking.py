"""The section ``tracking``."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from expkit.registry import Section

__all__ = ["TrackingConfig"]


class TrackingConfig(Section):
    """Tracking of the run by MLflow."""

    enabled: bool = True
    """Record the run in MLflow."""
    uri: str | None = None
    """Tracking URI; ``null`` for ``MLFLOW_TRACKING_URI``, or without it for a SQLite store in ``run.folder``."""
    experiment: str | None = Field(default=None, min_length=1)
    """Name of the MLflow experiment.

    ``null`` for ``MLFLOW_EXPERIMENT_NAME`` or ``MLFLOW_EXPERIMENT_ID``, or without them for ``expkit``.
    """
    wait_seconds: float = Field(default=60, gt=0)
    """Maximum wait for the store at the start of a run, and again at its end, in seconds.

    Records that are not uploaded by then stay in the run folder, for ``expkit sync``.
    """
    system_metrics: bool | None = None
    """Record the use of processor, memory, disk and network during training (needs psutil).

    ``null`` for ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING``.
    """
    plots: bool = True
    """Draw plots at the end of the run: curves, confusion matrix, worst mistakes, weights, network, examples."""
    samples: str | None = None
    """Output of the frozen graph whose images are drawn at every checkpoint, a grid of 64 in ``plots/``.

    An input that only the frozen graph has is fed standard normal numbers, always the same; others the first test
    examples. ``null`` for none.
    """
    model: bool = True
    """Log the frozen graph as an MLflow model, for ``mlflow models serve``."""
    register_: str | None = Field(default=None, alias="register", min_length=1, max_length=256)
    """Name of the registered model that gets a new version; ``null`` for none."""
    alias: str | None = "champion"
    """Alias in the registry that moves to the new version; ``null`` for none."""

    @field_validator("register_")
    @classmethod
    def _nameable(cls, name: str | None) -> str | None:
        if name is not None and (found := re.search(r"[/:@]|^\.+$", name)):
            raise ValueError(f"'{name}' is not a name for a registered model: '{found[0]}' is not allowed in it")
        return name

    @field_validator("alias")
    @classmethod
    def _assignable(cls, alias: str | None) -> str | None:
        if alias is not None and not re.fullmatch(r"(?!(?:latest|v\d+)$)[\w-]{1,255}", alias, re.IGNORECASE):
            raise ValueError(
                f"'{alias}' is not an alias of a registered model; allowed: letters, digits, _ and -, but not 'latest' "
                "and 'v1', which MLflow keeps for versions"
            )
        return alias
