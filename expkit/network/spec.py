"""The network as a value: layers in order, their shapes, and every variable's name, before any graph exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from expkit.config.sections.network import NetworkConfig
from expkit.errors import ConfigError, Problem, describe_exception, limit_problems, unknown
from expkit.kinds.layers.base import Declaration, Inputs, Layer, Shared
from expkit.network.expand import Part
from expkit.network.input_checks import are_there, arity_fits, batches_fit
from expkit.network.names import Reuse, join
from expkit.network.order import in_order
from expkit.network.resolve import Node, unfold
from expkit.network.variables import VariableSpec, VariableTable
from expkit.tensor_spec import ShapeError, TensorSpec

__all__ = ["LayerSpec", "NetworkSpec", "network_spec"]


@dataclass(frozen=True)
class LayerSpec:
    """A layer in its place: what it reads, where its variables are, what comes out."""

    path: str
    """Names of the enclosing scopes and the layer, joined by ``/``."""
    layer: Layer
    """As described; not ``trainable`` where an enclosing scope is not."""
    inputs: tuple[str, ...]
    """Paths of the tensors it reads."""
    named: Mapping[str, str]
    """Paths of the tensors it reads besides, by the field that names them."""
    scope: str
    """Full name of the variable scope."""
    reuse: Reuse
    """Reuse in force, inherited from enclosing scopes."""
    bindings: Mapping[str, str]
    """Full variable names, by what the layer calls them, in the order in which they are made."""
    shared: Mapping[str, bool]
    """Which of them are another layer's by ``share``, and whether transposed."""
    outputs: Mapping[str, TensorSpec]
    """By name; ``""`` is what the layer's own name stands for."""

    def tensor(self, output: str) -> str:
        """Return the path of an output, which is also the name of its tensor: ``layer`` or ``layer/output``."""
        return join(self.path, output)


@dataclass(frozen=True)
class NetworkSpec:
    """A network whose every name and shape is known."""

    inputs: Mapping[str, TensorSpec]
    layers: tuple[LayerSpec, ...]
    """In an order in which every layer comes after what it reads."""
    variables: Mapping[str, VariableSpec]
    """By full name, in the order in which they are made."""
    tensors: Mapping[str, TensorSpec]
    """Network inputs and all outputs of layers, by path."""
    outputs: Mapping[str, str]
    """Paths of tensors, by the output's name."""

    def output_spec(self, name: str) -> TensorSpec:
        """Return the shape and dtype of an output."""
        return self.tensors[self.outputs[name]]

    @property
    def trainable(self) -> tuple[str, ...]:
        """Names of the variables that training changes."""
        return tuple(name for name, variable in self.variables.items() if variable.trainable)

    @property
    def learning_rate_multipliers(self) -> dict[str, float]:
        """What the learning rate is multiplied with, by variable, where that is not 1."""
        times = {name: variable.learning_rate_multiplier for name, variable in self.variables.items()}
        return {name: number for name, number in times.items() if number != 1}


def network_spec(network: NetworkConfig) -> NetworkSpec:
    """Work out names, sharing and shapes.

    Raises:
        ConfigError: with every mistake found.
    """
    problems: list[Problem] = []
    unfolded = unfold(network, problems)
    inputs = {name: TensorSpec(item.shape, item.dtype) for name, item in network.inputs.items()}
    table = VariableTable(network.rules)
    tensors: dict[str, TensorSpec] = dict(inputs)
    layers: dict[str, LayerSpec] = {}
    made: dict[str, Sequence[str]] = {}
    for node in in_order(unfolded.nodes, problems):
        reads = [(f"{node.at}.{field}", source) for field, source in node.reads]
        if not (are_there(reads, made, tensors, problems) and arity_fits(node, problems)):
            continue
        specs = Inputs(
            (tensors[source.path] for source in node.inputs),
            {field: tensors[source.path] for field, source in node.named.items()},
        )
        if not batches_fit(node, specs, problems):
            continue
        try:
            output = node.layer.output_spec(specs)
            declared = node.layer.declare(specs)
        except ShapeError as error:
            told = [f"'{source.path}' {tensors[source.path]}" for source in node.inputs]
            told += [f"{field} '{source.path}' {tensors[source.path]}" for field, source in node.named.items()]
            problems.append(Problem(node.at, f"{error}; '{node.path}' reads {', '.join(told)}"))
            continue
        except Exception as error:
            if type(node.layer).__module__.startswith("expkit."):
                raise
            problems.append(Problem(node.at, f"kind '{node.layer.kind}' fails: {describe_exception(error)}"))
            continue
        layer = LayerSpec(
            node.path,
            node.layer.model_copy(update={"trainable": node.trainable}),
            tuple(source.path for source in node.inputs),
            {field: source.path for field, source in node.named.items()},
            node.scope,
            node.reuse,
            _bind(node, declared, table, problems),
            {name: item.transpose for name, item in _shared(node.layer).items()},
            _outputs(output, specs),
        )
        layers[layer.path], made[layer.path] = layer, tuple(layer.outputs)
        tensors |= {layer.tensor(name): item for name, item in layer.outputs.items()}
    outputs = [(f"network.outputs.{name}", source) for name, source in unfolded.outputs.items()]
    are_there([*unfolded.promised, *outputs], made, tensors, problems)
    problems += table.bad_rules()
    paths = {name: source.path for name, source in unfolded.outputs.items()}
    spec = NetworkSpec(inputs, tuple(layers.values()), table.variables, tensors, paths)
    if not problems:  # What is unused can be told only of a network that is whole.
        problems += table.unused_rules()
        problems += _unused_names(network, unfolded.scopes, spec)
        problems += _name_clashes(unfolded.nodes, layers, spec)
    if problems:
        raise ConfigError(*limit_problems(_summed_up(problems)))
    return spec


def _outputs(output: TensorSpec | Mapping[str, TensorSpec], specs: Inputs[TensorSpec]) -> dict[str, TensorSpec]:
    """Return a layer's outputs, which depend on examples where one of its inputs does."""
    outputs = {"": output} if isinstance(output, TensorSpec) else dict(output)
    read = [*specs, *specs.named.values()]
    if not read:
        return outputs
    batched = any(spec.batched for spec in read)
    return {name: replace(item, batched=batched) for name, item in outputs.items()}


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
        ("share", layer.share),
    ):
        for name in given:
            if name not in owned:
                message = unknown(f"kind '{layer.kind}' has no variable '{name}'", name, owned)
                problems.append(Problem(f"{node.at}.{field}.{name}", message))
    bindings = {}
    for item in declared:
        changed = replace(
            item,
            initializer=layer.initializer.get(item.name, item.initializer),
            trainable=item.trainable and node.trainable,
            frozen=item.trainable and not node.trainable,
        )
        if (other := _shared(layer).get(item.name)) is not None:
            bindings[item.name] = table.share(node, changed, other, problems)
        else:
            bindings[item.name] = table.get(node, changed, layer.regularizer.get(item.name), problems)
    if len(set(bindings.values())) < len(bindings):
        problems.append(Problem(f"{node.at}.variables", f"two variables of one layer get one name: {bindings}"))
    return bindings


def _shared(layer: Layer) -> dict[str, Shared]:
    return {name: Shared(variable=item) if isinstance(item, str) else item for name, item in layer.share.items()}


def _unused_names(network: NetworkConfig, scopes: Mapping[str, Part], spec: NetworkSpec) -> Iterator[Problem]:
    """Yield a problem for every name under ``variables`` of the network or a scope that no layer there declares."""
    namings = [("network", "", network.variables)]
    namings += [(part.at, f"{path}/", part.layer.variables) for path, part in scopes.items()]
    for at, path, naming in namings:
        if not naming:
            continue
        known = sorted({name for layer in spec.layers if layer.path.startswith(path) for name in layer.bindings})
        for name in naming:
            if name not in known:
                yield Problem(f"{at}.variables.{name}", unknown(f"no layer has a variable '{name}'", name, known))


def _summed_up(problems: list[Problem]) -> list[Problem]:
    """Return the problems, of many at one place the first: repetitions and uses of a block repeat their mistakes."""
    by_place: dict[str, list[str]] = {}
    for problem in problems:
        messages = by_place.setdefault(problem.path, [])
        if problem.message not in messages:
            messages.append(problem.message)
    told = []
    for at, messages in by_place.items():
        if len(messages) > 2:
            messages = [f"{messages[0]} (and {len(messages) - 1} more here)"]
        told += [Problem(at, message) for message in messages]
    return told


def _name_clashes(nodes: Iterable[Node], layers: Mapping[str, LayerSpec], spec: NetworkSpec) -> Iterator[Problem]:
    for name in spec.inputs:
        if name in spec.variables:
            yield Problem(
                f"network.inputs.{name}", f"the input and a variable would both be named '{name}'; rename one"
            )
    for node in nodes:
        for path in map(layers[node.path].tensor, layers[node.path].outputs):
            if path in spec.variables:
                yield Problem(
                    node.at, f"the layer's output tensor and a variable would both be named '{path}'; rename one"
                )
    for name, path in spec.outputs.items():
        if not spec.tensors[path].batched:
            message = f"'{path}' is the same for every example; give its layer batch_of, or make another the output"
            yield Problem(f"network.outputs.{name}", message)
        if name in spec.variables or (name in spec.tensors and name != path) or name in spec.inputs:
            yield Problem(
                f"network.outputs.{name}",
                f"'{name}' already names an input, a layer or a variable; call the output otherwise",
            )
