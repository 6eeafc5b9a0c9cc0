"""Declarative experiments for TensorFlow graphs with named variables.

The names below are what plugins, notebooks and other programs need. Each is imported when it is first used, so that
importing expkit imports neither TensorFlow nor MLflow nor Hydra.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expkit import tf1
    from expkit.api import Run, evaluate, freeze, load_config, plan_restore, predict, train
    from expkit.config.schema import Config
    from expkit.errors import (
        CheckpointError,
        ConfigError,
        DamagedCheckpointError,
        DataError,
        ExpkitError,
        ExportError,
        Problem,
        RunError,
        TrainingError,
    )
    from expkit.experiment import Experiment
    from expkit.kinds.augment.base import Augment, ImageAugment
    from expkit.kinds.augment.draws import Draws
    from expkit.kinds.base_optimizer import Optimizer, Trained
    from expkit.kinds.initializers import GlorotUniform, Initializer, Ones, Zeros
    from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer, Update
    from expkit.kinds.losses import BaseLoss, Loss
    from expkit.kinds.metrics import BaseMetric, Metric
    from expkit.kinds.preprocess.base import Preprocess
    from expkit.kinds.schedules import Schedule
    from expkit.kinds.sources.base import Source
    from expkit.kinds.wrapped_optimizer import WrappedOptimizer
    from expkit.network.elaborate import network_spec
    from expkit.network.spec import NetworkSpec
    from expkit.registry import register
    from expkit.tensor_spec import ShapeError, TensorSpec
    from expkit.tracking.errors import TrackingError

__all__ = [
    "Augment",
    "BaseLoss",
    "BaseMetric",
    "Call",
    "CheckpointError",
    "Config",
    "ConfigError",
    "DamagedCheckpointError",
    "DataError",
    "Declaration",
    "Draws",
    "Experiment",
    "ExpkitError",
    "ExportError",
    "GlorotUniform",
    "ImageAugment",
    "Initializer",
    "Inputs",
    "Layer",
    "Loss",
    "Metric",
    "NetworkSpec",
    "Ones",
    "Optimizer",
    "Preprocess",
    "Problem",
    "Run",
    "RunError",
    "Schedule",
    "ShapeError",
    "Source",
    "TensorSpec",
    "TrackingError",
    "Trained",
    "TrainingError",
    "Update",
    "WrappedOptimizer",
    "Zeros",
    "__version__",
    "evaluate",
    "freeze",
    "load_config",
    "network_spec",
    "plan_restore",
    "predict",
    "register",
    "tf1",
    "train",
]

__version__ = "0.1.0"

_NAMES = {
    "api": "Run evaluate freeze load_config plan_restore predict train",
    "config.schema": "Config",
    "errors": "CheckpointError ConfigError DamagedCheckpointError DataError ExpkitError ExportError Problem RunError "
    "TrainingError",
    "experiment": "Experiment",
    "kinds.augment.base": "Augment ImageAugment",
    "kinds.augment.draws": "Draws",
    "kinds.initializers": "GlorotUniform Initializer Ones Zeros",
    "kinds.layers.base": "Call Declaration Inputs Layer Update",
    "kinds.losses": "BaseLoss Loss",
    "kinds.metrics": "BaseMetric Metric",
    "kinds.base_optimizer": "Optimizer Trained",
    "kinds.preprocess.base": "Preprocess",
    "kinds.schedules": "Schedule",
    "kinds.sources.base": "Source",
    "kinds.wrapped_optimizer": "WrappedOptimizer",
    "network.elaborate": "network_spec",
    "network.spec": "NetworkSpec",
    "registry": "register",
    "tensor_spec": "ShapeError TensorSpec",
    "tracking.errors": "TrackingError",
}
"""Names that a module of expkit defines, by module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "tf1":
        return importlib.import_module("expkit.tf1")
    if name not in _MODULES:
        raise AttributeError(f"module 'expkit' has no attribute '{name}'")
    value = globals()[name] = getattr(importlib.import_module(f"expkit.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
