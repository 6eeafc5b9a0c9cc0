"""Expansion of blocks and repetitions: layers of the configuration become nodes of the environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from expkit.errors import ConfigError, Problem, unknown
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.looped import Looped
from expkit.kinds.layers.scope import Block, EmaOf, Nest, Scope
from expkit.kinds.layers.template import LayerTemplate
from expkit.network.arguments import argument_values, check_arguments
from expkit.network.averages import connect_averages
from expkit.network.environment import Environment, Group, Node
from expkit.network.expressions import names_in
from expkit.network.filling import Names, fill, fill_text, filled_layer
from expkit.network.names import INDEX, Reuse, absolute, inherit, join
from expkit.registry import kinds

__all__ = ["expand"]

MAX_LAYERS = 20_000
"""Layers and scopes of a network, repetitions counted."""
MAX_REPETITIONS = 1000
"""Repetitions of a scope."""


@dataclass(frozen=True, kw_only=True)
class _Context:
    """Surroundings of one mapping of layers."""

    env: Environment
    at: str
    parent: Node
    connected: str | None = None
    """Path in the configuration of the layer that connects the outermost block around."""
    connection: str | None = None
    """Path in the configuration of the layer that connects the nearest block around."""
    names: Names | None = None
    """Values of the names in expressions; ``None`` outside blocks and repetitions, where braces are braces."""
    blocks: tuple[str, ...] = ()
    """Names of the blocks around, outermost first."""

    @property
    def description(self) -> str:
        """Block and repetition in which an expression has its value, for messages."""
        parts = []
        if self.connection is not None:
            inside = "" if self.connection == self.connected else f" inside {self.connected}"
            parts.append(f"{self.connection} connects the block{inside}")
        if self.names is not None and "index" in self.names:
            parts.append(f"index is {self.names['index']}")
        return f" (where {' and '.join(parts)})" if parts else ""


def expand(env: Environment) -> bool:
    """Add every layer and scope to the environment; return False if some have problems that leave them out.

    Raises:
        ConfigError: there are more than ``MAX_LAYERS``.
    """
    expansion = _Expansion(env)
    expansion.add_layers(env.network.layers, _Context(env=env, at="network.layers", parent=env.root))
    env.problems += expansion.problems.values()
    check_arguments(env)
    if expansion.failures:
        return False
    used = {node.group.block for node in env.every_node if node.group is not None}
    for name in env.network.blocks:
        if name not in used:
            fix = f"connect it with {{kind: block, block: {name}}}, or remove it"
            env.report(f"network.blocks.{name}", f"no layer connects this block; {fix}")
    connect_averages(env)
    return True


class _Expansion:
    """Layers added so far, and the problems of those that cannot be added."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.failures = 0
        """Layers left out."""
        self.problems: dict[tuple[str, str], Problem] = {}
        """Their problems, the first of those that differ only in their description."""

    def add_layers(self, layers: Mapping[str, Layer | LayerTemplate], context: _Context) -> None:
        """Add the layers of a scope, and those inside them."""
        env, parent = context.env, context.parent
        assert parent.group is not None
        siblings = parent.group.nodes
        for key, layer in layers.items():
            at = f"{context.at}.{key}"
            for name, copy, names in self._copies(key, layer, context):
                if env.size + self.failures >= MAX_LAYERS:
                    count = f"there would be more than {MAX_LAYERS:,} layers, counted up to {at}"
                    raise ConfigError.at("network.layers", f"{count}; repeat less, or write fewer")
                path = join(parent.path, name)
                if name in siblings or path in env.repetitions:
                    env.report(at, f"creates '{name}', which exists already; rename one")
                    continue
                siblings[name] = node = _node(name, copy, at, context)
                env.add(node)
                if isinstance(copy, Looped):
                    node.cell = env.cell(node)
                    inside = replace(context, env=node.cell, parent=node.cell.nodes[path], names=names)
                    self._add_group(inside.parent, copy, inside)
                if isinstance(copy, Nest):
                    self._add_group(node, copy, replace(context, parent=node, names=names))
                    if copy.repeat is not None and key not in siblings:
                        env.repetitions[join(parent.path, key)] = path

    def _add_group(self, node: Node, layer: Nest | Looped, context: _Context) -> None:
        """Add the layers inside a scope or block."""
        if isinstance(layer, Scope):
            node.group = Group(at=node.at, output=layer.output, outputs=layer.outputs)
            self.add_layers(layer.layers, replace(context, at=f"{node.at}.layers"))
            return
        env = context.env
        node.group = Group(at=node.at)
        if isinstance(layer, EmaOf):
            return  # Its layers are those of another scope, which may not be complete yet.
        assert isinstance(layer, Block | Looped)
        block = env.network.blocks.get(layer.block)
        if block is None:
            env.report(f"{node.at}.block", unknown(f"no block '{layer.block}'", layer.block, env.network.blocks))
            return
        around = (*context.blocks, layer.block)
        if layer.block in context.blocks:
            cycle = " <- ".join(around[around.index(layer.block) :])
            env.report(f"{node.at}.block", f"these blocks connect each other in a cycle: {cycle}")
            return
        at = f"network.blocks.{layer.block}"
        inside = replace(context, at=f"{at}.layers", connected=node.connected, connection=node.at, blocks=around)
        try:
            names = argument_values(layer, block, context.names or {}, node.at)
            inside = replace(inside, names=names)
            output = None if block.output is None else fill_text(block.output, names, f"{at}.output")
            outputs = {
                fill_text(name, names, f"{at}.outputs.{name}"): fill_text(source, names, f"{at}.outputs.{name}")
                for name, source in block.outputs.items()
            }
        except ConfigError as error:
            in_block = error.problems[0].path.startswith(f"{at}.")  # not in the layer that connects it
            self._left_out(error, inside if in_block else context)
            return
        node.group = Group(at=at, output=output, outputs=outputs, block=layer.block)
        self.add_layers(block.layers, inside)

    def _copies(
        self, key: str, layer: Layer | LayerTemplate, context: _Context
    ) -> Iterator[tuple[str, Layer, Names | None]]:
        """Yield the repetitions of a layer, each reading the one before; one without ``repeat`` is its only one."""
        at = f"{context.at}.{key}"
        around = context
        try:
            fields = _with_repetitions(layer, context.names, at) if isinstance(layer, LayerTemplate) else {}
            numbers = _numbers(layer, fields)
            if numbers is None:
                yield _named(key, layer, fields, context.names, at)
                return
            label = key.partition("{")[0].rstrip("_")
            own = ("index", f"index.{label}")
            name = key if names_in(key).intersection(own) else f"{key}_{INDEX}"
            before = None
            for number in numbers:
                around = replace(context, names={**(context.names or {}), **dict.fromkeys(own, number)})
                copy = _named(name, layer, fields, around.names, at)
                yield copy if before is None else (copy[0], _chained(self.env, copy[1], before), copy[2])
                before = copy[0]
        except ConfigError as error:
            self._left_out(error, around)

    def _left_out(self, error: ConfigError, context: _Context) -> None:
        self.failures += 1
        for problem in error.problems:
            message = f"{problem.message}{context.description}"
            self.problems.setdefault((problem.path, problem.message), replace(problem, message=message))


def _node(name: str, layer: Layer, at: str, context: _Context) -> Node:
    parent = context.parent
    own: Reuse = "auto" if layer.reuse == "auto" else "true" if layer.reuse else "false"
    from_root = layer.scope is not None and layer.scope.startswith("/")
    return Node(
        name=name,
        path=join(parent.path, name),
        at=at,
        connected=context.connected or at,
        layer=layer,
        scope=absolute(parent.scope, name if layer.scope is None else layer.scope),
        reuse=inherit(parent.reuse, own, from_root=from_root),
        naming={**parent.naming, **layer.variables} if layer.variables else parent.naming,
        trainable=parent.trainable and layer.trainable,
        learning_rate_multiplier=parent.learning_rate_multiplier * layer.learning_rate_multiplier,
    )


def _named(
    key: str, layer: Layer | LayerTemplate, fields: Mapping[str, Any], names: Names | None, at: str
) -> tuple[str, Layer, Names | None]:
    """Return the name of a layer, the layer, and the names in expressions inside it."""
    copy = filled_layer(layer, fields, names, at) if isinstance(layer, LayerTemplate) else layer
    return fill_text(key, names, at), copy, names


def _with_repetitions(template: LayerTemplate, names: Names | None, at: str) -> dict[str, Any]:
    """Return a template's fields, those that number its repetitions filled in: they know only what is around."""
    fields = template.fields
    if names is not None and issubclass(kinds("layer")[template.kind], Nest):
        numbering = {name: fields[name] for name in ("repeat", "first_index") if name in fields}
        fields |= fill(numbering, names, at)
    return fields


def _numbers(layer: Layer | LayerTemplate, fields: Mapping[str, Any]) -> Iterable[int] | None:
    """Return the numbers of a layer's repetitions; ``None`` if it is not repeated, or not by a number."""
    repeat, first = fields.get("repeat"), fields.get("first_index", 0)
    if isinstance(layer, Nest):
        repeat, first = layer.repeat, layer.first_index
    if type(repeat) is not int or type(first) is not int or not 0 < repeat <= MAX_REPETITIONS:
        return None  # the layer's own validation says what is wrong
    return range(first, first + repeat)


def _chained(env: Environment, layer: Layer, before: str) -> Layer:
    """Return a repetition that reads the one before.

    Inputs that are outputs too read the output of that name.
    """
    assert isinstance(layer, Nest)
    if not layer.inputs:
        return layer.model_copy(update={"input": before})
    outputs = layer.outputs if isinstance(layer, Scope) else {}
    if isinstance(layer, Block) and layer.block in env.network.blocks:
        outputs = env.network.blocks[layer.block].outputs
    first, *_ = layer.inputs
    chained = {name: f"{before}/{name}" for name in layer.inputs if name in outputs}
    return layer.model_copy(update={"inputs": {**layer.inputs, first: before, **chained}})
