"""The section ``ema``."""

from __future__ import annotations

from pydantic import Field

from expkit.registry import Section

__all__ = ["EmaConfig"]


class EmaConfig(Section):
    """Exponential moving averages (EMA) of trained variables (``tf.train.ExponentialMovingAverage``)."""

    enabled: bool = True
    """Keep an EMA of the trained variables."""
    decay: float = Field(default=0.99, gt=0, lt=1)
    """EMA decay rate."""
    num_updates: bool = True
    """Limit the decay to ``(1 + step) / (10 + step)``, so that the EMA follows the first steps closely."""
    variables: str = ".*"
    """Regular expression over the full names of the trained variables that have an EMA."""
    start_step: int = Field(default=0, ge=0)
    """Step until which the EMA equals the variable."""
