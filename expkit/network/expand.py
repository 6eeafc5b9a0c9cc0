"""Expansion of blocks and repetitions: layers of the configuration become nodes of the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from expkit.errors import ConfigError, Problem, unknown
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.scope import Block, EmaOf, Nest, Scope
from expkit.network.averages import connect_averages
from expkit.network.environment import Environment, Group, Node
from expkit.network.names import INDEX, Reuse, absolute, inherit, join
from expkit.registry import Section

__all__ = ["expand"]

MAX_LAYERS = 20_000
"""Layers and scopes of a network, repetitions counted."""


@dataclass(frozen=True, kw_only=True)
class _Context:
    """Surroundings of one mapping of layers."""

    at: str
    parent: Node
    connected: str | None = None
    index: int | None = None
    """Number that fills in ``{index}``."""
    blocks: tuple[str, ...] = ()
    """Names of the blocks around, outermost first."""


def expand(env: Environment) -> None:
    """Add every layer and scope to the environment.

    Raises:
        ConfigError: there are more than ``MAX_LAYERS``.
    """
    _add_layers(env, env.network.layers, _Context(at="network.layers", parent=env.root))
    used = {node.group.block for node in env.nodes.values() if node.group is not None}
    for name in env.network.blocks:
        if name not in used:
            fix = f"connect it with {{kind: block, block: {name}}}, or remove it"
            env.report(f"network.blocks.{name}", f"no layer connects this block; {fix}")
    connect_averages(env)


def _add_layers(env: Environment, layers: Mapping[str, Layer], context: _Context) -> None:
    parent = context.parent
    assert parent.group is not None
    siblings = parent.group.nodes
    for key, layer in layers.items():
        at = f"{context.at}.{key}"
        for name, copy, index in _copies(env, key, layer, context.index):
            if len(env.nodes) >= MAX_LAYERS:
                count = f"there would be more than {MAX_LAYERS:,} layers, counted up to {at}"
                raise ConfigError(Problem("network.layers", f"{count}; repeat less, or write fewer"))
            path = join(parent.path, name)
            if name in siblings or path in env.repetitions:
                env.report(at, f"creates '{name}', which exists already; rename one")
                continue
            siblings[name] = env.nodes[path] = node = _node(name, copy, at, context)
            if isinstance(copy, Nest):
                _add_group(env, node, copy, replace(context, parent=node, index=index))
            if isinstance(layer, Nest) and layer.repeat is not None and key not in siblings:
                env.repetitions[join(parent.path, key)] = path


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


def _add_group(env: Environment, node: Node, layer: Nest, context: _Context) -> None:
    """Add the layers inside a scope or block."""
    if isinstance(layer, Scope):
        node.group = Group(at=node.at, output=layer.output, outputs=layer.outputs)
        _add_layers(env, layer.layers, replace(context, at=f"{node.at}.layers"))
        return
    node.group = Group(at=node.at)
    if isinstance(layer, EmaOf):
        return  # Its layers are those of another scope, which may not be complete yet.
    assert isinstance(layer, Block)
    block = env.network.blocks.get(layer.block)
    if block is None:
        env.report(f"{node.at}.block", unknown(f"no block '{layer.block}'", layer.block, env.network.blocks))
        return
    around = (*context.blocks, layer.block)
    if layer.block in context.blocks:
        cycle = " <- ".join(around[around.index(layer.block) :])
        env.report(f"{node.at}.block", f"these blocks connect each other in a cycle: {cycle}")
        return
    output, outputs = block.output, block.outputs
    if context.index is not None:
        output, outputs = _filled(output, context.index), _filled(outputs, context.index)
    at = f"network.blocks.{layer.block}"
    node.group = Group(at=at, output=output, outputs=outputs, block=layer.block)
    _add_layers(env, block.layers, replace(context, at=f"{at}.layers", connected=node.connected, blocks=around))


def _copies(env: Environment, key: str, layer: Layer, index: int | None) -> Iterator[tuple[str, Layer, int | None]]:
    """Yield the repetitions of a layer, each reading the one before; a layer without ``repeat`` is its only one."""
    if not isinstance(layer, Nest) or layer.repeat is None:
        yield (key, layer, None) if index is None else (_filled(key, index), _filled(layer, index), index)
        return
    before = None
    for own in range(layer.first_index, layer.first_index + layer.repeat):
        name = _filled(key if INDEX in key else f"{key}_{INDEX}", own)
        copy = _filled(layer, own)
        yield name, copy if before is None else copy.model_copy(update=_chained(env, copy, before)), own
        before = name


def _chained(env: Environment, layer: Nest, before: str) -> dict[str, Any]:
    """Return the input fields that make a repetition read the one before.

    Inputs that are outputs too read the output of that name.
    """
    if not layer.inputs:
        return {"input": before}
    outputs = layer.outputs if isinstance(layer, Scope) else {}
    if isinstance(layer, Block) and layer.block in env.network.blocks:
        outputs = env.network.blocks[layer.block].outputs
    first, *_ = layer.inputs
    chained = {name: f"{before}/{name}" for name in layer.inputs if name in outputs}
    return {"inputs": {**layer.inputs, first: before, **chained}}


def _filled(value: Any, index: int) -> Any:
    """Return a value with ``{index}`` filled in, in all strings but those of layers inside."""
    if isinstance(value, str):
        return value.replace(INDEX, str(index)) if INDEX in value else value
    if isinstance(value, tuple):
        return tuple(_filled(item, index) for item in value)
    if isinstance(value, dict):
        return {_filled(key, index): _filled(item, index) for key, item in value.items()}
    if isinstance(value, Section):
        fields = {name: getattr(value, name) for name in value.model_fields_set if name not in ("kind", "layers")}
        return value.model_copy(update={name: _filled(item, index) for name, item in fields.items()})
    return value
