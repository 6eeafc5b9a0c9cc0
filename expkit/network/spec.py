"""The network as a value: layers in order, their shapes, and every variable's name, before any graph exists."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from expkit.config.schema import NetworkConfig
from expkit.errors import ConfigError, Problem, did_you_mean, listed
from expkit.network.layer import Declaration, Layer, ShapeError, TensorSpec
from expkit.network.layers.scope import Scope
from expkit.network.names import Reuse
from expkit.network.unfold import Node, unfold
from expkit.network.variables import VariableSpec, VariableTable

__all__ = ["LayerSpec", "NetworkSpec", "network_spec"]


@dataclass(frozen=True)
class LayerSpec:
    """A layer in its place: what it reads, where its variables are, what comes out."""

    path: str
    """Names of the enclosing scopes and the layer, joined by ``/``; also the name of its output tensor."""
    layer: Layer
    """As described; not ``trainable`` where an enclosing scope is not."""
    inputs: tuple[str, ...]
    """Paths of layers, or names of network inputs."""
    scope: str
    """Full name of the variable scope."""
    reuse: Reuse
    """Reuse in force, inherited from enclosing scopes."""
    bindings: Mapping[str, str]
    """Full variable names, by what the layer calls them, in the order in which they are made."""
    output: TensorSpec


@dataclass(frozen=True)
class NetworkSpec:
    """A network whose every name and shape is known."""

    inputs: Mapping[str, TensorSpec]
    layers: tuple[LayerSpec, ...]
    """In an order in which every layer comes after what it reads."""
    variables: Mapping[str, VariableSpec]
    """By full name, in the order in which they are made."""
    outputs: Mapping[str, str]
    """Paths of layers, by the output's name."""

    def output_spec(self, name: str) -> TensorSpec:
        """Return the shape and dtype of an output."""
        return self.tensor(self.outputs[name])

    def tensor(self, path: str) -> TensorSpec:
        """Return the shape and dtype of a layer's output or a network input."""
        if path in self.inputs:
            return self.inputs[path]
        return next(layer.output for layer in self.layers if layer.path == path)

    @property
    def trainable(self) -> tuple[str, ...]:
        """Names of the variables that training changes."""
        return tuple(name for name, variable in self.variables.items() if variable.trainable)


def network_spec(network: NetworkConfig) -> NetworkSpec:
    """Work out names, sharing and shapes.

    Raises:
        ConfigError: with every mistake found.
    """
    nodes, outputs, problems = unfold(network)
    inputs = {name: TensorSpec(item.shape, item.dtype) for name, item in network.inputs.items()}
    table = VariableTable(network.rules)
    tensors: dict[str, TensorSpec] = dict(inputs)
    layers = []
    for node in _in_order(nodes, inputs, problems):
        specs = [tensors[path] for path in node.inputs if path in tensors]
        if len(specs) < len(node.inputs) or not _arity_fits(node, problems):
            continue
        try:
            output = node.layer.output_spec(specs)
            declared = node.layer.declare(specs)
        except ShapeError as error:
            sources = ", ".join(f"'{path}' {tensors[path]}" for path in node.inputs)
            problems.append(Problem(node.at, f"{error}; '{node.path}' reads {sources}"))
            continue
        bindings = _bind(node, declared, table, problems)
        tensors[node.path] = output
        layer = node.layer.model_copy(update={"trainable": node.trainable})
        layers.append(LayerSpec(node.path, layer, node.inputs, node.scope, node.reuse, bindings, output))
    problems += table.bad_rules()
    if not problems:  # What is unused can be told only of a network that is whole.
        problems += table.unused_rules()
        problems += _unused_names(network, layers)
        problems += _name_clashes(network, nodes, table, outputs)
    if problems:
        raise ConfigError(*problems)
    return NetworkSpec(inputs, tuple(layers), table.variables, outputs)


def _in_order(nodes: list[Node], inputs: Mapping[str, TensorSpec], problems: list[Problem]) -> Iterator[Node]:
    """Yield nodes so that each comes after what it reads, otherwise as written; a cycle becomes a problem."""
    place = {node.path: i for i, node in enumerate(nodes)}
    waiting = {node.path: sum(path in place for path in set(node.inputs)) for node in nodes}
    readers: dict[str, list[str]] = {}
    for node in nodes:
        for path in set(node.inputs):
            readers.setdefault(path, []).append(node.path)
    ready = [place[path] for path, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    while ready:
        node = nodes[heapq.heappop(ready)]
        yield node
        del waiting[node.path]
        for path in readers.get(node.path, ()):
            waiting[path] -= 1
            if waiting[path] == 0:
                heapq.heappush(ready, place[path])
    if waiting:
        cycle = _cycle(next(iter(waiting)), {node.path: node.inputs for node in nodes}, waiting)
        node = nodes[place[cycle[0]]]
        problems.append(
            Problem(f"{node.at}.input", f"these layers read each other in a cycle: {' <- '.join([*cycle, cycle[0]])}")
        )


def _cycle(start: str, reads: Mapping[str, tuple[str, ...]], waiting: Mapping[str, int]) -> list[str]:
    walked = [start]
    while True:
        following = next(path for path in reads[walked[-1]] if path in waiting)
        if following in walked:
            return walked[walked.index(following) :]
        walked.append(following)


def _arity_fits(node: Node, problems: list[Problem]) -> bool:
    least, most = node.layer.arity
    count = len(node.inputs)
    if least <= count and (most is None or count <= most):
        return True
    wanted = f"{least} input" + ("s" if least > 1 else "") + (" or more" if most is None else "")
    problems.append(
        Problem(f"{node.at}.input", f"kind '{node.layer.kind}' needs {wanted}, got {count} ({listed(node.inputs)})")
    )
    return False


def _bind(
    node: Node, declared: tuple[Declaration, ...], table: VariableTable, problems: list[Problem]
) -> dict[str, str]:
    """Register a layer's variables in the table; return their full names by what the layer calls them."""
    layer = node.layer
    owned = [item.name for item in declared]
    for field, given in (
        ("variables", layer.variables),
        ("initializer", layer.initializer),
        ("regularizer", layer.regularizer),
    ):
        for name in given:
            if name not in owned:
                near = did_you_mean(name, owned) or ";"
                problems.append(
                    Problem(
                        f"{node.at}.{field}.{name}",
                        f"kind '{layer.kind}' has no variable '{name}'{near} allowed: {listed(owned)}",
                    )
                )
    bindings = {}
    for item in declared:
        changed = replace(
            item,
            initializer=layer.initializer.get(item.name, item.initializer),
            trainable=item.trainable and node.trainable,
        )
        bindings[item.name] = table.get(node, changed, layer.regularizer.get(item.name), problems)
    if len(set(bindings.values())) < len(bindings):
        problems.append(Problem(f"{node.at}.variables", f"two variables of one layer get one name: {bindings}"))
    return bindings


def _unused_names(network: NetworkConfig, layers: list[LayerSpec]) -> Iterator[Problem]:
    """Yield a problem for every name under ``variables`` of the network or a scope that no layer there declares."""
    for at, path, naming in (("network", "", network.variables), *_scope_names(network.layers, "network.layers", "")):
        known = sorted({name for layer in layers if layer.path.startswith(path) for name in layer.bindings})
        for name in naming:
            if name not in known:
                near = did_you_mean(name, known) or ";"
                yield Problem(
                    f"{at}.variables.{name}", f"no layer has a variable '{name}'{near} allowed: {listed(known)}"
                )


def _scope_names(layers: Mapping[str, Layer], at: str, path: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    for name, layer in layers.items():
        if isinstance(layer, Scope):
            yield f"{at}.{name}", f"{path}{name}/", layer.variables
            yield from _scope_names(layer.layers, f"{at}.{name}.layers", f"{path}{name}/")


def _name_clashes(
    network: NetworkConfig, nodes: list[Node], table: VariableTable, outputs: Mapping[str, str]
) -> Iterator[Problem]:
    paths = {node.path for node in nodes}
    for name in network.inputs:
        if name in table.variables:
            yield Problem(
                f"network.inputs.{name}", f"the input and a variable would both be named '{name}'; rename one"
            )
    for node in nodes:
        if node.path in table.variables:
            yield Problem(
                node.at, f"the layer's output tensor and a variable would both be named '{node.path}'; rename one"
            )
    for name, path in outputs.items():
        if name in table.variables or name in network.inputs or (name in paths and name != path):
            yield Problem(
                f"network.outputs.{name}",
                f"'{name}' already names an input, a layer or a variable; call the output otherwise",
            )
