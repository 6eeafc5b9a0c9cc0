"""Learning rates as functions of the global step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema

from expkit import tf1 as tf
from expkit.kinds.numbers import in_dtype, scalar
from expkit.registry import Kind, KindsOf, Positive, register

__all__ = ["AnySchedule", "Constant", "Schedule"]

Rate = Annotated[float, Field(ge=0)]


class Schedule(Kind):
    """A learning rate for every step; the formulas are those of ``tf.compat.v1.train``."""

    family: ClassVar[str] = "schedule"

    @abstractmethod
    def at(self, step: Any) -> Any:
        """Return the float32 learning rate of an int64 step, counted from 0."""

    def over(self, steps: int) -> Schedule:
        """Return the schedule of a training with this number of steps; most are the same for any."""
        return self


class Decay(Schedule):
    """A schedule that falls over some steps, by default over the whole training."""

    initial_learning_rate: Rate
    """Rate at step 0."""
    decay_steps: Positive | None = None
    """Steps of the fall; ``null`` for all steps of the training."""

    def over(self, steps: int) -> Schedule:
        """Return the schedule with its number of steps."""
        return self if self.decay_steps is not None else self.model_copy(update={"decay_steps": max(1, steps)})


def _number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"kind": "constant", "value": value}
    if not isinstance(value, dict | Schedule):
        raise ValueError(f"needs a number or a schedule with its kind, got {value!r}")
    return value


class _OrNumber:
    """Annotation by which JSON Schema allows a plain number too."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "minimum": 0}, handler(schema)]}


AnySchedule = Annotated[Schedule, KindsOf("schedule"), BeforeValidator(_number), _OrNumber()]
"""A schedule, or a number that stands for ``{kind: constant, value: NUMBER}``."""


@register
class Constant(Schedule):
    """The same rate at every step; a plain number means this."""

    kind: Literal["constant"] = "constant"
    value: Rate
    """The learning rate."""

    @model_serializer
    def _as_number(self) -> float:
        return self.value  # So that a run's configuration and params show what the user wrote.

    def at(self, step: Any) -> Any:
        """Return the value."""
        return scalar(self.value, tf.float32)


@register
class Exponential(Decay):
    """``initial * decay_rate ** (step / decay_steps)``."""

    kind: Literal["exponential"] = "exponential"
    decay_steps: Positive | None = None
    """Steps over which the rate is multiplied by ``decay_rate`` once; ``null`` for all steps of the training."""
    decay_rate: float = Field(gt=0)
    """Factor per ``decay_steps``."""
    staircase: bool = False
    """Whether the exponent is rounded down, so that the rate falls in steps."""

    def at(self, step: Any) -> Any:
        """Return ``tf.compat.v1.train.exponential_decay``."""
        return tf.train.exponential_decay(
            in_dtype(self.initial_learning_rate, tf.float32), step, self.decay_steps, self.decay_rate, self.staircase
        )


@register
class Cosine(Decay):
    """Half a cosine from the initial rate down to ``alpha`` times it (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    decay_steps: Positive | None = None
    """Steps until the lowest rate, which is then kept; ``null`` for all steps of the training."""
    alpha: float = Field(default=0.0, ge=0, le=1)
    """Lowest rate, as a fraction of the initial rate."""

    def at(self, step: Any) -> Any:
        """Return ``tf.compat.v1.train.cosine_decay``."""
        return tf.train.cosine_decay(
            in_dtype(self.initial_learning_rate, tf.float32), step, self.decay_steps, self.alpha
        )


@register
class Piecewise(Schedule):
    """One rate up to and including each boundary, another after it."""

    kind: Literal["piecewise"] = "piecewise"
    boundaries: tuple[int, ...] = Field(min_length=1, strict=False)
    """Steps at which the rate changes, ascending."""
    values: tuple[float, ...] = Field(strict=False)
    """Rates, one more than boundaries."""

    @model_validator(mode="after")
    def _fits(self) -> Piecewise:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"piecewise needs one more value than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries"
            )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(f"piecewise boundaries must ascend, got {list(self.boundaries)}")
        return self

    def at(self, step: Any) -> Any:
        """Return ``tf.compat.v1.train.piecewise_constant``."""
        return tf.train.piecewise_constant(step, list(self.boundaries), list(self.values))


@register
class Polynomial(Decay):
    """A power of the fraction of steps left, from the initial rate to the end rate."""

    kind: Literal["polynomial"] = "polynomial"
    decay_steps: Positive | None = None
    """Steps until the end rate, which is then kept; ``null`` for all steps of the training."""
    end_learning_rate: Rate = 0.0001
    """Lowest rate."""
    power: float = Field(default=1.0, gt=0)
    """Exponent; 1 is linear."""

    def at(self, step: Any) -> Any:
        """Return ``tf.compat.v1.train.polynomial_decay``."""
        return tf.train.polynomial_decay(
            in_dtype(self.initial_learning_rate, tf.float32), step, self.decay_steps, self.end_learning_rate, self.power
        )
