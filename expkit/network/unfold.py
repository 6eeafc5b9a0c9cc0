"""From the nested layers of the configuration to a flat list, every name resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from expkit.config.schema import NetworkConfig
from expkit.errors import Problem, did_you_mean, listed
from expkit.network.layer import Layer
from expkit.network.layers.scope import Scope
from expkit.network.names import NAME_RULE, Reuse, absolute, inherit, is_name, is_path, join

__all__ = ["Node", "Source", "unfold"]


class Source(NamedTuple):
    """What is read: a layer or a network input by its path, and which of its outputs."""

    layer: str
    output: str = ""

    @property
    def path(self) -> str:
        """The path of the tensor."""
        return join(self.layer, self.output)


@dataclass(frozen=True)
class Node:
    """A layer with its names resolved, its shapes not yet known."""

    at: str
    """Path in the configuration."""
    path: str
    layer: Layer
    inputs: tuple[Source, ...]
    named: Mapping[str, Source]
    """What it reads besides, by the field that names it."""
    scope: str
    reuse: Reuse
    naming: Mapping[str, str]
    """Names for variables by what layers call them, from the network inwards."""
    trainable: bool

    def variable_name(self, name: str) -> str:
        """Return the full name of the variable that the layer calls ``name``."""
        return join(self.scope, self.naming.get(name, name))

    @property
    def reads(self) -> tuple[tuple[str, Source], ...]:
        """All it reads, each with the field that says so."""
        return (*(("input", source) for source in self.inputs), *self.named.items())


@dataclass(frozen=True)
class _Place:
    """What a layer inherits from where it stands."""

    at: str
    path: str
    scope: str
    reuse: Reuse
    naming: Mapping[str, str]
    trainable: bool
    inputs: tuple[Source, ...] | None
    """What the first layer reads: layers or network inputs; ``None`` where it has to say."""


def unfold(network: NetworkConfig) -> tuple[list[Node], dict[str, Source], list[Problem]]:
    """Return all layers but scopes in the order written, what the outputs are, and every mistake in names."""
    problems = list(_bad_names(network))
    inputs = tuple(map(Source, network.inputs)) if len(network.inputs) == 1 else None
    root = _Place("network.layers", "", "", "false", network.variables, True, inputs)
    known: dict[str, Layer] = {}
    _collect(network.layers, "", known)
    for name in network.inputs:
        if name in known:
            problems.append(Problem(f"network.inputs.{name}", f"a layer is called '{name}' too; rename one"))
    names = _Names(known, tuple(network.inputs), problems)
    nodes = list(_walk(network.layers, root, names, problems))
    outputs = {}
    for name, layer in network.outputs.items():
        found, source = names.inside("", layer)
        if not found:
            near = did_you_mean(layer, known) or ";"
            problems.append(Problem(f"network.outputs.{name}", f"no layer '{layer}'{near} allowed: {listed(known)}"))
        elif source is not None:
            outputs[name] = source
    return nodes, outputs, problems


def _collect(layers: Mapping[str, Layer], prefix: str, known: dict[str, Layer]) -> None:
    for name, layer in layers.items():
        known[join(prefix, name)] = layer
        if isinstance(layer, Scope):
            _collect(layer.layers, join(prefix, name), known)


@dataclass(frozen=True)
class _Names:
    """All layers and inputs, to resolve what a layer says it reads."""

    known: Mapping[str, Layer]
    inputs: tuple[str, ...]
    problems: list[Problem]

    def inside(self, scope: str, name: str) -> tuple[bool, Source | None]:
        """Return whether a scope holds a layer, or a layer's output, of that name; and what it comes down to.

        It comes down to nothing where a scope names an output that it does not have, which is told there.
        """
        path = join(scope, name)
        if path in self.known:
            return True, self.output_of(path)
        layer, _, output = path.rpartition("/")
        if layer in self.known and not isinstance(self.known[layer], Scope) and len(layer) > len(scope):
            return True, Source(layer, output)
        return False, None

    def output_of(self, path: str) -> Source | None:
        """Return what a layer's own name stands for: of a scope, the layer inside that is its output."""
        layer = self.known[path]
        if not isinstance(layer, Scope):
            return Source(path)
        return self.inside(path, layer.output or next(reversed(layer.layers)))[1]

    def resolve(self, name: str, scope: str, at: str) -> Source | None:
        """Return what ``name`` means within ``scope``: the nearest enclosing scope that knows it wins."""
        inside = scope
        while True:
            found, source = self.inside(inside, name)
            if found:
                return source
            if not inside:
                break
            inside = inside.rpartition("/")[0]
        if name in self.inputs:
            return Source(name)
        allowed = [*self.inputs, *self.known]
        near = did_you_mean(name, allowed) or ";"
        self.problems.append(Problem(at, f"no layer or input '{name}'{near} allowed: {listed(allowed, 40)}"))
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
        output = names.output_of(path)
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
        else:
            named = _named(layer, at, place, names)
            if inputs is not None and named is not None:
                yield Node(at, path, layer, inputs, named, scope, reuse, naming, trainable)
        before = (output,) if output is not None else None


def _inputs(
    layer: Layer, at: str, place: _Place, before: tuple[Source, ...] | None, names: _Names
) -> tuple[Source, ...] | None:
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
    found = [names.resolve(name, place.path, f"{at}.input") for name in asked]
    return None if None in found else tuple(source for source in found if source is not None)


def _named(layer: Layer, at: str, place: _Place, names: _Names) -> dict[str, Source] | None:
    """Return what a layer reads by name; ``None`` when that is not known, for which there is a problem already."""
    asked = {field: getattr(layer, field) for field in layer.reads if getattr(layer, field) is not None}
    found = {field: names.resolve(name, place.path, f"{at}.{field}") for field, name in asked.items()}
    return None if None in found.values() else {field: source for field, source in found.items() if source is not None}


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
