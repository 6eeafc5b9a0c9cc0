"""Optimizers: their slots, their counters, their update of a variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.base_optimizer import Optimizer, Trained, sum_repeated
from expkit.registry import register

__all__ = ["Adagrad", "Adam", "AdamW", "Momentum", "RMSProp", "Sgd"]


@register
class Sgd(Optimizer):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"

    def apply(self, gradient: Any, trained: Trained) -> Any:
        """Return ``v -= rate * gradient``."""
        return tf.raw_ops.ResourceApplyGradientDescent(var=trained.variable.handle, alpha=trained.rate, delta=gradient)

    def apply_sparse(self, gradient: Any, trained: Trained) -> Any:
        """Return ``v[indices] -= rate * rows``."""
        updates = -gradient.values * trained.rate
        return tf.raw_ops.ResourceScatterAdd(
            resource=trained.variable.handle, indices=gradient.indices, updates=updates
        )


@register
class Momentum(Optimizer):
    """Gradient descent with momentum, plain or Nesterov's."""

    kind: Literal["momentum"] = "momentum"
    hyperparameters = ("momentum",)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Fraction of the last update that is kept."""
    nesterov: bool = False
    """Whether to look ahead (Sutskever et al. 2013)."""
    lazy: bool = True
    """Whether only those rows of an embedding move that the step's batches read, as in TensorFlow 1; if false, all rows
    move by their momentum, as in Keras."""

    @property
    def slots(self) -> Mapping[str, float]:
        """The accumulated gradient."""
        return {"Momentum": 0.0}

    def apply(self, gradient: Any, trained: Trained) -> Any:
        """Return ``m = momentum * m + gradient; v -= rate * m``."""
        return tf.raw_ops.ResourceApplyMomentum(grad=gradient, **self._arguments(trained))

    @property
    def leaves_unread_rows(self) -> bool:
        """Return ``lazy``."""
        return self.lazy

    def apply_sparse(self, gradient: Any, trained: Trained) -> Any:
        """Return the same for the rows that have a gradient; others keep their momentum, unless ``lazy`` is false."""
        if not self.lazy:
            return super().apply_sparse(gradient, trained)
        indices, rows = sum_repeated(gradient)
        return tf.raw_ops.ResourceSparseApplyMomentum(grad=rows, indices=indices, **self._arguments(trained))

    def _arguments(self, trained: Trained) -> dict[str, Any]:
        return {
            "var": trained.variable.handle,
            "accum": trained.slots[0].handle,
            "lr": trained.rate,
            "momentum": trained.hyperparameters[0],
            "use_nesterov": self.nesterov,
        }


@register
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"] = "adam"
    hyperparameters = ("beta_1", "beta_2", "epsilon")
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the root."""

    @property
    def slots(self) -> Mapping[str, float]:
        """The means of gradients and of squared gradients."""
        return {"Adam": 0.0, "Adam_1": 0.0}

    @property
    def scalars(self) -> Mapping[str, float]:
        """The powers of both decays, for the correction of both means."""
        return {"beta1_power": self.beta_1, "beta2_power": self.beta_2}

    def apply(self, gradient: Any, trained: Trained) -> Any:
        """Return the update as the paper's section 2 has it at its end, with epsilon outside the correction."""
        (mean, square), (power_1, power_2) = trained.slots, trained.scalars
        beta_1, beta_2, epsilon = trained.hyperparameters
        return tf.raw_ops.ResourceApplyAdam(
            var=trained.variable.handle,
            m=mean.handle,
            v=square.handle,
            beta1_power=trained.cast(power_1),
            beta2_power=trained.cast(power_2),
            lr=trained.rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=gradient,
        )

    def apply_sparse(self, gradient: Any, trained: Trained) -> Any:
        """Return the dense update of a gradient that is zero in all other rows: their means decay too."""
        indices, rows = sum_repeated(gradient)
        power_1, power_2 = (trained.cast(power) for power in trained.scalars)
        beta_1, beta_2, epsilon = trained.hyperparameters
        mean = _decay_and_add(trained.slots[0], beta_1, indices, rows * (1 - beta_1))
        square = _decay_and_add(trained.slots[1], beta_2, indices, (rows * rows) * (1 - beta_2))
        rate = trained.rate * tf.sqrt(1 - power_2) / (1 - power_1)
        return trained.variable.assign_sub(rate * mean / (tf.sqrt(square) + epsilon), read_value=False)

    def finish(self, scalars: Sequence[Any]) -> Any:
        """Return the next powers of both decays."""
        pairs = zip(scalars, (self.beta_1, self.beta_2), strict=True)
        return tf.group([power.assign(power * beta, read_value=False) for power, beta in pairs])


def _decay_and_add(slot: Any, decay: Any, indices: Any, rows: Any) -> Any:
    """Multiply a slot by a factor, add to some of its rows; return its new value."""
    with tf.control_dependencies([slot.assign(slot * decay, read_value=False)]):
        added = tf.raw_ops.ResourceScatterAdd(resource=slot.handle, indices=indices, updates=rows)
    with tf.control_dependencies([added]):
        return slot.read_value()


@register
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): ``v -= rate * weight_decay * v`` first."""

    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]  # every kind has a name of its own
    weight_decay: float = Field(default=0.004, ge=0)
    """Fraction of every trained variable subtracted per step, times the learning rate."""

    def decoupled_weight_decay(self) -> float:
        """Return ``weight_decay``."""
        return self.weight_decay


@register
class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton 2012)."""

    kind: Literal["rmsprop"] = "rmsprop"
    hyperparameters = ("rho", "momentum", "epsilon")
    rho: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of the last update that is kept."""
    epsilon: float = Field(default=1e-7, gt=0)
    """Added to the mean of squares."""
    initial_mean_square: float = Field(default=1.0, ge=0)
    """Initial value of the mean of squared gradients: 1 as in TensorFlow 1, which makes the first steps short; 0 as in
    Keras, which makes them long."""
    lazy: bool = True
    """Whether only those rows of an embedding, and of its slots, change that the step's batches read, as in TensorFlow
    1; if false, all rows do, as in Keras."""

    @property
    def slots(self) -> Mapping[str, float]:
        """The mean of squared gradients, and the last update."""
        return {"RMSProp": self.initial_mean_square, "RMSProp_1": 0.0}

    def apply(self, gradient: Any, trained: Trained) -> Any:
        """Return ``u = momentum * u + rate * gradient / sqrt(mean of squares + epsilon); v -= u``."""
        return tf.raw_ops.ResourceApplyRMSProp(grad=gradient, **self._arguments(trained))

    @property
    def leaves_unread_rows(self) -> bool:
        """Return ``lazy``."""
        return self.lazy

    def apply_sparse(self, gradient: Any, trained: Trained) -> Any:
        """Return the same for the rows that have a gradient; others keep their slots, unless ``lazy`` is false."""
        if not self.lazy:
            return super().apply_sparse(gradient, trained)
        indices, rows = sum_repeated(gradient)
        return tf.raw_ops.ResourceSparseApplyRMSProp(grad=rows, indices=indices, **self._arguments(trained))

    def _arguments(self, trained: Trained) -> dict[str, Any]:
        square, update = trained.slots
        rho, momentum, epsilon = trained.hyperparameters
        return {
            "var": trained.variable.handle,
            "ms": square.handle,
            "mom": update.handle,
            "lr": trained.rate,
            "rho": rho,
            "momentum": momentum,
            "epsilon": epsilon,
        }


@register
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: float = Field(default=0.1, gt=0)
    """Initial value of the sum of squared gradients."""

    @property
    def slots(self) -> Mapping[str, float]:
        """The sum of squared gradients."""
        return {"Adagrad": self.initial_accumulator_value}

    def apply(self, gradient: Any, trained: Trained) -> Any:
        """Return ``a += gradient ** 2; v -= rate * gradient / sqrt(a)``."""
        return tf.raw_ops.ResourceApplyAdagrad(grad=gradient, **self._arguments(trained))

    def apply_sparse(self, gradient: Any, trained: Trained) -> Any:
        """Return the same for the rows that have a gradient."""
        indices, rows = sum_repeated(gradient)
        return tf.raw_ops.ResourceSparseApplyAdagrad(grad=rows, indices=indices, **self._arguments(trained))

    def _arguments(self, trained: Trained) -> dict[str, Any]:
        return {"var": trained.variable.handle, "accum": trained.slots[0].handle, "lr": trained.rate}
