"""The sections of the configuration, a frozen model each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from expkit.config.sections.data import DataConfig, PairsConfig, SplitConfig
from expkit.config.sections.network import BlockConfig, InputConfig, NetworkConfig, VariableRule
from expkit.config.sections.restore import RenameRule, RestoreConfig, SourceConfig, Transform
from expkit.config.sections.tracking import TrackingConfig
from expkit.config.sections.train import EarlyStoppingConfig, NanConfig, TrainConfig
from expkit.kinds.optimizers import BaseOptimizer
from expkit.kinds.sources.tfrecord import Feature
from expkit.registry import KindsOf, Section

__all__ = [
    "BlockConfig",
    "Config",
    "DataConfig",
    "EarlyStoppingConfig",
    "EmaConfig",
    "ExportConfig",
    "InputConfig",
    "NanConfig",
    "NetworkConfig",
    "PairsConfig",
    "RenameRule",
    "RestoreConfig",
    "RunConfig",
    "SourceConfig",
    "SplitConfig",
    "TrackingConfig",
    "TrainConfig",
    "Transform",
    "VariableRule",
]


class RunConfig(Section):
    """The run: its name, its seed, its place."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")
    """Name of the run, part of its folder's name."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of initial values, batch order and dropout; the same seed gives the same numbers."""
    folder: str = "runs"
    """Folder that holds all runs and the local MLflow store."""
    resume: str | None = None
    """Run folder to continue, or ``auto`` for the newest unfinished run of this configuration."""


class EmaConfig(Section):
    """Exponential moving averages of trained variables (``tf.train.ExponentialMovingAverage``)."""

    enabled: bool = True
    """Whether averages are kept."""
    decay: float = Field(default=0.99, gt=0, lt=1)
    """How much of the average stays at each step."""
    num_updates: bool = True
    """Whether the decay is at most ``(1 + step) / (10 + step)``, so that early averages move fast."""
    variables: str = ".*"
    """Regular expression over whole names of trained variables to average."""
    start_step: int = Field(default=0, ge=0)
    """Step until which the average is the variable itself."""


class ExportConfig(Section):
    """The frozen graph."""

    enabled: bool = True
    """Whether the run ends with a frozen graph."""
    weights: Literal["auto", "raw", "ema"] = "auto"
    """Which values are frozen; ``auto`` takes the averages where they are kept."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Which checkpoint is frozen."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Largest difference allowed between the frozen graph's outputs and the evaluation graph's."""


class Config(Section):
    """An experiment."""

    plugins: tuple[str, ...] = ()
    """Python files (``my_layers.py``) and modules that register kinds of the user's own."""
    run: RunConfig
    network: NetworkConfig
    data: DataConfig
    optimizer: Annotated[BaseOptimizer, KindsOf("optimizer")]
    train: TrainConfig
    ema: EmaConfig
    restore: RestoreConfig
    export: ExportConfig
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _agrees(self) -> Config:
        if self.export.weights == "ema" and not self.ema.enabled:
            raise ValueError("export.weights is 'ema' but ema.enabled is false; allowed then: auto, raw")
        if self.tracking.register_ is not None:
            needed = {
                "tracking.enabled": self.tracking.enabled,
                "tracking.model": self.tracking.model,
                "export.enabled": self.export.enabled,
            }
            if absent := [key for key, value in needed.items() if not value]:
                raise ValueError(
                    f"tracking.register is '{self.tracking.register_}' but {', '.join(absent)} is false; "
                    "set it to true, or register nothing"
                )
        return self


def models() -> tuple[type[BaseModel], ...]:
    """Return the models of all sections that are not kinds, for the reference."""
    return (
        RunConfig,
        NetworkConfig,
        InputConfig,
        VariableRule,
        BlockConfig,
        DataConfig,
        SplitConfig,
        PairsConfig,
        Feature,
        TrainConfig,
        EarlyStoppingConfig,
        NanConfig,
        EmaConfig,
        RestoreConfig,
        SourceConfig,
        RenameRule,
        Transform,
        ExportConfig,
        TrackingConfig,
    )
