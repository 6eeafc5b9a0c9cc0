"""Schema of the configuration: its sections, and the rules between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, model_validator

import expkit.kinds.optimizers  # noqa: F401  # registers the kinds of optimizers
from expkit.config.sections.data import DataConfig, PairsConfig, SplitConfig, WindowsConfig
from expkit.config.sections.ema import EmaConfig
from expkit.config.sections.export import ExportConfig
from expkit.config.sections.network import BlockConfig, InputConfig, NetworkConfig, OutputConfig, VariableRule
from expkit.config.sections.restore import RenameRule, RestoreConfig, SourceConfig, Transform
from expkit.config.sections.run import RunConfig
from expkit.config.sections.tracking import TrackingConfig
from expkit.config.sections.train import EarlyStoppingConfig, NanConfig, PhaseConfig, TrainConfig
from expkit.kinds.base_optimizer import BaseOptimizer
from expkit.kinds.sources.tfrecord_feature import Feature
from expkit.registry import KindsOf, Section

__all__ = ["Config", "models"]


class Config(Section):
    """An experiment."""

    plugins: tuple[str, ...] = ()
    """Python files (``my_layers.py``) and modules that register custom layers, losses, metrics and other kinds."""
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
    """Return the models that are not kinds, in the order of the reference."""
    return (
        RunConfig,
        NetworkConfig,
        InputConfig,
        OutputConfig,
        VariableRule,
        BlockConfig,
        DataConfig,
        SplitConfig,
        PairsConfig,
        WindowsConfig,
        Feature,
        TrainConfig,
        PhaseConfig,
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
