"""The elaborated network: a value with every name and shape, before any graph exists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from expkit.config.sections.network import Use
from expkit.kinds.evaluated import Readable
from expkit.kinds.layers.base import Layer
from expkit.network.environment import Average
from expkit.network.names import Reuse, join, state_name
from expkit.network.sides import Side, SideName
from expkit.network.variables import VariableSpec
from expkit.tensor_spec import TensorSpec

__all__ = ["LayerSpec", "NetworkSpec"]

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer with the tensors it reads, the variables it uses and the tensors it returns."""

    path: str
    """Names of the enclosing scopes and of the layer, joined by ``/``."""
    layer: Layer
    """As described; not ``trainable`` inside a scope that is not."""
    inputs: tuple[str, ...]
    """Paths of the tensors it reads."""
    named: Mapping[str, str]
    """Paths of further tensors it reads, by the field that names them."""
    scope: str
    """Full name of the variable scope."""
    reuse: Reuse
    """Reuse in force, inherited from enclosing scopes."""
    bindings: Mapping[str, str]
    """Full names of variables by the layer's own names for them, in the order in which they are created."""
    shared: Mapping[str, bool]
    """Variables of other layers, by the layer's own names for them: True if transposed."""
    outputs: Mapping[str, TensorSpec]
    """Outputs by name; the layer's own name stands for the output ``""``."""
    average: Average | None
    """Its original, whose variables it has; of those that are ``averaged`` it reads the EMA."""
    averaged: tuple[str, ...]
    """Full names of the variables whose EMA it reads in their place."""
    state: Mapping[str, TensorSpec]
    """State that the layer carries from batch to batch, per example, by its own names."""

    def state_variable(self, name: str) -> str:
        """Return the full name of a state in checkpoints: a layer's own, whatever variables it shares."""
        return state_name(self.path, name)

    cell: NetworkSpec | None = None
    """Network of one step, of a layer that connects a block once per step."""

    @property
    def every_layer(self) -> Iterator[LayerSpec]:
        """The layer itself, or those of its cell."""
        yield from (self,) if self.cell is None else self.cell.every_layer

    def tensor(self, output: str) -> str:
        """Return the path of an output, which is also the name of its tensor: ``layer`` or ``layer/output``."""
        return join(self.path, output)


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network with every name and shape known."""

    inputs: Mapping[str, TensorSpec]
    layers: tuple[LayerSpec, ...]
    """In topological order: each follows the layers it reads."""
    variables: Mapping[str, VariableSpec]
    """By full name, in the order in which they are created."""
    tensors: Mapping[str, TensorSpec]
    """Network inputs and all outputs of layers, by path."""
    outputs: Mapping[str, str]
    """Paths of tensors, by the output's name."""
    creators: tuple[LayerSpec, ...]
    """Layers that create the variables, in their order: all of the network, also where ``layers`` are of one side."""
    sides: Mapping[SideName, Side]
    """Parts training and serving need, where they differ; empty where every input and output has use ``always``."""

    @cached_property
    def trained(self) -> NetworkSpec:
        """The network of training and evaluation, with the variables of both sides: one checkpoint has them all."""
        return self._of("training")

    @cached_property
    def served(self) -> NetworkSpec:
        """The network that is frozen, with the variables that it reads."""
        served = self._of("serving")
        read = {full for layer in served.layers for full in layer.bindings.values()}
        return served if served is self else replace(served, variables=_only(self.variables, read))

    def _of(self, name: SideName) -> NetworkSpec:
        if not self.sides:
            return self
        side = self.sides[name]
        layers = tuple(layer for layer in self.layers if layer.path in side.needed)
        tensors = {*side.inputs, *(layer.tensor(output) for layer in layers for output in layer.outputs)}
        return replace(
            self,
            inputs=_only(self.inputs, side.inputs),
            layers=layers,
            tensors=_only(self.tensors, tensors),
            outputs=_only(self.outputs, side.outputs),
            sides={},
        )

    def use(self, name: str) -> Use:
        """Return the use of an input or output."""
        having = [side for side, one in self.sides.items() if name in one.inputs or name in one.outputs]
        return having[0] if len(having) == 1 else "always"

    def output_spec(self, name: str) -> TensorSpec:
        """Return the shape and dtype of an output."""
        return self.tensors[self.outputs[name]]

    @property
    def state(self) -> dict[str, TensorSpec]:
        """State that layers carry from batch to batch, per example, by full name."""
        return {layer.state_variable(name): item for layer in self.layers for name, item in layer.state.items()}

    @property
    def every_layer(self) -> Iterator[LayerSpec]:
        """The layers, those of a cell in place of the layer that connects it."""
        for layer in self.layers:
            yield from layer.every_layer

    @property
    def trainable(self) -> tuple[str, ...]:
        """Names of the trainable variables."""
        return tuple(name for name, variable in self.variables.items() if variable.trainable)

    @property
    def trained_parameters(self) -> int:
        """Number of the values of the trainable variables."""
        return sum(variable.size for variable in self.variables.values() if variable.trainable)

    @property
    def readable(self) -> Readable:
        """Specs of what losses and metrics may read of the network."""
        return Readable(
            outputs={name: self.tensors[path] for name, path in self.outputs.items()},
            fields={},
            variables={name: variable.spec for name, variable in self.variables.items()},
        )

    @property
    def averaged(self) -> tuple[str, ...]:
        """Names of the variables whose EMA a layer reads."""
        return tuple(dict.fromkeys(name for layer in self.layers for name in layer.averaged))

    @property
    def learning_rate_multipliers(self) -> dict[str, float]:
        """Learning-rate multipliers other than 1, by variable."""
        multipliers = {name: variable.learning_rate_multiplier for name, variable in self.variables.items()}
        return {name: multiplier for name, multiplier in multipliers.items() if multiplier != 1}


def _only(items: Mapping[str, _Value], names: Collection[str]) -> dict[str, _Value]:
    return {name: item for name, item in items.items() if name in names}
