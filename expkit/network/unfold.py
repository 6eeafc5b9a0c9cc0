"""From the nested layers of the configuration to a flat list, every name resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from expkit.config.schema import NetworkConfig
from expkit.errors import Problem, did_you_mean, listed
from expkit.network.layer import Layer
from expkit.network.layers.scope import Scope
from expkit.network.names import NAME_RULE, Reuse, absolute, inherit, is_name, is_path, join

__all__ = ["Node", "unfold"]


@dataclass(frozen=True)
class Node:
    """A layer with its names resolved, its shapes not yet known."""

    at: str
    """Path in the configuration."""
    path: str
    layer: Layer
    inputs: tuple[str, ...]
    scope: str
    reuse: Reuse
    naming: Mapping[str, str]
    """Names for variables by what layers call them, from the network inwards."""
    trainable: bool

    def variable_name(self, name: str) -> str:
        """Return the full name of the variable that the layer calls ``name``."""
        return join(self.scope, self.naming.get(name, name))


@dataclass(frozen=True)
class _Place:
    """What a layer inherits from where it stands."""

    at: str
    path: str
    scope: str
    reuse: Reuse
    naming: Mapping[str, str]
    trainable: bool
    inputs: tuple[str, ...] | None
    """What the first layer reads: layers or network inputs; ``None`` where it has to say."""


def unfold(network: NetworkConfig) -> tuple[list[Node], dict[str, str], list[Problem]]:
    """Return all layers but scopes in the order written, the outputs' layers, and every mistake in names."""
    problems = list(_bad_names(network))
    inputs = tuple(network.inputs) if len(network.inputs) == 1 else None
    root = _Place("network.layers", "", "", "false", network.variables, True, inputs)
    known: dict[str, Layer] = {}
    _collect(network.layers, "", known)
    for name in network.inputs:
        if name in known:
            problems.append(Problem(f"network.inputs.{name}", f"a layer is called '{name}' too; rename one"))
    nodes = list(_walk(network.layers, root, _Names(known, tuple(network.inputs), problems), problems))
    outputs = {}
    for name, layer in network.outputs.items():
        path = _output_of(layer, known)
        if layer not in known:
            near = did_you_mean(layer, known) or ";"
            problems.append(Problem(f"network.outputs.{name}", f"no layer '{layer}'{near} allowed: {listed(known)}"))
        elif path is not None:
            outputs[name] = path
    return nodes, outputs, problems


def _collect(layers: Mapping[str, Layer], prefix: str, known: dict[str, Layer]) -> None:
    for name, layer in layers.items():
        known[join(prefix, name)] = layer
        if isinstance(layer, Scope):
            _collect(layer.layers, join(prefix, name), known)


def _output_of(path: str, known: Mapping[str, Layer]) -> str | None:
    """Return the layer behind a path, going into scopes; ``None`` when there is none."""
    layer = known.get(path)
    while isinstance(layer, Scope):
        path = join(path, layer.output or next(reversed(layer.layers)))
        layer = known.get(path)
    return path if layer is not None else None


@dataclass(frozen=True)
class _Names:
    """All layers and inputs, to resolve what a layer says it reads."""

    known: Mapping[str, Layer]
    inputs: tuple[str, ...]
    problems: list[Problem]

    def resolve(self, name: str, inside: str, at: str) -> str | None:
        """Return what ``name`` means within the scope ``inside``: the nearest enclosing one that knows it wins."""
        scope = inside
        while True:
            if (path := join(scope, name)) in self.known:
                return _output_of(path, self.known)
            if not scope:
                break
            scope = scope.rpartition("/")[0]
        if name in self.inputs:
            return name
        allowed = [*self.inputs, *self.known]
        near = did_you_mean(name, allowed) or ";"
        self.problems.append(Problem(f"{at}.input", f"no layer or input '{name}'{near} allowed: {listed(allowed, 40)}"))
        return None


def _walk(layers: Mapping[str, Layer], place: _Place, names: _Names, problems: list[Problem]) -> Iterator[Node]:
    before = place.inputs
    for key, layer in layers.items():
        at, path = f"{place.at}.{key}", join(place.path, key)
        inputs = _inputs(layer, at, place, before, names)
        scope = absolute(place.scope, key if layer.scope is None else layer.scope)
        own: Reuse = "auto" if layer.reuse == "auto" else "true" if layer.reuse else "false"
        from_root = layer.scope is not None and layer.scope.startswith("/")
        reuse = inherit(place.reuse, own, from_root=from_root)
        naming = {**place.naming, **layer.variables}
        trainable = place.trainable and layer.trainable
        output = _output_of(path, names.known)
        if isinstance(layer, Scope):
            for field in ("initializer", "regularizer"):
                if getattr(layer, field):
                    problems.append(
                        Problem(f"{at}.{field}", "a scope owns no variables; give it to a layer, or to network.rules")
                    )
            if output is None:
                near = did_you_mean(str(layer.output), layer.layers) or ";"
                problems.append(
                    Problem(f"{at}.output", f"no layer '{layer.output}' inside{near} allowed: {listed(layer.layers)}")
                )
            inner = _Place(f"{at}.layers", path, scope, reuse, naming, trainable, inputs)
            yield from _walk(layer.layers, inner, names, problems)
        elif inputs is not None:
            yield Node(at, path, layer, inputs, scope, reuse, naming, trainable)
        before = (output,) if output is not None else None


def _inputs(
    layer: Layer, at: str, place: _Place, before: tuple[str, ...] | None, names: _Names
) -> tuple[str, ...] | None:
    """Return what a layer reads; ``None`` when that is not known, for which there is a problem already."""
    if layer.input is None:
        if before is None and place.inputs is None and not isinstance(layer, Scope):
            names.problems.append(
                Problem(
                    f"{at}.input", f"missing: there are several inputs; say which one to read: {listed(names.inputs)}"
                )
            )
        return before
    asked = (layer.input,) if isinstance(layer.input, str) else layer.input
    found = [names.resolve(name, place.path, at) for name in asked]
    return None if None in found else tuple(path for path in found if path is not None)


def _bad_names(network: NetworkConfig) -> Iterator[Problem]:
    for name in network.inputs:
        if not is_name(name):
            yield Problem(f"network.inputs.{name}", f"'{name}' is no name; allowed: {NAME_RULE}")
    for name in network.outputs:
        if not is_name(name):
            yield Problem(f"network.outputs.{name}", f"'{name}' is no name; allowed: {NAME_RULE}")
    yield from _bad_variable_names(network.variables, "network")
    yield from _bad_layer_names(network.layers, "network.layers")


def _bad_layer_names(layers: Mapping[str, Layer], at: str) -> Iterator[Problem]:
    for name, layer in layers.items():
        if not is_name(name):
            yield Problem(f"{at}.{name}", f"'{name}' is no name; allowed: {NAME_RULE}")
        scope = (layer.scope or "").removeprefix("/")
        if scope and not is_path(scope):
            yield Problem(f"{at}.{name}.scope", f"'{layer.scope}' is no scope; allowed between slashes: {NAME_RULE}")
        yield from _bad_variable_names(layer.variables, f"{at}.{name}")
        if isinstance(layer, Scope):
            yield from _bad_layer_names(layer.layers, f"{at}.{name}.layers")


def _bad_variable_names(naming: Mapping[str, str], at: str) -> Iterator[Problem]:
    for name, own in naming.items():
        if not is_path(own):
            yield Problem(f"{at}.variables.{name}", f"'{own}' is no name; allowed between slashes: {NAME_RULE}")
