"""Elaboration of a network: every layer's shapes, every variable's name and shape, before any graph exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from expkit.config.sections.network import NetworkConfig
from expkit.errors import ConfigError, Problem, comma_list, describe_exception, limit_problems
from expkit.kinds.layers.base import Declaration, Inputs
from expkit.kinds.layers.looped import Looped
from expkit.network.environment import Environment, Node
from expkit.network.expand import expand
from expkit.network.input_checks import check_arity, check_batches, check_existence, in_order
from expkit.network.names import NAME_RULE, is_name, join
from expkit.network.resolve import resolve
from expkit.network.sides import differ, side_problems, sides
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.network.variables import VariableTable, shared_variables
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["network_spec"]


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
            yield Problem(at, f"'{name}' already names an input, a layer or a variable; rename the output")
