"""The sections of the configuration, a frozen model each."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from expkit.config.network import BlockConfig, InputConfig, NetworkConfig, VariableRule
from expkit.config.restore import RenameRule, RestoreConfig, SourceConfig, Transform
from expkit.config.tracking import TrackingConfig
from expkit.data.sources import Source
from expkit.data.tfrecord import Feature
from expkit.registry import KindsOf, Section
from expkit.training.execution import Compiled, Parallelism, Precision
from expkit.training.losses import Loss
from expkit.training.metrics import Metric
from expkit.training.optimizers import Optimizer
from expkit.training.state import EarlyStoppingConfig, NanConfig

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

Positive = Annotated[int, Field(gt=0)]


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


class SplitConfig(Section):
    """Which examples train, choose and score: each a fraction of all (shuffled) or a range of indices (as they are)."""

    train: float | tuple[int, int] = 0.7
    """Fraction, or ``[first, after_last]``."""
    valid: float | tuple[int, int] | None = None
    """Fraction, or ``[first, after_last]``; ``null`` for no validation."""
    test: float | tuple[int, int] = 0.2
    """Fraction, or ``[first, after_last]``."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the shuffle before fractions are cut."""

    @model_validator(mode="after")
    def _fits(self) -> SplitConfig:
        parts = [part for part in (self.train, self.valid, self.test) if part is not None]
        fractions = [part for part in parts if isinstance(part, float | int)]
        ranges = sorted(part for part in parts if isinstance(part, tuple))
        if fractions and ranges:
            raise ValueError("fractions and index ranges cannot be mixed; give all parts the same way")
        if any(not 0 < part <= 1 for part in fractions) or sum(fractions) > 1 + 1e-9:
            raise ValueError(f"fractions must lie in (0, 1] with a sum of at most 1, got {fractions}")
        if any(not 0 <= first < after for first, after in ranges):
            raise ValueError(f"an index range is [first, after_last] with 0 <= first < after_last, got {ranges}")
        for (_, after), (first, _) in pairwise(ranges):
            if first < after:
                raise ValueError(f"index ranges overlap, so training would see scored examples: {ranges}")
        return self


class PairsConfig(Section):
    """Pairs of examples of each part of the split: fields ``left``, ``right`` and ``label`` (1: the same label)."""

    field: str = "image"
    """Field whose values are paired."""
    label: str = "label"
    """Field that tells whether a pair is the same."""
    per_example: Positive = 4
    """Pairs per example, half of them the same (as near as it goes)."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the pairing."""


class DataConfig(Section):
    """The data: a source, its split, its preparation."""

    source: Annotated[Source, KindsOf("source")]
    """Where examples come from."""
    split: SplitConfig
    """Which examples train, choose and score."""
    standardize: tuple[str, ...] = ()
    """Fields shifted and scaled to mean 0 and spread 1 per value, fitted on the training examples only."""
    pairs: PairsConfig | None = None
    """Whether to pair examples, after the split."""
    placement: Literal["auto", "resident", "streamed"] = "auto"
    """Whether the session holds the training examples (``resident``) or a thread prepares batches (``streamed``).

    ``auto`` streams what is on disk (kinds ``arrays`` and ``tfrecord``) or takes more than a quarter of the machine's
    memory; no number depends on it.
    """


class TrainConfig(Section):
    """The training loop."""

    steps: int = Field(ge=0)
    """Steps to train; 0 to evaluate and freeze what was restored."""
    batch_size: Positive
    """Examples per step."""
    gradient_accumulation_steps: Positive = 1
    """Batches per step: their gradients are averaged before the optimizer moves."""
    steps_per_execution: Literal["auto"] | Positive = "auto"
    """Most steps in one call of TensorFlow; no number depends on it."""
    jit_compile: Literal["auto"] | Compiled = "auto"
    """Whether XLA compiles the step, or only its ``update``: what changes large variables and moves their averages.

    ``auto`` measures at the start of a long run and keeps the fastest way.
    """
    precision: Precision = "float32"
    """What products and convolutions of training are computed in, by oneDNN's rewrite of the graph.

    With ``bfloat16`` variables, updates, averages, evaluation and the frozen graph stay float32; it needs a processor
    with AVX-512 or AVX-NE-CONVERT, pays with AMX, and leaves ``jit_compile: true`` out, which XLA makes slower.
    """
    parallelism: Literal["auto"] | Parallelism = "auto"
    """Whether all cores share every operation (``intra_op``), or each does one of its own (``inter_op``).

    With ``inter_op`` convolutions, poolings and recurrent layers take the batch in as many parts as there are cores,
    side by side, unless XLA compiles the step. ``auto`` measures at the start of a long run and keeps the fastest way.
    """
    log_every_steps: Positive = 100
    """Steps between two points of training metrics."""
    evaluate_every_steps: Positive = 500
    """Steps between two evaluations on the validation part."""
    evaluation_batch_size: Positive = 1000
    """Examples per evaluation batch."""
    save_every_steps: Positive = 500
    """Steps between two checkpoints; the last step is always saved."""
    keep_last: Positive = 3
    """Newest checkpoints kept."""
    keep_every_steps: Positive | None = None
    """Steps between two checkpoints that are saved and kept for good; ``null`` for none."""
    best_metric: str | None = None
    """Validation metric whose best checkpoint is kept too, such as ``valid/accuracy``; ``null`` for none."""
    best_mode: Literal["max", "min"] = "max"
    """Whether the best is the largest or the smallest."""
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    """When training ends before its last step."""
    on_nan: NanConfig = NanConfig()
    """What happens when the loss or a trained variable is no longer finite."""
    losses: dict[str, Annotated[Loss, KindsOf("loss")]] = Field(min_length=1)
    """Losses by name."""
    metrics: dict[str, Annotated[Metric, KindsOf("metric")]] = {}
    """Metrics by name."""

    @model_validator(mode="after")
    def _runs(self) -> TrainConfig:
        if self.precision == "bfloat16" and self.jit_compile is True:
            raise ValueError(
                "precision is 'bfloat16', which XLA does not speed up on a CPU, but jit_compile is true; "
                "allowed then: auto, update, false"
            )
        return self


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
    optimizer: Annotated[Optimizer, KindsOf("optimizer")]
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
