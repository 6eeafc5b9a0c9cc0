"""Recurrent layers over whole sequences."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from expkit import tf1 as tf
from expkit.kinds.initializers import GlorotUniform, Ones, Zeros
from expkit.kinds.layers.activations import CellActivationName, activate
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.checks import last_size
from expkit.kinds.layers.pytorch import Layout, gru_layouts, lstm_layouts
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.unroll import Cell, State, over_time
from expkit.registry import Positive, register
from expkit.tensor_spec import ShapeError, TensorSpec, fits

__all__ = ["Gru", "Lstm"]


class Recurrent(Layer):
    """Base of the layers that run a cell over the steps of sequences.

    Outputs: the layer's own name (the sequence, or its last output), ``state_h`` and, of an LSTM, ``state_c``. With
    both directions the forward one's half of the last dimension comes first, and variables are under ``fw/`` and
    ``bw/``.
    """

    reads: ClassVar[tuple[str, ...]] = ("lengths", "initial_h")
    units: Positive
    """Size of the state."""
    direction: Literal["forward", "backward", "both"] = "forward"
    """Direction in which the steps are read; ``both`` joins a forward and a backward cell."""
    return_sequences: bool = False
    """Whether to output all steps, [batch, time, units]; otherwise only the last, [batch, units]."""
    lengths: str | None = None
    """Layer or input that holds the length of each sequence, [batch] of integers; by default all steps count."""
    initial_h: str | None = None
    """Layer or input that holds the initial state, [batch, units]; by default zeros."""
    carry: bool = False
    """Whether the state at the end of a batch, of each sequence after its last counting step, starts the next.

    Needs ``data.order: stream``. Gradients stop between batches (truncated backpropagation); the state is zero at the
    start of an epoch, of an evaluation and of every prediction.
    """
    activation: CellActivationName = "tanh"
    """Function of ``tf.nn`` within the cell, all but crelu, which doubles the size; its gates are sigmoids."""

    @model_validator(mode="after")
    def _carries(self) -> Self:
        if self.carry and self.direction != "forward":
            raise ValueError(
                f"carry is true, but direction is '{self.direction}': a state that runs backwards "
                "cannot continue in the next batch; set carry: false, or direction: forward"
            )
        for name in (f"initial_{state}" for state in self._states):
            if self.carry and getattr(self, name) is not None:
                raise ValueError(f"carry is true, so the previous batch gives the initial state; leave out {name}")
        return self

    @property
    def _states(self) -> Mapping[str, int]:
        """Names and sizes of the cell's states, its output first."""
        return {"h": self.units}

    @abstractmethod
    def _declared(self, features: int, dtype: str) -> tuple[Declaration, ...]:
        """Return the variables of one cell."""

    @abstractmethod
    def _layouts(self, features: int) -> Mapping[str, Layout] | str:
        """Return the layouts in PyTorch of one cell's variables, or why PyTorch has no such cell."""

    def _layout(self, name: str, prefix: str, features: int) -> Layout:
        """Return the layout of a variable; the tensors of both directions are under ``fw/`` and ``bw/`` too."""
        other = f"PyTorch's recurrent layers compute with tanh, this one with {self.activation}"
        found = self._layouts(features) if self.activation == "tanh" else other
        if isinstance(found, str):
            return Layout(lacks=found)
        blocks = tuple(replace(block, tensor=prefix + block.tensor) for block in found[name].blocks)
        return Layout(own=prefix + found[name].own, blocks=blocks)

    @abstractmethod
    def _connected(self, variables: Mapping[str, Any], features: int) -> Cell:
        """Return the cell that these variables make."""

    @property
    def _prefixes(self) -> tuple[str, ...]:
        return ("fw/", "bw/") if self.direction == "both" else ("",)

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return the cell's variables; those of both directions under ``fw/`` and ``bw/``."""
        features = self._features(inputs[0])
        return tuple(
            replace(own, name=prefix + own.name, pytorch=self._layout(own.name, prefix, features))
            for prefix in self._prefixes
            for own in self._declared(features, inputs[0].dtype)
        )

    def output_spec(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the output and the last states."""
        self._features(inputs[0])
        dtype, directions = inputs[0].dtype, len(self._prefixes)
        if (lengths := inputs.named.get("lengths")) and (lengths.shape or lengths.dtype not in ("int32", "int64")):
            raise ShapeError(f"{self.kind} needs lengths [batch] of int32 or int64, got {lengths}")
        states = {name: TensorSpec((size * directions,), dtype) for name, size in self._states.items()}
        for name, expected in states.items():
            given = inputs.named.get(f"initial_{name}", expected)
            if not fits(given.shape, expected.shape) or given.dtype != dtype:
                raise ShapeError(f"{self.kind} needs initial_{name} {expected}, got {given}")
        last = states["h"].shape
        output = TensorSpec((inputs[0].shape[0], *last) if self.return_sequences else last, dtype)
        return {"": output, **{f"state_{name}": spec for name, spec in states.items()}}

    def declare_state(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the states of the cell, if it carries them."""
        sizes = self._states if self.carry else {}
        return {name: TensorSpec((size,), inputs[0].dtype) for name, size in sizes.items()}

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Mapping[str, Any]:
        """Run the cell."""
        variables = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
        x, prefixes = inputs[0], self._prefixes
        batch, _, features = sizes_of(x)
        outputs, states = [], []
        for prefix, first in zip(prefixes, zip(*self._first(inputs, batch, call), strict=True), strict=True):
            own = {name.removeprefix(prefix): v for name, v in variables.items() if name.startswith(prefix)}
            output, state = over_time(
                self._connected(own, features),
                x,
                first,
                lengths=inputs.named.get("lengths"),
                backward=self.direction == "backward" or prefix == "bw/",
                sequence=self.return_sequences,
            )
            outputs.append(output)
            states.append(state)
        ends = zip(self._states, zip(*states, strict=True), strict=True)
        last = {f"state_{name}": _joined(tensors) for name, tensors in ends}
        call.next_state.update({name: last[f"state_{name}"] for name in call.state})
        return {"": _joined(outputs) if self.return_sequences else last["state_h"], **last}

    def _first(self, inputs: Inputs[Any], batch: Any, call: Call) -> list[list[Any]]:
        """Return the initial states, each with one tensor per direction."""
        directions, dtype = len(self._prefixes), inputs[0].dtype
        given = {name: call.state.get(name, inputs.named.get(f"initial_{name}")) for name in self._states}
        return [
            [tf.zeros([batch, size], dtype)] * directions
            if given[name] is None
            else tf.split(given[name], directions, axis=-1)
            for name, size in self._states.items()
        ]

    def _features(self, spec: TensorSpec) -> int:
        features = last_size(spec, self.kind)
        if len(spec.shape) != 2:
            raise ShapeError(f"{self.kind} needs [batch, time, features], got {spec}")
        return features


@register
class Lstm(Recurrent):
    """Long short-term memory; owns ``kernel`` [features + units, 4 * units] and ``bias``, as TF1's ``LSTMCell``.

    The kernel's columns are input gate, candidate, forget gate, output gate: checkpoints of ``BasicLSTMCell``,
    ``LSTMCell`` and ``LSTMBlockCell`` fit under a scope such as ``rnn/basic_lstm_cell``.
    """

    kind: Literal["lstm"] = "lstm"
    reads = ("lengths", "initial_h", "initial_c")
    initial_c: str | None = None
    """Layer or input that holds the initial memory, [batch, units]; by default zeros."""
    forget_bias: float = 1.0
    """Added to the forget gate in addition to ``bias`` (``CudnnCompatibleLSTMCell``: 0)."""
    use_peepholes: bool = False
    """Whether the gates read the memory, by ``w_i_diag``, ``w_f_diag`` and ``w_o_diag`` [units]."""
    projection: Positive | None = None
    """Size to which the output is projected by ``projection/kernel``; by default it is not projected."""

    @property
    def _states(self) -> Mapping[str, int]:
        return {"h": self.projection or self.units, "c": self.units}

    def _declared(self, features: int, dtype: str) -> tuple[Declaration, ...]:
        units = self.units
        rows = features + (self.projection or units)
        peepholes = ("w_i_diag", "w_f_diag", "w_o_diag") if self.use_peepholes else ()
        projection = Declaration("projection/kernel", (units, self.projection or units), GlorotUniform(), dtype=dtype)
        return (
            Declaration("kernel", (rows, 4 * units), GlorotUniform(), dtype=dtype),
            Declaration("bias", (4 * units,), Zeros(), dtype=dtype),
            *(Declaration(name, (units,), GlorotUniform(), dtype=dtype) for name in peepholes),
            *((projection,) if self.projection else ()),
        )

    def _layouts(self, features: int) -> Mapping[str, Layout] | str:
        if self.use_peepholes:
            return "PyTorch's LSTM has no peepholes"
        return lstm_layouts(features, self.units, self.projection or self.units, self.forget_bias)

    def _connected(self, variables: Mapping[str, Any], features: int) -> Cell:
        kernel = variables["kernel"]
        kernel, recurrent = tf.split(kernel, [features, kernel.shape[0] - features])
        forget = [0.0] * (2 * self.units) + [self.forget_bias] * self.units + [0.0] * self.units

        def step(projected: Any, state: State) -> State:
            _, c = state
            i, j, f, o = tf.split(projected, 4, axis=-1)
            if self.use_peepholes:
                i, f = i + variables["w_i_diag"] * c, f + variables["w_f_diag"] * c
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * activate(self.activation, j)
            if self.use_peepholes:
                o = o + variables["w_o_diag"] * c
            h = tf.sigmoid(o) * activate(self.activation, c)
            return (tf.matmul(h, variables["projection/kernel"]) if self.projection else h), c

        bias = variables["bias"] + tf.constant(forget, kernel.dtype)
        return Cell(kernel=kernel, bias=bias, step=step, recurrent=recurrent)


@register
class Gru(Recurrent):
    """Gated recurrent unit; owns kernels and biases of its gates (reset, update) and its candidate, as TF1's cells.

    Names and shapes are those of ``GRUCell``: ``gates/kernel``, ``gates/bias``, ``candidate/kernel``,
    ``candidate/bias``; with ``reset_after`` those of ``CudnnCompatibleGRUCell``, where the candidate has
    ``candidate/input_projection/...`` and ``candidate/hidden_projection/...``.
    """

    kind: Literal["gru"] = "gru"
    reset_after: bool = False
    """Whether the reset gate is applied after the product with the state, as cuDNN does."""

    def _declared(self, features: int, dtype: str) -> tuple[Declaration, ...]:
        units = self.units
        rows_of = {"candidate": features + units}
        if self.reset_after:
            rows_of = {"candidate/input_projection": features, "candidate/hidden_projection": units}
        return (
            Declaration("gates/kernel", (features + units, 2 * units), GlorotUniform(), dtype=dtype),
            Declaration("gates/bias", (2 * units,), Ones(), dtype=dtype),
            *(
                declared
                for name, rows in rows_of.items()
                for declared in (
                    Declaration(f"{name}/kernel", (rows, units), GlorotUniform(), dtype=dtype),
                    Declaration(f"{name}/bias", (units,), Zeros(), dtype=dtype),
                )
            ),
        )

    def _layouts(self, features: int) -> Mapping[str, Layout] | str:
        if not self.reset_after:
            return (
                "PyTorch's GRU has its reset gate after the product with the state, as this one with reset_after: true"
            )
        return gru_layouts(features, self.units)

    def _connected(self, variables: Mapping[str, Any], features: int) -> Cell:
        gates, units = variables["gates/kernel"], self.units
        name = "candidate/input_projection" if self.reset_after else "candidate"
        candidate = variables[f"{name}/kernel"]
        hidden = variables["candidate/hidden_projection/kernel"] if self.reset_after else candidate[features:]
        recurrent = gates[features:]

        def step(projected: Any, state: State) -> State:
            (h,) = state
            of_gates, of_candidate = tf.split(projected, [2 * units, units], axis=-1)
            reset, update = tf.split(tf.sigmoid(of_gates + tf.matmul(h, recurrent)), 2, axis=-1)
            if self.reset_after:
                of_h = reset * tf.nn.bias_add(tf.matmul(h, hidden), variables["candidate/hidden_projection/bias"])
            else:
                of_h = tf.matmul(reset * h, hidden)
            new = activate(self.activation, of_candidate + of_h)
            return (update * h + (1 - update) * new,)

        kernel = tf.concat([gates[:features], candidate[:features]], axis=-1)
        bias = tf.concat([variables["gates/bias"], variables[f"{name}/bias"]], axis=-1)
        return Cell(kernel=kernel, bias=bias, step=step)


def _joined(tensors: Any) -> Any:
    return tensors[0] if len(tensors) == 1 else tf.concat(tensors, axis=-1)
