"""Optimizers: those of ``tf.compat.v1.train``, with their slot variables known by name."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.schedules import AnySchedule
from expkit.registry import Kind, register

__all__ = ["Optimizer"]


class Optimizer(Kind):
    """How gradients change variables."""

    family: ClassVar[str] = "optimizer"
    slots: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the variables kept beside every trained variable, which have its shape."""
    scalars: ClassVar[tuple[str, ...]] = ()
    """Full names of the variables kept once."""

    learning_rate: AnySchedule
    """Learning rate: a number, or a schedule with its ``kind``."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the rate rises in a line from 0 to the schedule's; 0 for none."""
    global_clipnorm: float | None = Field(default=None, gt=0)
    """Longest the joined gradient may be; a longer one is scaled down (``tf.clip_by_global_norm``)."""

    def decay_share(self) -> float:
        """Return the share of every trained variable taken off per step, in units of the learning rate."""
        return 0.0

    def rate(self, step: Any) -> Any:
        """Return the float32 learning rate of an int64 step: the schedule, times the warm-up."""
        rate = self.learning_rate.at(step)
        if self.warmup_steps == 0:
            return rate
        return rate * tf.minimum(1.0, tf.cast(step + 1, tf.float32) / self.warmup_steps)

    def slot_names(self, variable: str) -> tuple[str, ...]:
        """Return the full names of the slots kept beside a variable."""
        return tuple(f"{variable}/{slot}" for slot in self.slots)

    @abstractmethod
    def make(self, rate: Any) -> Any:
        """Return the ``tf.compat.v1.train.Optimizer`` for a learning-rate tensor."""


@register
class Sgd(Optimizer):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"

    def make(self, rate: Any) -> Any:
        """Return ``GradientDescentOptimizer``."""
        return tf.train.GradientDescentOptimizer(rate)


@register
class Momentum(Optimizer):
    """Gradient descent with momentum, plain or Nesterov's."""

    kind: Literal["momentum"] = "momentum"
    slots = ("Momentum",)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """How much of the last update is kept."""
    nesterov: bool = False
    """Whether to look ahead (Sutskever et al. 2013)."""

    def make(self, rate: Any) -> Any:
        """Return ``MomentumOptimizer``."""
        return tf.train.MomentumOptimizer(rate, self.momentum, use_nesterov=self.nesterov)


@register
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"] = "adam"
    slots = ("Adam", "Adam_1")
    scalars = ("beta1_power", "beta2_power")
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the root."""

    def make(self, rate: Any) -> Any:
        """Return ``AdamOptimizer``."""
        return tf.train.AdamOptimizer(rate, self.beta_1, self.beta_2, self.epsilon)


@register
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): ``v -= rate * weight_decay * v`` first."""

    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]  # narrower than Adam's on purpose
    weight_decay: float = Field(default=0.004, ge=0)
    """Share of every trained variable taken off per step, times the learning rate."""

    def decay_share(self) -> float:
        """Return ``weight_decay``."""
        return self.weight_decay


@register
class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    slots = ("RMSProp", "RMSProp_1")
    rho: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """How much of the last update is kept."""
    epsilon: float = Field(default=1e-7, gt=0)
    """Added to the mean of squares."""

    def make(self, rate: Any) -> Any:
        """Return ``RMSPropOptimizer``."""
        return tf.train.RMSPropOptimizer(rate, self.rho, self.momentum, self.epsilon)


@register
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    slots = ("Adagrad",)
    initial_accumulator_value: float = Field(default=0.1, gt=0)
    """First value of the sum of squared gradients."""

    def make(self, rate: Any) -> Any:
        """Return ``AdagradOptimizer``."""
        return tf.train.AdagradOptimizer(rate, self.initial_accumulator_value)
