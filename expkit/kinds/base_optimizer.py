"""The optimizer: a registered description that declares its slots and the update of a variable."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.schedules import AnySchedule
from expkit.registry import Kind

__all__ = ["BaseOptimizer", "Optimizer", "Trained", "sum_repeated"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained variable with everything that its update reads beside the gradient."""

    variable: Any
    slots: Sequence[Any]
    """Its slots, in the order of ``Optimizer.slots``."""
    scalars: Sequence[Any]
    """The optimizer's scalars, in the order of ``Optimizer.scalars``; the same for all variables."""
    rate: Any
    """Its learning rate, a scalar of its dtype: the optimizer's times the variable's multiplier."""
    hyperparameters: Sequence[Any]
    """Scalars of its dtype, in the order of ``Optimizer.hyperparameters``."""

    def cast(self, value: Any) -> Any:
        """Cast a number or a tensor to the variable's dtype."""
        return tf.cast(value, self.variable.dtype.base_dtype)


class BaseOptimizer(Kind):
    """The update of variables by gradients; subclass ``Optimizer``, or ``WrappedOptimizer`` for one of TensorFlow's."""

    family: ClassVar[str] = "optimizer"

    learning_rate: AnySchedule
    """Learning rate: a number, or a schedule with its ``kind``."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the rate rises linearly from 0 to the schedule's; 0 for none."""
    global_clipnorm: float | None = Field(default=None, gt=0)
    """Clip gradients to this global L2 norm, in which an id that a batch repeats counts once, with its whole gradient.

    TensorFlow 1 counts each of an embedding's rows by itself, which gives another norm.
    """

    @property
    def slots(self) -> Mapping[str, float]:
        """Initial values of the slots of a trained variable, which have its shape, by the end of their names."""
        return {}

    @property
    def scalars(self) -> Mapping[str, float]:
        """Initial values of the float32 scalars that all variables share, by full name."""
        return {}

    def decoupled_weight_decay(self) -> float:
        """Return the fraction of every trained variable subtracted per step, times the learning rate."""
        return 0.0

    def rate(self, step: Any) -> Any:
        """Return the float32 learning rate of an int64 step: the schedule's, times the warm-up."""
        rate = self.learning_rate.at(step)
        if self.warmup_steps == 0:
            return rate
        return rate * tf.minimum(1.0, tf.cast(step + 1, tf.float32) / self.warmup_steps)

    def slot_names(self, variable: str) -> tuple[str, ...]:
        """Return the full names of a variable's slots."""
        return tuple(f"{variable}/{slot}" for slot in self.slots)


class Optimizer(BaseOptimizer):
    """An optimizer that updates one variable at a time; all variables share its scalars."""

    hyperparameters: ClassVar[tuple[str, ...]] = ()
    """Fields that the update reads as tensors: XLA rounds differently where it knows their values."""

    @abstractmethod
    def apply(self, gradient: Any, trained: Trained) -> Any:
        """Return the operation that updates a variable, and its slots, by a dense gradient of its dtype."""

    def apply_sparse(self, gradient: Any, trained: Trained) -> Any:
        """Return the operation that updates a variable by ``tf.IndexedSlices``, whose indices may repeat.

        By default the gradient is made dense. With ``train.gradient_accumulation_steps``, and where XLA compiles the
        step, every gradient is dense.
        """
        return self.apply(tf.convert_to_tensor(gradient), trained)

    @property
    def leaves_unread_rows(self) -> bool:
        """Whether rows of an embedding that no batch of a step reads keep their value and their slots."""
        return False

    def finish(self, scalars: Sequence[Any]) -> Any:
        """Return the operation that updates the scalars after all variables."""
        return tf.no_op()


def sum_repeated(gradient: Any) -> tuple[Any, Any]:
    """Return the indices of sparse gradients, each once, and the sum of the rows of each."""
    indices, positions = tf.unique(gradient.indices)
    return indices, tf.math.unsorted_segment_sum(gradient.values, positions, tf.shape(indices)[0])
