"""The section ``train``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

import expkit.kinds.losses_classes
import expkit.kinds.losses_embeddings
import expkit.kinds.losses_regression
import expkit.kinds.losses_sampled
import expkit.kinds.losses_sequences
import expkit.kinds.metrics_classes
import expkit.kinds.metrics_ranking
import expkit.kinds.metrics_regression
import expkit.kinds.metrics_sequences
import expkit.kinds.optimizers  # noqa: F401  # registers the kinds
from expkit.kinds.base_optimizer import BaseOptimizer
from expkit.kinds.evaluated import Evaluated
from expkit.kinds.losses import BaseLoss
from expkit.kinds.metrics import BaseMetric, Mode, mode_of_metric
from expkit.metric_names import allowed_loss_name, allowed_metric_name, allowed_phase_name
from expkit.registry import KindsOf, Positive, Section

__all__ = ["EarlyStoppingConfig", "JitCompile", "NanConfig", "Parallelism", "PhaseConfig", "Precision", "TrainConfig"]

JitCompile = Literal["update"] | bool
"""XLA compilation: of the whole step, of the update of large variables only, or none."""
Precision = Literal["float32", "bfloat16"]
"""Precision of matrix products and convolutions in training."""
Parallelism = Literal["intra_op", "inter_op"]
"""Use of the cores: all share each operation, or each runs an operation of its own."""

LossName = Annotated[str, AfterValidator(allowed_loss_name)]
MetricName = Annotated[str, AfterValidator(allowed_metric_name)]
BestMode = Literal["auto", "max", "min"]
"""Direction in which a metric improves."""


class EarlyStoppingConfig(Section):
    """End of training before its last step, when a metric stops improving."""

    metric: str | None = None
    """Validation metric to monitor, such as ``valid/loss`` or ``valid/loss/ema``; ``null`` for no early stopping."""
    mode: BestMode = "auto"
    """``max`` if larger is better, ``min`` if smaller is; ``auto``: as the metric's kind says, ``min`` for a loss."""
    patience: int = Field(default=5, gt=0)
    """Evaluations in a row without improvement after which training ends.

    Only evaluations at multiples of ``evaluate_every_steps`` count.
    """
    min_delta: float = Field(default=0.0, ge=0)
    """Smallest change that counts as an improvement."""


class NanConfig(Section):
    """Reaction to a loss or a trained variable that is not finite."""

    action: Literal["stop", "roll_back"] = "stop"
    """``stop``: training fails; ``roll_back``: it resumes from the last good checkpoint at a lower learning rate.

    A checkpoint is good if every value that training changes is finite.
    """
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor of the learning rate at each rollback, for the rest of training."""
    max_times: int = Field(default=3, gt=0)
    """Maximum number of rollbacks in a run; after that training fails."""


class PhaseConfig(Section):
    """A phase of every training step: an optimizer, the losses that it lowers, and the variables that it trains."""

    losses: tuple[str, ...] = Field(min_length=1)
    """Names of ``train.losses``; a phase lowers their sum, each times its weight, plus the regularizers of its
    variables."""
    variables: str = ".*"
    """Regular expression that matches the full names of the variables to train: ``D/.*``."""
    optimizer: Annotated[BaseOptimizer, KindsOf("optimizer")] | None = None
    """Optimizer with its learning rate; by default ``optimizer``. Its slots and counters are the phase's own."""
    steps: Positive = 1
    """Updates in each training step, one after the other, each with the next batch."""


class TrainConfig(Section):
    """The training loop."""

    steps: int | None = Field(default=None, ge=0)
    """Training steps; 0 evaluates and freezes the restored values. Either these or ``epochs`` are given."""
    epochs: float | None = Field(default=None, ge=0, le=1e9)
    """Passes over the training examples, such as 20 or 0.5, in place of ``steps``.

    They become steps once the data is loaded: the fewest in which every example is seen so often. A batch that begins
    in one epoch may end in the next; a step has the examples of all its batches, as with accumulation.
    """
    batch_size: Positive
    """Examples per batch."""
    gradient_accumulation_steps: Positive = 1
    """Batches per step; the optimizer applies the mean of their gradients."""
    steps_per_execution: Literal["auto"] | Positive = "auto"
    """Maximum steps per session call; results do not depend on it."""
    jit_compile: Literal["auto"] | JitCompile = "auto"
    """XLA compilation of the whole step (``true``), of the ``update`` of large variables and their EMA, or none.

    ``auto`` measures at the start of a long run, or of a sweep that is long, and keeps the fastest for all later runs
    of such a graph in the same ``run.folder``.
    """
    precision: Precision = "float32"
    """Precision of matrix products and convolutions in training.

    ``bfloat16`` is a rewrite of the graph by oneDNN: variables, updates, EMA, evaluation and the frozen graph stay
    float32. It needs a processor with AVX-512 or AVX-NE-CONVERT, is faster on one with AMX, and excludes
    ``jit_compile: true``, which would be slower.
    """
    parallelism: Literal["auto"] | Parallelism = "auto"
    """``intra_op``: all cores share each operation; ``inter_op``: each core runs an operation of its own.

    With ``inter_op`` convolutions, poolings and recurrent layers run on one shard of the batch per core, in parallel,
    unless XLA compiles the step. ``auto`` measures at the start of a long run and keeps the fastest.
    """
    log_every_steps: Positive = 100
    """Steps between two records of training metrics."""
    evaluate_every_steps: Positive = 500
    """Steps between two evaluations on the validation split."""
    evaluation_batch_size: Positive = 1000
    """Examples per evaluation batch."""
    save_every_steps: Positive = 500
    """Steps between two checkpoints; the last step is always saved."""
    keep_last: Positive = 3
    """Number of newest checkpoints to keep."""
    keep_every_steps: Positive | None = None
    """Steps between two checkpoints that are saved and never deleted; ``null`` for none."""
    best_metric: str | None = None
    """Validation metric whose best checkpoint is kept, such as ``valid/accuracy``; ``null`` for none."""
    best_mode: BestMode = "auto"
    """``max`` if larger is better, ``min`` if smaller is; ``auto``: as the metric's kind says, ``min`` for a loss."""
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    """End of training before its last step."""
    on_nan: NanConfig = NanConfig()
    """Reaction to a loss or a trained variable that is not finite."""
    losses: dict[LossName, Annotated[BaseLoss, KindsOf("loss")]] = Field(min_length=1)
    """Losses by name. Each of several is recorded under ``loss/NAME``; the name may not end in ``ema``."""
    metrics: dict[MetricName, Annotated[BaseMetric, KindsOf("metric")]] = {}
    """Metrics by name, which MLflow must accept.

    Other values are recorded under ``loss``, ``loss/...``, ``learning_rate``, ``learning_rate/...``,
    ``steps_per_second``, ``ema`` and ``.../ema``.
    """
    phases: dict[Annotated[str, AfterValidator(allowed_phase_name)], PhaseConfig] = {}
    """Phases by name, in the order of their updates; without them one optimizer lowers all losses at once."""
    update: Literal["alternating", "joint"] = "alternating"
    """``alternating``: a phase computes its gradients from the variables as the phases before it left them; ``joint``:
    all phases compute theirs from the same values, then all update."""

    @property
    def last_step(self) -> int:
        """Step at which training ends; known where ``steps`` are given, or the data is loaded."""
        assert self.steps is not None, "epochs are steps once the data is loaded"
        return self.steps

    @property
    def readers(self) -> dict[str, Evaluated]:
        """Losses and metrics by their path in the configuration."""
        return {
            f"train.{group}.{name}": item
            for group, items in (("losses", self.losses), ("metrics", self.metrics))
            for name, item in items.items()
        }

    def with_readers(self, changed: Mapping[str, Evaluated]) -> TrainConfig:
        """Return a copy with other losses and metrics, by their path in the configuration."""
        groups: dict[str, Mapping[str, Evaluated]] = {"losses": self.losses, "metrics": self.metrics}
        update = {
            group: {name: changed.get(f"train.{group}.{name}", item) for name, item in items.items()}
            for group, items in groups.items()
        }
        return self.model_copy(update=update) if changed else self

    def mode_of(self, metric: str, given: BestMode = "auto") -> Mode | None:
        """Return the mode of a recorded metric; ``None`` if it is neither given nor declared by the metric's kind."""
        kinds = {name: known.kind for name, known in self.metrics.items()}
        return mode_of_metric(metric, kinds.get) if given == "auto" else given

    @property
    def batches_per_step(self) -> int:
        """Batches of a step, besides accumulation: the n-th update of every phase reads the n-th of them."""
        return max((phase.steps for phase in self.phases.values()), default=1)

    @property
    def examples_per_step(self) -> int:
        """Examples of all batches of a step."""
        return self.batch_size * self.gradient_accumulation_steps * self.batches_per_step

    def steps_of(self, examples: int, *, lanes: bool) -> int:
        """Return the steps of a training with a number of examples; in lanes, those after the last lane are left out.

        Raises:
            AssertionError: neither steps nor epochs are given.
        """
        if self.epochs is None:
            return self.last_step
        size = self.examples_per_step
        epoch = Fraction(examples // size) if lanes else Fraction(examples, size)
        return math.ceil(Fraction(repr(self.epochs)) * epoch)  # 0.1 as it is written, not as it is stored

    @model_validator(mode="after")
    def _runs(self) -> TrainConfig:
        if self.steps is None and self.epochs is None:
            raise ValueError("has neither steps nor epochs; add train.steps=NUMBER or train.epochs=NUMBER")
        if self.steps is not None and self.epochs is not None:
            raise ValueError(
                f"has steps: {self.steps} and epochs: {self.epochs:g}, but one follows from the other; give one of "
                "them, and set the other to null: train.steps=null or train.epochs=null"
            )
        if self.precision == "bfloat16" and self.jit_compile is True:
            raise ValueError(
                "precision is 'bfloat16', which XLA does not speed up on a CPU, but jit_compile is true; "
                "allowed then: auto, update, false"
            )
        if self.update == "joint" and not self.phases:
            raise ValueError("update is 'joint', but there are no phases; give phases, or leave update out")
        return self
