"""Connection of scopes again with their averages: the layers of kind ``ema_of`` get copies of the layers they name."""

from __future__ import annotations

from dataclasses import replace

from expkit.errors import unknown
from expkit.kinds.layers.scope import EmaOf
from expkit.network.environment import Average, Environment, Group, Node
from expkit.network.names import join

__all__ = ["connect_averages", "scope_to_connect"]


def connect_averages(env: Environment) -> None:
    """Add the layers inside every ``ema_of``, which have the variables of those that they are copies of."""
    for node in list(env.nodes.values()):
        _connect(env, node)
    for node in env.every_node:
        if isinstance(node.layer, EmaOf) and node.path not in env.nodes:
            message = "an average cannot be connected in every step; connect it outside, and give it in 'constants'"
            env.report(node.at, message)


def scope_to_connect(env: Environment, node: Node) -> str | None:
    """Return the path of the layer or scope that an ``ema_of`` names, the nearest enclosing one; ``None`` if none."""
    assert isinstance(node.layer, EmaOf)
    scope = node.path
    while scope and (scope == node.path or not _is_block(env, scope)):
        scope = scope.rpartition("/")[0]
        if (path := env.layer(join(scope, node.layer.of))) is not None:
            return path
    return None


def _connect(env: Environment, node: Node) -> None:
    if not isinstance(node.layer, EmaOf) or node.average is not None:
        return
    original = _original(env, node, node.layer.of)
    if original is not None:
        node.average = Average(at=node.at, of=original.path, training=node.layer.training)
        assert original.group is not None
        node.group = _copied_group(env, original.group, node, node.average)
        inside = {path: last for path, last in env.repetitions.items() if path.startswith(f"{original.path}/")}
        for path, last in inside.items():
            new = [f"{node.path}{each.removeprefix(original.path)}" for each in (path, last)]
            env.repetitions[new[0]] = new[1]


def _original(env: Environment, node: Node, name: str) -> Node | None:
    """Return the scope to connect; ``None`` after reporting why there is none."""
    at, path = f"{node.at}.of", scope_to_connect(env, node)
    if path is None:
        nodes = env.nodes.items()
        known = [path for path, other in nodes if other.group is not None and not isinstance(other.layer, EmaOf)]
        env.report(at, unknown(f"no scope '{name}'", name, known))
        return None
    original = env.nodes[path]
    if f"{node.path}/".startswith(f"{path}/"):
        env.report(at, f"'{path}' is this layer, or is around it; connect '{path}' outside of it")
    elif original.group is None:
        kind = original.layer.kind
        env.report(at, f"'{path}' is a layer of kind '{kind}'; ema_of connects scopes and blocks: put it into a scope")
    elif f"/{path}".removesuffix(f"/{name}") == f"/{path}":
        env.report(at, f"'{name}' is repeated and names the last, '{path}'; name one, or put them into a scope")
    elif isinstance(original.layer, EmaOf) or original.average is not None:
        env.report(at, f"'{path}' is an average itself, and has none; name the scope that it is the average of")
    else:
        return original
    return None


def _is_block(env: Environment, path: str) -> bool:
    """Return whether a scope is a block, whose layers see nothing outside."""
    group = env.nodes[path].group
    return group is not None and group.block is not None


def _copied_group(env: Environment, group: Group, parent: Node, average: Average) -> Group:
    """Return a copy of the layers of a scope for another one."""
    copied = Group(at=group.at, output=group.output, outputs=group.outputs)
    for name, node in group.nodes.items():
        _connect(env, node)
        copied.nodes[name] = copy = replace(
            node,
            path=join(parent.path, name),
            at=average.at,
            connected=average.at,
            average=replace(average, of=node.path),
        )
        env.nodes[copy.path] = copy
        if node.group is not None:
            copy.group = _copied_group(env, node.group, copy, average)
            copy.group.block = node.group.block
        if node.cell is not None:
            copy.cell = env.cell(copy)
            _copy_cell(copy.cell, copy, node.cell.nodes[node.path], average)
    return copied


def _copy_cell(env: Environment, copy: Node, original: Node, average: Average) -> None:
    """Add a copy of the layers of a cell to the environment of another's."""
    assert original.group is not None
    cell = env.nodes[copy.path]
    cell.group = _copied_group(env, original.group, cell, average)
    cell.group.block = original.group.block
