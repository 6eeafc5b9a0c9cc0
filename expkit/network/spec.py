"""Elaboration of a network: every layer's shapes, every variable's name and shape, before any graph exists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from expkit.config.sections.network import NetworkConfig, Use
from expkit.errors import ConfigError, Problem, comma_list, describe_exception, limit_problems
from expkit.kinds.evaluated import Readable
from expkit.kinds.layers.base import Declaration, Inputs, Layer
from expkit.kinds.layers.looped import Looped
from expkit.network.environment import Average, Environment, Node
from expkit.network.expand import expand
from expkit.network.input_checks import check_arity, check_batches, check_existence, in_order
from expkit.network.names import NAME_RULE, Reuse, is_name, join, state_name
from expkit.network.resolve import resolve
from expkit.network.sides import Side, SideName, differ, side_problems, sides
from expkit.network.variables import VariableSpec, VariableTable, shared_variables
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["LayerSpec", "NetworkSpec", "network_spec"]


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
    """What training and serving need, where they differ; empty where every input and output has use ``always``."""

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
        """Return what an input or output is for."""
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


def network_spec(network: NetworkConfig) -> NetworkSpec:
    """Elaborate a network.

    Raises:
        ConfigError: with every problem found.
    """
    env = Environment(network)
    if not expand(env):
        raise ConfigError(*limit_problems(env.grouped_problems))
    resolve(env)
    inputs = dict(env.tensors)
    table = VariableTable(env)
    layers = _layer_specs(env, table)
    table.check_rules()
    both = sides(env)
    spec = NetworkSpec(
        inputs=inputs,
        layers=layers,
        variables=table.variables,
        tensors=env.tensors,
        outputs=env.outputs,
        creators=layers,
        sides=both if differ(env) else {},
    )
    if not env.problems:  # Unused settings are known only for a valid network.
        table.check_unused_rules()
        env.problems += side_problems(env, both, spec.variables)
        table.check_unused_names()
        env.problems += _name_clashes(env, spec)
    if env.problems:
        raise ConfigError(*limit_problems(env.grouped_problems))
    return spec


_Value = TypeVar("_Value")


def _only(items: Mapping[str, _Value], names: Collection[str]) -> dict[str, _Value]:
    return {name: item for name, item in items.items() if name in names}


def _layer_specs(env: Environment, table: VariableTable) -> tuple[LayerSpec, ...]:
    """Add all layers' outputs and variables to the environment; return the valid layers."""
    found = (_layer_spec(env, node, table) for node in in_order(env))
    layers = tuple(layer for layer in found if layer is not None)
    check_existence(env, env.promised)
    return layers


def _layer_spec(env: Environment, node: Node, table: VariableTable) -> LayerSpec | None:
    """Add a layer's outputs and variables to the environment; return ``None`` after reporting why it is invalid."""
    reads = [(f"{node.at}.{field}", tensor) for field, tensor in node.reads]
    if not (check_existence(env, reads) and check_arity(env, node)):
        return None
    named = {field: env.tensors[tensor] for field, tensor in node.named.items()}
    specs = Inputs((env.tensors[tensor] for tensor in node.inputs or ()), named)
    if not check_batches(env, node, specs):
        return None
    cell = None
    declared: tuple[Declaration, ...] = ()
    try:
        if isinstance(node.layer, Looped):
            cell = _cell_spec(node, node.layer.read_specs(specs), table)
            if cell is None:
                return None
            results = {name: cell.output_spec(name) for name in cell.outputs}
            output: TensorSpec | Mapping[str, TensorSpec] = node.layer.looped_spec(specs, results)
        else:
            output = node.layer.output_spec(specs)
            declared = node.layer.declare(specs)
        state = dict(node.layer.declare_state(specs))
    except ShapeError as error:
        inputs = [f"'{tensor}' {env.tensors[tensor]}" for tensor in node.inputs or ()]
        inputs += [f"{field} '{tensor}' {env.tensors[tensor]}" for field, tensor in node.named.items()]
        env.report(node.at, f"{error}; '{node.path}' reads {', '.join(inputs)}")
        return None
    except Exception as error:
        if type(node.layer).__module__.startswith("expkit."):
            raise
        env.report(node.at, f"kind '{node.layer.kind}' fails: {describe_exception(error)}")
        return None
    if cell is not None:
        bindings = _bindings(cell, node)
    elif node.average is not None:
        bindings = table.bind_originals(node, declared)
    else:
        bindings = table.bind(node, declared)
    layer = LayerSpec(
        path=node.path,
        layer=node.layer.model_copy(update={"trainable": node.trainable}),
        inputs=node.inputs or (),
        named=node.named,
        scope=node.scope,
        reuse=node.reuse,
        bindings=bindings,
        shared={name: item.transpose for name, item in shared_variables(node.layer).items()},
        outputs=_outputs(output, specs),
        cell=cell,
        state=state,
        average=node.average,
        averaged=tuple(name for name in bindings.values() if node.average is not None and table.is_trained(name)),
    )
    _check_state(env, node, layer)
    env.layer_outputs[node.path] = tuple(layer.outputs)
    env.tensors |= {layer.tensor(name): item for name, item in layer.outputs.items()}
    return layer


def _check_state(env: Environment, node: Node, layer: LayerSpec) -> None:
    """Report a state that cannot be held from batch to batch."""
    if layer.state and not all(item.batched for item in layer.outputs.values()):
        env.report(node.at, f"'{node.path}' carries a state, but its inputs are the same for every example")
    for name, item in layer.state.items():
        if None in item.shape or not is_name(name, inside=True):
            message = f"kind '{layer.layer.kind}' declares a state '{name}' {item}, which needs {NAME_RULE}, and sizes"
            env.report(node.at, message)


def _cell_spec(node: Node, read: Mapping[str, TensorSpec], table: VariableTable) -> NetworkSpec | None:
    """Return the network of one step of a layer, given what its layers read; ``None`` if a part of it is invalid."""
    env = node.cell
    assert env is not None
    assert isinstance(node.layer, Looped)
    inputs = {join(node.path, name): item for name, item in read.items()}
    env.tensors |= inputs
    layers = _layer_specs(env, table)
    _refuse_updates(env, layers, table, moves=node.layer.trains)
    complete = len(layers) == sum(inner.group is None for inner in env.nodes.values())
    if not complete or "" not in env.outputs or not env.tensors.keys() >= set(env.outputs.values()):
        return None
    return NetworkSpec(
        inputs=inputs,
        layers=layers,
        variables={full: table.variables[full] for layer in layers for full in layer.bindings.values()},
        tensors=env.tensors,
        outputs=env.outputs,
        creators=layers,
        sides={},
    )


def _refuse_updates(env: Environment, layers: tuple[LayerSpec, ...], table: VariableTable, *, moves: bool) -> None:
    """Report the layers of a cell that would update variables in every step; moving statistics, if they ``move``."""
    for layer in layers:
        used = {local: table.variables[full] for local, full in layer.bindings.items() if full in table.variables}
        moving = [local for local, item in used.items() if not (item.trainable or item.frozen)]
        at, kind = env.nodes[layer.path].at, layer.layer.kind
        if layer.state:
            fix = "leave out carry, and give the state in 'states'"
            env.report(at, f"kind '{kind}' would carry its state from batch to batch in every step over time; {fix}")
        elif moving and moves and layer.layer.trainable and layer.cell is None and layer.average is None:
            message = f"kind '{kind}' would update {comma_list(moving)} in every step over time"
            fix = "normalize by kind 'layer_norm', or set trainable: false"
            env.report(at, f"{message}, which a cell cannot; {fix}")


def _bindings(cell: NetworkSpec, node: Node) -> dict[str, str]:
    """Return the full names of a cell's variables by their layer's path in the cell and its name for them."""
    return {
        join(layer.path.removeprefix(f"{node.path}/"), local): full
        for layer in cell.layers
        for local, full in layer.bindings.items()
    }


def _outputs(output: TensorSpec | Mapping[str, TensorSpec], specs: Inputs[TensorSpec]) -> dict[str, TensorSpec]:
    """Return a layer's outputs, batched if one of its inputs is."""
    outputs = {"": output} if isinstance(output, TensorSpec) else dict(output)
    read = [*specs, *specs.named.values()]
    if not read:
        return outputs
    batched = any(spec.batched for spec in read)
    return {name: replace(item, batched=batched) for name, item in outputs.items()}


def _name_clashes(env: Environment, spec: NetworkSpec) -> Iterator[Problem]:
    for layer in spec.layers:
        for name in map(layer.state_variable, layer.state):
            if name in spec.variables or name in spec.tensors or name in spec.outputs:
                message = f"the layer's state and something else would both be named '{name}'; rename the other"
                yield Problem(env.nodes[layer.path].at, message)
    for name in spec.inputs:
        if name in spec.variables:
            message = f"the input and a variable would both be named '{name}'; rename one"
            yield Problem(f"network.inputs.{name}", message)
    for node in env.nodes.values():
        for path in (join(node.path, output) for output in env.layer_outputs.get(node.path, ())):
            if path in spec.variables:
                message = f"the layer's output tensor and a variable would both be named '{path}'; rename one"
                yield Problem(node.at, message)
    for name, path in spec.outputs.items():
        at = f"network.outputs.{name}"
        if not spec.tensors[path].batched:
            message = f"'{path}' is the same for every example; give its layer batch_of, or make another the output"
            yield Problem(at, message)
        if name in spec.variables or (name in spec.tensors and name != path) or name in spec.inputs:
            yield Problem(at, f"'{name}' already names an input, a layer or a variable; call the output otherwise")
