"""The section ``train``: the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from expkit.kinds.losses import Loss
from expkit.kinds.metrics import Metric
from expkit.registry import KindsOf, Positive, Section

__all__ = ["EarlyStoppingConfig", "JitCompile", "NanConfig", "Parallelism", "Precision", "TrainConfig"]

JitCompile = Literal["update"] | bool
"""What XLA compiles of a step: all of it, only what changes large variables, or nothing."""
Precision = Literal["float32", "bfloat16"]
"""What products and convolutions of training are computed in."""
Parallelism = Literal["intra_op", "inter_op"]
"""What the cores share: every operation, or they do one operation each."""


class EarlyStoppingConfig(Section):
    """When training ends before its last step, because a metric no longer gets better."""

    metric: str | None = None
    """Validation metric that is watched, such as ``valid/loss`` or ``valid/loss/ema``; ``null`` to never stop early."""
    mode: Literal["max", "min"] = "min"
    """Whether better is larger or smaller."""
    patience: int = Field(default=5, gt=0)
    """Evaluations in a row without a better value after which training ends.

    Those at multiples of ``evaluate_every_steps`` count.
    """
    min_delta: float = Field(default=0.0, ge=0)
    """How much better a value must be than the best one to count as better."""


class NanConfig(Section):
    """What happens when the loss or a trained variable is no longer finite."""

    action: Literal["stop", "roll_back"] = "stop"
    """Whether training ends as failed, or goes on from the last good checkpoint with a lower learning rate.

    A checkpoint is good when every value that training changes is finite.
    """
    factor: float = Field(default=0.5, gt=0, lt=1)
    """What the learning rate is multiplied by at every roll back, for the rest of training."""
    max_times: int = Field(default=3, gt=0)
    """Most times in a run; after that training ends as failed."""


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
    jit_compile: Literal["auto"] | JitCompile = "auto"
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
