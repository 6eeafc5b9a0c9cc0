"""A learning-rate finder: the training loss while the learning rate rises exponentially (Smith 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from expkit.checkpoints.restore.restore import restore_from
from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import ConfigError, comma_list
from expkit.kinds.schedules import Exponential
from expkit.metric_names import LEARNING_RATE, LOSS
from expkit.preflight import CheckedConfig, with_config
from expkit.training.execution import Execution
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor

__all__ = ["RateCurve", "Rise", "check_one_rate", "find_rates"]

SMOOTHING = 0.9
"""Part of the average of the losses that stays at each step."""
EXPLODED = 4.0
"""Multiple of the lowest smoothed loss beyond which the loss has exploded."""
SETTLING = 10
"""The first tenth of the steps, in which the average of losses is not smooth yet: nothing is suggested there."""


@dataclass(frozen=True, kw_only=True)
class Rise:
    """The range of learning rates to try."""

    low: float
    high: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """The losses of a training whose learning rate rises."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    """Exponential moving average of the losses, without the bias of its start."""
    exploded: bool
    """True if training ended early, because the loss exploded."""

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss falls steepest over log(rate), up to its minimum; ``None`` if nowhere."""
        first = len(self.rates) // SETTLING
        lowest = first + int(np.argmin(self.smoothed[first:])) + 1
        if lowest - first < 3:
            return None
        slope = np.gradient(self.smoothed[first:lowest], np.log(self.rates[first:lowest]))
        steepest = int(np.argmin(slope))
        return float(self.rates[first + steepest]) if slope[steepest] < 0 else None


def check_one_rate(config: Config) -> None:
    """Check that a training has one learning rate.

    Raises:
        ConfigError: it has phases, each with a rate of its own.
    """
    if config.train.phases:
        names = comma_list(config.train.phases)
        message = f"{names} have learning rates of their own, of which none can rise alone; try rates in a sweep"
        raise ConfigError.at("train.phases", message)


def find_rates(checked: CheckedConfig, dataset: Dataset, rise: Rise) -> RateCurve:
    """Train from the initial or restored values with a rate that rises, until the loss explodes; nothing is kept.

    Args:
        checked: the configuration with the values that follow from the data.
        dataset: the data.
        rise: the range of rates, which replaces the schedule of the optimizer and its warm-up.

    Raises:
        CheckpointError: the section ``restore`` does not fit.
    """
    config = checked.config
    rate = Exponential(initial_learning_rate=rise.low, decay_steps=rise.steps - 1, decay_rate=rise.high / rise.low)
    optimizer = config.optimizer.model_copy(update={"learning_rate": rate, "warmup_steps": 0})
    train = config.train.model_copy(update={"steps": 0, "epochs": None})
    checked = with_config(checked, config.model_copy(update={"optimizer": optimizer, "train": train}))
    rates, losses, smoothed = list[float](), list[float](), list[float]()
    average = 0.0
    execution = Execution(1, jit_compile=False, precision=config.train.precision)
    with Executor(train_graph(checked, dataset, execution)) as executor:
        executor.initialize()
        if config.restore.from_ is not None:
            values = restore_from(checked).values
            executor.load({name: value for name, value in values.items() if name != "global_step"})
        for step in range(rise.steps):
            sums = executor.run(1)[LOSS]
            loss = float(sums["sum"] / sums["count"])
            if not math.isfinite(loss):
                break
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            rates.append(executor.learning_rates[LEARNING_RATE])
            losses.append(loss)
            smoothed.append(average / (1 - SMOOTHING ** (step + 1)))
            lowest = min(smoothed)
            if step >= rise.steps // SETTLING and smoothed[-1] - lowest > (EXPLODED - 1) * abs(lowest):
                break
    if not rates:
        raise ConfigError.at("--from", f"the loss is not finite at a learning rate of {rise.low:g} already")
    return RateCurve(
        rates=np.array(rates),
        losses=np.array(losses),
        smoothed=np.array(smoothed),
        exploded=len(rates) < rise.steps or smoothed[-1] > EXPLODED * min(smoothed),
    )
