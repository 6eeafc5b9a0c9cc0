"""The looped layer: base of the layers that connect a block once per time step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, model_validator

from expkit import tf1 as tf
from expkit.errors import unknown
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.registry import Positive, Section
from expkit.tensor_spec import DType, ShapeError, TensorSpec, fits

__all__ = ["Cell", "Looped", "State", "of_shape", "where_rows", "with_dense_gradient"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A block, ready to be connected in any number of steps."""

    outputs: Mapping[str, TensorSpec]
    """The block's outputs in one step, by name; its own output is called ``""``."""
    step: Callable[[Mapping[str, Any], Any], Mapping[str, Any]]
    """Takes what the block's layers read, by name, and the index of the step; returns the outputs."""


class State(Section):
    """A state of a cell: zeros of a shape, or a tensor, before the first step."""

    shape: tuple[Positive, ...] | None = None
    """Shape, without the batch dimension, of a state that starts as zeros."""
    dtype: DType | None = None
    """Dtype of a state that starts as zeros; by default float32."""
    initial: str | None = None
    """Layer or input that holds the first value, instead of ``shape``."""

    @model_validator(mode="after")
    def _starts(self) -> State:
        if (self.shape is None) == (self.initial is None):
            raise ValueError("a state starts as zeros of a 'shape', or as a layer, 'initial'; give one of them")
        if self.initial is not None and self.dtype is not None:
            raise ValueError("'dtype' is that of the 'initial' layer; leave it out, or convert that by kind 'cast'")
        return self


class Looped(Layer):
    """Base of the layers that connect a block once per time step, with the same variables in every step.

    The variables are created once, under this layer's scope, by the rules that hold for kind ``block``. Layers of the
    block read only each other and what this layer gives them by name.
    """

    arity: ClassVar[tuple[int, int | None]] = (0, 0)
    trains: ClassVar[bool] = True
    """Whether the block's layers are connected for training in a training step."""

    block: str
    """Name of the block of ``network.blocks``."""
    arguments: dict[str, Any] = {}
    """Values of the block's arguments, by name, as those of kind ``block``."""
    constants: dict[str, str] = {}
    """Tensors that are the same in every step, by the names by which the block's layers read them."""
    states: dict[str, State] = Field(default={})
    """Tensors that go from step to step, by name: the block's output of that name is the next value."""

    @model_validator(mode="after")
    def _names_differ(self) -> Looped:
        if self.input is not None:
            raise ValueError(f"kind '{self.kind}' reads by names; remove 'input' and name the layer in 'constants'")
        names = list(self.read_inside.values())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the block's layers would read two tensors as '{twice[0]}'; rename one")
        return self

    @property
    def read_inside(self) -> dict[str, str]:
        """Names by which the block's layers read what this layer gives them, by the field that gives each."""
        names = {f"constants.{name}": name for name in self.constants}
        return names | {f"states.{name}": name for name in self.states}

    @property
    def references(self) -> dict[str, str]:
        """Layers and inputs that it reads by name, by the field that names them."""
        initial = {f"states.{name}.initial": state.initial for name, state in self.states.items()}
        return {
            **{f"constants.{name}": read for name, read in self.constants.items()},
            **{field: name for field, name in initial.items() if name is not None},
            **super().references,
        }

    @abstractmethod
    def read_specs(self, inputs: Inputs[TensorSpec]) -> dict[str, TensorSpec]:
        """Return shape and dtype of what the block's layers read in one step, by name.

        Raises:
            ShapeError: the inputs do not fit.
        """

    @abstractmethod
    def looped_spec(self, inputs: Inputs[TensorSpec], cell: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the outputs, given those of the block in one step; the block's own output is called ``""``.

        Raises:
            ShapeError: the block's outputs do not fit.
        """

    @abstractmethod
    def run(self, cell: Cell, inputs: Inputs[Any], call: Call) -> Mapping[str, Any]:
        """Connect the block in every step; return the outputs."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Never called: the outputs depend on the block's."""
        raise AssertionError("see looped_spec")

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Never called: the block's layers are connected by ``run``."""
        raise AssertionError("see run")

    def _same_every_step(self, inputs: Inputs[Any]) -> dict[str, Any]:
        """Return constants by the names by which the block's layers read them."""
        return {name: inputs.named[f"constants.{name}"] for name in self.constants}

    def _state_specs(self, inputs: Inputs[TensorSpec]) -> dict[str, TensorSpec]:
        """Return shape and dtype of the states."""
        batched = any(spec.batched for spec in inputs.named.values())
        return {
            name: TensorSpec(state.shape, state.dtype or "float32", batched=batched)
            if state.shape is not None
            else inputs.named[f"states.{name}.initial"]
            for name, state in self.states.items()
        }

    def _first_states(self, inputs: Inputs[Any]) -> dict[str, Any]:
        """Return the states before the first step."""
        batch = sizes_of(next(iter(inputs.named.values())))[0]
        return {
            name: tf.zeros([batch, *state.shape], state.dtype or "float32")
            if state.shape is not None
            else inputs.named[f"states.{name}.initial"]
            for name, state in self.states.items()
        }

    def _check_states(self, inputs: Inputs[TensorSpec], cell: Mapping[str, TensorSpec]) -> None:
        """Check that the block returns every state, in its shape and dtype.

        Raises:
            ShapeError: it does not.
        """
        for name, spec in self._state_specs(inputs).items():
            if name not in cell:
                has = unknown(f"has no output '{name}'", name, [output for output in cell if output])
                raise ShapeError(f"state '{name}' needs its next value, but block '{self.block}' {has}")
            after = cell[name]
            if not fits(after.shape, spec.shape) or (after.dtype, after.batched) != (spec.dtype, spec.batched):
                raise ShapeError(
                    f"state '{name}' is {spec}, but its next value, output '{name}' of block '{self.block}', is {after}"
                )


def of_shape(tensor: Any, other: Any) -> Any:
    """Return a tensor that has the known sizes of another one, too: a loop's tensors keep theirs."""
    tensor = tf.identity(tensor)
    tensor.set_shape(other.shape)
    return tensor


def where_rows(conditions: Any, tensor: Any, other: Any) -> Any:
    """Return the examples of a tensor where a condition, [batch], is true, and those of another elsewhere."""
    return tf.where_v2(tf.reshape(conditions, [-1] + [1] * (tensor.shape.rank - 1)), tensor, other)


def with_dense_gradient(variable: Any) -> Any:
    """Return a tensor whose gradient is dense: that of a table is in a loop, and would be sparse in unrolled steps.

    Optimizers that leave unread rows alone would train otherwise by the one than by the other.
    """
    return tf.custom_gradient(lambda x: (tf.identity(x), tf.convert_to_tensor))(variable)
