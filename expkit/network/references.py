"""Names in ``input`` or ``output`` fields, resolved to tensors by their scope."""

from __future__ import annotations

from expkit.errors import MAX_EXPLAINED, unknown
from expkit.kinds.layers.scope import EmaOf
from expkit.network.environment import Environment, Group, Node
from expkit.network.names import join

__all__ = ["find", "main_output", "reference"]


def find(env: Environment, scope: str, name: str) -> tuple[bool, str | None]:
    """Return True if a scope has a layer, or a layer's output, of that name; then the path of the tensor.

    The path is ``None`` if the name leads to a scope's output that does not exist, which is reported there.
    """
    if (path := env.layer(join(scope, name))) is not None:
        return True, main_output(env, path)
    inner, _, output = name.rpartition("/")
    layer = env.layer(join(scope, inner)) if inner else None
    if layer is None:
        return False, None
    group = env.nodes[layer].group
    if group is None:
        return True, join(layer, output)
    return find(env, layer, group.outputs[output]) if output in group.outputs else (False, None)


def main_output(env: Environment, path: str) -> str | None:
    """Return the tensor that a layer's own name stands for; for a scope, that of its output layer."""
    group = env.nodes[path].group
    if group is None:
        return path
    output = group.output or next(reversed(group.nodes), None)
    return find(env, path, output)[1] if output is not None else None


def reference(env: Environment, name: str, scope: str, at: str) -> str | None:
    """Return the path of the tensor that a name refers to within a scope; the nearest enclosing scope wins.

    Returns ``None`` after reporting a name that is unknown.
    """
    inputs: list[str] = []
    """Inputs of the scopes around."""
    while True:
        found, tensor = find(env, scope, name)
        if found:
            return tensor
        own = env.scope_inputs.get(scope, {})
        if name in own:
            return own[name]
        inputs += own
        node = env.nodes.get(scope, env.root)
        if node.group is not None and node.group.block is not None:
            _report_unknown_in_block(env, name, node, node.group, at)
            return None
        if isinstance(node.layer, EmaOf):
            outside = f"if '{node.layer.of}' reads it from outside, give it to both by inputs: {{NAME: {name}}}"
            env.report(f"{node.at}.of", f"no layer or input '{name}' inside; {outside}")
            return None
        if not scope:
            break
        scope = scope.rpartition("/")[0]
    if name in env.network.inputs:
        return name
    sentence = f"no layer or input '{name}'"
    if len(env.problems) < MAX_EXPLAINED:
        groups = [(path, node.group) for path, node in env.nodes.items() if node.group is not None]
        outputs = [join(path, output) for path, group in groups for output in group.outputs]
        sentence = unknown(sentence, name, [*env.network.inputs, *inputs, *env.nodes, *outputs], most=40)
    env.report(at, sentence)
    return None


def _report_unknown_in_block(env: Environment, name: str, node: Node, group: Group, at: str) -> None:
    allowed = [*env.scope_inputs.get(node.path, {}), *group.nodes]
    sentence = f"no layer or input '{name}' in block '{group.block}' as {node.at} connects it"
    env.report(at, f"{unknown(sentence, name, allowed, most=40)}; give it more with inputs: {{NAME: LAYER}}")
