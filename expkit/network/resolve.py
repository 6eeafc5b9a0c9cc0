"""Resolution of names: every layer gets the paths of the tensors it reads, every malformed name a problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from expkit.errors import Problem, comma_list, unknown
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.looped import Looped
from expkit.kinds.layers.scope import EmaOf, Nest, Scope
from expkit.network.averages import scope_to_connect
from expkit.network.environment import Environment, Group, Node
from expkit.network.names import INDEX, NAME_RULE, is_name, is_path, join
from expkit.network.references import find, main_output, reference

__all__ = ["resolve"]


def resolve(env: Environment) -> None:
    """Resolve all names of the layers, of scopes' outputs and of the network's outputs."""
    env.problems += _malformed_names(env)
    inputs = env.network.inputs
    _resolve_group(env, env.root, tuple(inputs) if len(inputs) == 1 else None, ambiguous=len(inputs) > 1)
    _resolve_inside(env)
    for name, given in env.network.outputs.items():
        layer = env.network.output(name).layer
        at = f"network.outputs.{name}" if isinstance(given, str) else f"network.outputs.{name}.layer"
        found, tensor = find(env, "", layer)
        if not found:
            env.report(at, unknown(f"no layer '{layer}'", layer, env.nodes))
        elif tensor is not None:
            env.outputs[name] = tensor
            env.promised.append((at, tensor))


def _resolve_inside(env: Environment) -> None:
    """Resolve the outputs of scopes, and all names of cells."""
    for node in env.nodes.values():
        if node.group is not None:
            _resolve_outputs(env, node, node.group)
        if node.cell is not None:
            _resolve_cell(node.cell, node)


def _resolve_cell(env: Environment, layer: Node) -> None:
    """Resolve all names of a cell, whose layers read what the layer that connects it gives them by name."""
    assert isinstance(layer.layer, Looped)
    cell = env.nodes[layer.path]
    assert cell.group is not None
    given = layer.layer.read_inside.values()
    env.scope_inputs[cell.path] = {name: join(cell.path, name) for name in given}
    _resolve_group(env, cell, tuple(join(cell.path, name) for name in list(given)[:1]), ambiguous=False)
    _resolve_inside(env)
    names = {name: find(env, cell.path, inner)[1] for name, inner in cell.group.outputs.items()}
    every = {"": main_output(env, cell.path), **names}
    env.outputs |= {name: tensor for name, tensor in every.items() if tensor is not None}


def _resolve_group(env: Environment, scope: Node, default: tuple[str, ...] | None, *, ambiguous: bool) -> None:
    """Resolve the layers of a scope.

    Args:
        env: the environment.
        scope: the scope.
        default: input of the first layer; ``None`` if it is not known.
        ambiguous: True if it is not known because the network has several inputs.
    """
    assert scope.group is not None
    for node in scope.group.nodes.values():
        layer = node.layer
        named_inputs = layer.inputs if isinstance(layer, Nest) else {}
        ambiguous = ambiguous and layer.input is None and not named_inputs and layer.arity[1] != 0
        ambiguous = ambiguous and not isinstance(layer, EmaOf)
        if ambiguous and not isinstance(layer, Scope):
            allowed = comma_list(env.network.inputs)
            env.report(f"{node.at}.input", f"missing: there are several inputs; say which one to read: {allowed}")
            ambiguous = False
        inputs = _scope_inputs(env, node, named_inputs, scope) if named_inputs else _inputs(env, node, scope, default)
        if node.group is not None:
            env.group_inputs[node.path] = inputs
        if node.group is not None or node.cell is not None:
            for field in ("initializer", "regularizer", "share"):
                if getattr(layer, field):
                    message = "a scope owns no variables; give it to a layer, or to network.rules"
                    env.report(f"{node.at}.{field}", message)
        if node.group is not None:
            _resolve_group(env, node, inputs, ambiguous=ambiguous)
        else:
            named = _named(env, node, scope)
            if inputs is not None and named is not None:
                node.inputs, node.named = inputs, named
        output = main_output(env, node.path)
        default, ambiguous = (output,) if output is not None else None, False


def _inputs(env: Environment, node: Node, scope: Node, default: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the tensors that a layer reads; ``None`` if one is not known, which is reported."""
    layer = node.layer
    if isinstance(layer, EmaOf) and layer.input is None:
        return _inputs_of_original(env, node)
    if layer.input is None:
        return () if layer.arity[1] == 0 else default
    names = (layer.input,) if isinstance(layer.input, str) else layer.input
    return _all_known([reference(env, name, scope.path, f"{node.at}.input") for name in names])


def _inputs_of_original(env: Environment, node: Node) -> tuple[str, ...] | None:
    """Return the tensors that the scope reads which an ``ema_of`` connects, and give it the scope's named inputs."""
    if node.average is None or (of := scope_to_connect(env, node)) is None:
        return None
    if of not in env.group_inputs:
        env.report(f"{node.at}.input", f"missing: '{of}', whose input it reads by default, comes after this layer")
        return None
    if of in env.scope_inputs:
        env.scope_inputs[node.path] = env.scope_inputs[of]
    return env.group_inputs[of]


def _scope_inputs(env: Environment, node: Node, names: Mapping[str, str], scope: Node) -> tuple[str, ...] | None:
    """Make a scope's inputs known inside it; return what its first layer reads."""
    found = {name: reference(env, read, scope.path, f"{node.at}.inputs.{name}") for name, read in names.items()}
    env.scope_inputs[node.path] = found
    return _all_known([next(iter(found.values()))])


def _named(env: Environment, node: Node, scope: Node) -> dict[str, str] | None:
    """Return the tensors that a layer reads by name; ``None`` if one is not known, which is reported."""
    given = node.layer.references
    found = _all_known([reference(env, name, scope.path, f"{node.at}.{field}") for field, name in given.items()])
    return None if found is None else dict(zip(given, found, strict=True))


def _all_known(tensors: list[str | None]) -> tuple[str, ...] | None:
    known = tuple(tensor for tensor in tensors if tensor is not None)
    return known if len(known) == len(tensors) else None


def _resolve_outputs(env: Environment, scope: Node, group: Group) -> None:
    names = {f"{group.at}.output": group.output} if group.output is not None else {}
    names |= {f"{group.at}.outputs.{key}": name for key, name in group.outputs.items()}
    for at, name in names.items():
        found, tensor = find(env, scope.path, name)
        if not found:
            env.report(at, unknown(f"no layer '{name}' inside", name, group.nodes))
        elif tensor is not None:
            env.promised.append((at, tensor))


def _malformed_names(env: Environment) -> Iterator[Problem]:
    """Yield a problem for every name that TensorFlow refuses or that is ambiguous; of repetitions for the first."""
    network = env.network
    yield from _bad_words(network.inputs, "network.inputs")
    yield from _bad_words(network.outputs, "network.outputs")
    yield from _bad_words(network.blocks, "network.blocks")
    yield from _bad_paths(network.variables, "network.variables")
    for name in network.inputs:
        if env.layer(name) is not None:
            yield Problem(f"network.inputs.{name}", f"a layer is called '{name}' too; rename one")
    first: dict[str, Problem] = {}
    for problem in _malformed_layers(env):
        first.setdefault(problem.path, problem)
    yield from first.values()


def _malformed_layers(env: Environment) -> Iterator[Problem]:
    for node in env.nodes.values():
        yield from _bad_layer_names(node)
        yield from _bad_scope_names(env, node)
        if node.cell is not None:
            yield from _malformed_layers(node.cell)


def _bad_layer_names(node: Node) -> Iterator[Problem]:
    if not is_name(node.name, inside=node.path != node.name):
        yield Problem(node.at, _bad_name(node.name))
    scope = (node.layer.scope or "").removeprefix("/")
    if scope and not is_path(scope, inside=node.scope != scope):
        message = f"'{node.layer.scope}' is not a valid scope; allowed between slashes: {NAME_RULE}{_hint(scope)}"
        yield Problem(f"{node.at}.scope", message)
    yield from _bad_paths(node.layer.variables, f"{node.at}.variables")


def _bad_scope_names(env: Environment, node: Node) -> Iterator[Problem]:
    if node.group is None:
        return
    names = _names_inside(node.layer)
    for field, name in names.items():
        if not is_name(name, inside=True):
            yield Problem(f"{node.at}.{field}", _bad_name(name))
    for field, name in names.items():
        if env.layer(join(node.path, name)) is not None:
            yield Problem(f"{node.at}.{field}", f"a layer inside is called '{name}' too; rename one")
    yield from _bad_words(node.group.outputs, f"{node.group.at}.outputs", inside=True)
    for name, layer in node.group.outputs.items():
        if name != layer and env.layer(join(node.path, name)) is not None:
            message = f"a layer inside is called '{name}' too; rename the output"
            yield Problem(f"{node.group.at}.outputs.{name}", message)


def _names_inside(layer: Layer) -> dict[str, str]:
    """Return the names by which layers inside read tensors outside, by the field that gives each."""
    if isinstance(layer, Looped):
        return layer.read_inside
    return {f"inputs.{name}": name for name in layer.inputs} if isinstance(layer, Nest) else {}


def _bad_words(names: Iterable[str], at: str, *, inside: bool = False) -> Iterator[Problem]:
    for name in names:
        if not is_name(name, inside=inside):
            yield Problem(f"{at}.{name}", _bad_name(name))


def _bad_name(name: str) -> str:
    return f"'{name}' is not a valid name; allowed: {NAME_RULE}{_hint(name)}"


def _bad_paths(naming: Mapping[str, str], at: str) -> Iterator[Problem]:
    for name, own in naming.items():
        if not is_path(own, inside=True):  # where it is not, the variable is refused by its full name
            yield Problem(
                f"{at}.{name}", f"'{own}' is not a valid name; allowed between slashes: {NAME_RULE}{_hint(own)}"
            )


def _hint(word: str) -> str:
    return f"; {INDEX} is filled in only inside a scope with repeat" if INDEX in word else ""
