"""A block as the cell of a recurrent layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import model_validator

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs
from expkit.kinds.layers.looped import Cell, Looped, of_shape, where_rows
from expkit.kinds.layers.operations import unrolls
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["Scan"]

States = dict[str, Any]
"""Tensors by name."""
Advance = Callable[[Any, States, States], tuple[States, States]]
"""Takes an index, a step of the sequences and the states; returns the outputs and the next states."""


@register
class Scan(Looped):
    """The layers of ``network.blocks.BLOCK`` as a cell, connected once per step of sequences, one step after the other.

    Outputs: the layer's own name holds the block's output of all steps, [batch, time, ...], ``NAME`` that of the
    block's output ``NAME``, ``state_NAME`` a state after the last step.
    """

    kind: Literal["scan"] = "scan"
    reads = ("lengths",)
    inputs: dict[str, str] = {}
    """Sequences, [batch, time, ...], by the names by which the block's layers read one step, [batch, ...]."""
    steps: Positive | None = None
    """Number of steps where there are no ``inputs``, as in a network that only generates."""
    lengths: str | None = None
    """Layer or input that holds the length of each sequence, [batch] of integers; by default all steps count.

    Beyond it outputs are 0 and states stay."""
    reverse: bool = False
    """Whether the steps are done from the last to the first; outputs keep their positions."""
    carry: bool = False
    """Whether the states of a ``shape`` are carried from one batch to the next, as those of ``lstm``.

    Needs ``data.order: stream``; gradients stop between batches."""

    @model_validator(mode="after")
    def _carries_forward(self) -> Scan:
        if self.carry and self.reverse:
            raise ValueError(
                "carry is true, but reverse is, too: a state that runs backwards cannot continue in the next batch"
            )
        if self.carry and all(state.shape is None for state in self.states.values()):
            raise ValueError("carry is true, but no state has a 'shape'; what starts as 'initial' is not carried")
        return self

    @model_validator(mode="after")
    def _has_steps(self) -> Scan:
        if bool(self.inputs) == (self.steps is not None):
            raise ValueError("the number of steps is that of the sequences in 'inputs', or 'steps'; give one of them")
        if not self.references:
            raise ValueError("the number of examples is unknown; give 'inputs', 'constants' or an 'initial' state")
        return self

    @property
    def read_inside(self) -> dict[str, str]:
        """Names by which the block's layers read what this layer gives them, by the field that gives each."""
        return {f"inputs.{name}": name for name in self.inputs} | super().read_inside

    @property
    def references(self) -> dict[str, str]:
        """Layers and inputs that it reads by name, by the field that names them."""
        return {f"inputs.{name}": read for name, read in self.inputs.items()} | super().references

    def read_specs(self, inputs: Inputs[TensorSpec]) -> dict[str, TensorSpec]:
        """Return one step of the sequences, constants and states."""
        lengths = inputs.named.get("lengths")
        if lengths is not None and (lengths.shape or lengths.dtype not in ("int32", "int64")):
            raise ShapeError(f"scan needs lengths [batch] of int32 or int64, got {lengths}")
        sequences = {name: inputs.named[f"inputs.{name}"] for name in self.inputs}
        for name, spec in sequences.items():
            if not spec.shape:
                raise ShapeError(f"scan needs inputs.{name} [batch, time, ...], got {spec}; give it in constants")
        counts = {spec.shape[0] for spec in sequences.values()} - {None}
        if len(counts) > 1:
            sizes = ", ".join(f"{name} has {spec.shape[0]}" for name, spec in sequences.items())
            raise ShapeError(f"scan needs inputs of one number of steps: {sizes}")
        step = {name: TensorSpec(spec.shape[1:], spec.dtype, spec.batched) for name, spec in sequences.items()}
        return {**step, **self._same_every_step(inputs), **self._state_specs(inputs)}

    def looped_spec(self, inputs: Inputs[TensorSpec], cell: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the block's outputs with the number of steps before their other sizes, and the last states."""
        self._check_states(inputs, cell)
        known = [inputs.named[f"inputs.{name}"].shape[0] for name in self.inputs]
        count = self.steps or next((count for count in known if count is not None), None)
        states = {f"state_{name}": cell[name] for name in self.states}
        if both := sorted(states.keys() & cell.keys()):
            raise ShapeError(f"the last state and an output of block '{self.block}' are both called '{both[0]}'")
        for name, spec in cell.items():
            if not spec.batched and any(read.batched for read in inputs.named.values()):
                output = f"output '{name}'" if name else "the output"
                raise ShapeError(
                    f"{output} of block '{self.block}' is the same for every example; give its layer batch_of"
                )
        return {name: TensorSpec((count, *spec.shape), spec.dtype) for name, spec in cell.items()} | states

    def declare_state(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the states that are carried."""
        return {name: spec for name, spec in self._state_specs(inputs).items() if self._carries(name)}

    def run(self, cell: Cell, inputs: Inputs[Any], call: Call) -> Mapping[str, Any]:
        """Connect the block in every step."""
        states, constants = {**self._first_states(inputs), **call.state}, self._same_every_step(inputs)
        sequences = {name: inputs.named[f"inputs.{name}"] for name in self.inputs}
        lengths = inputs.named.get("lengths")

        def advance(index: Any, read: States, states: States) -> tuple[States, States]:
            outputs = dict(cell.step({**read, **constants, **states}, index))
            after = {name: of_shape(outputs[name], states[name]) for name in states}
            if lengths is None:
                return outputs, after
            counts = tf.cast(index, lengths.dtype) < lengths
            outputs = {name: where_rows(counts, output, tf.zeros_like(output)) for name, output in outputs.items()}
            return outputs, {name: where_rows(counts, after[name], states[name]) for name in states}

        static = {tensor.shape[1] for tensor in sequences.values()} - {None}
        known = self.steps or next(iter(static), None)
        with tf.name_scope("steps"):
            if unrolls(known):
                outputs, states = self._unrolled(advance, sequences, states, known)
            else:
                batch = next(iter(inputs.named.values())).shape[0]
                shapes = {name: (spec.dtype, (batch, *spec.shape)) for name, spec in cell.outputs.items()}
                outputs, states = self._looped(advance, sequences, states, known, shapes)
        call.next_state.update({name: state for name, state in states.items() if self._carries(name)})
        return {**outputs, **{f"state_{name}": state for name, state in states.items()}}

    def _carries(self, name: str) -> bool:
        """Return whether a state is carried from batch to batch."""
        return self.carry and self.states[name].shape is not None

    def _unrolled(self, advance: Advance, sequences: States, states: States, count: Any) -> tuple[States, States]:
        parts = {name: tf.unstack(tensor, count, axis=1) for name, tensor in sequences.items()}
        every: list[States] = [{}] * count
        for index in reversed(range(count)) if self.reverse else range(count):
            every[index], states = advance(index, {name: steps[index] for name, steps in parts.items()}, states)
        return {name: tf.stack([outputs[name] for outputs in every], axis=1) for name in every[0]}, states

    def _looped(
        self, advance: Advance, sequences: States, states: States, known: int | None, shapes: Mapping[str, Any]
    ) -> tuple[States, States]:
        count = _count(sequences) if known is None else known
        read = {name: _array(_time_first(tensor), count) for name, tensor in sequences.items()}
        written = {name: tf.TensorArray(dtype, count, element_shape=shape) for name, (dtype, shape) in shapes.items()}

        def body(done: Any, written: dict[str, Any], states: States) -> Any:
            index = count - 1 - done if self.reverse else done
            outputs, states = advance(index, {name: array.read(index) for name, array in read.items()}, states)
            return done + 1, {name: array.write(index, outputs[name]) for name, array in written.items()}, states

        _, written, states = tf.while_loop(
            lambda done, *_: done < count, body, (tf.constant(0), written, states), maximum_iterations=known
        )
        return {name: _time_first(array.stack()) for name, array in written.items()}, states


def _count(sequences: States) -> Any:
    """Return the number of steps of sequences that must have the same."""
    first, *others = (tf.shape(tensor)[1] for tensor in sequences.values())
    checks = [
        tf.raw_ops.Assert(condition=tf.equal(first, other), data=["scan needs inputs of one number of steps:", *both])
        for other in others
        for both in [(first, other)]
    ]
    with tf.control_dependencies(checks):
        return tf.identity(first)


def _array(steps: Any, count: Any) -> Any:
    """Return an array of the steps of a tensor whose first dimension they are."""
    return tf.TensorArray(steps.dtype, count, element_shape=steps.shape[1:]).unstack(steps)


def _time_first(tensor: Any) -> Any:
    """Return a tensor with its first two dimensions swapped."""
    return tf.transpose(tensor, (1, 0, *range(2, tensor.shape.rank)))
