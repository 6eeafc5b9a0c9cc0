"""From the nested layers of the configuration to a flat list, every name resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from expkit.config.sections.network import NetworkConfig
from expkit.errors import Problem, comma_list, unknown
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.scope import Nest, Scope
from expkit.network.expand import Inside, Part, expand
from expkit.network.names import Reuse, absolute, inherit, join
from expkit.network.references import Names, Source
from expkit.network.wellformed import bad_names

__all__ = ["Node", "Unfolded", "unfold"]


@dataclass(frozen=True)
class Node:
    """A layer with its names resolved, its shapes not yet known."""

    at: str
    """Path in the configuration."""
    connected: str
    """Path of the layer that connects the outermost block around it; ``at`` where there is none."""
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
    learning_rate_multiplier: float

    def variable_name(self, name: str) -> str:
        """Return the full name of the variable that the layer calls ``name``."""
        return join(self.scope, self.naming.get(name, name))

    @property
    def reads(self) -> tuple[tuple[str, Source], ...]:
        """All it reads, each with the field that says so."""
        return (*(("input", source) for source in self.inputs), *self.named.items())


@dataclass(frozen=True)
class Unfolded:
    """A network with its names resolved."""

    nodes: tuple[Node, ...]
    """All layers but scopes, in the order written."""
    scopes: Mapping[str, Part]
    """Scopes and blocks, by path."""
    promised: tuple[tuple[str, Source], ...]
    """What scopes call their outputs, each with its path in the configuration."""
    outputs: Mapping[str, Source]


@dataclass(frozen=True)
class _Place:
    """What a layer inherits from where it stands."""

    path: str
    scope: str
    reuse: Reuse
    naming: Mapping[str, str]
    trainable: bool
    learning_rate_multiplier: float
    inputs: tuple[Source, ...] | None
    """What the first layer reads: layers or network inputs; ``None`` where that is not known."""
    must_say: bool
    """Whether it is not known because there are several network inputs."""


def unfold(network: NetworkConfig, problems: list[Problem]) -> Unfolded:
    """Return all layers with their names resolved; every mistake in names becomes a problem."""
    layers = expand(network, problems)
    problems += bad_names(network, layers)
    inputs = tuple(map(Source, network.inputs)) if len(network.inputs) == 1 else None
    root = _Place("", "", "false", network.variables, True, 1.0, inputs, inputs is None)
    names = Names(layers, tuple(network.inputs), problems)
    nodes = tuple(_walk(layers, root, names, problems))
    scopes = {path: part for path, part in names.layers.items() if part.inside is not None}
    promised = [found for path, part in scopes.items() for found in _promised(path, part, names, problems)]
    outputs = {}
    for name, layer in network.outputs.items():
        found, source = names.inside("", layer)
        if not found:
            problems.append(Problem(f"network.outputs.{name}", unknown(f"no layer '{layer}'", layer, names.layers)))
        elif source is not None:
            outputs[name] = source
    return Unfolded(nodes, scopes, tuple(promised), outputs)


def _promised(path: str, part: Part, names: Names, problems: list[Problem]) -> Iterator[tuple[str, Source]]:
    """Yield what a scope calls its outputs; a name of no layer inside becomes a problem."""
    assert part.inside is not None
    inside = part.inside
    own = {f"{inside.at}.output": inside.output} if inside.output is not None else {}
    for at, name in {**own, **{f"{inside.at}.outputs.{key}": name for key, name in inside.outputs.items()}}.items():
        found, source = names.inside(path, name)
        if not found:
            problems.append(Problem(at, unknown(f"no layer '{name}' inside", name, inside.parts)))
        elif source is not None:
            yield at, source


def _walk(layers: Inside, place: _Place, names: Names, problems: list[Problem]) -> Iterator[Node]:
    before, must_say = place.inputs, place.must_say
    for key, part in layers.parts.items():
        layer, path = part.layer, join(place.path, key)
        given = layer if isinstance(layer, Nest) and layer.inputs else None
        must_say = must_say and layer.input is None and given is None and layer.arity[1] != 0
        if must_say and not isinstance(layer, Scope):
            allowed = comma_list(names.inputs)
            message = f"missing: there are several inputs; say which one to read: {allowed}"
            problems.append(Problem(f"{part.at}.input", message))
            must_say = False
        inputs = _given(part, given, path, place, names) if given else _inputs(part, place, before, names)
        scope = absolute(place.scope, key if layer.scope is None else layer.scope)
        own: Reuse = "auto" if layer.reuse == "auto" else "true" if layer.reuse else "false"
        from_root = layer.scope is not None and layer.scope.startswith("/")
        reuse = inherit(place.reuse, own, from_root=from_root)
        naming = {**place.naming, **layer.variables}
        trainable = place.trainable and layer.trainable
        times = place.learning_rate_multiplier * layer.learning_rate_multiplier
        if part.inside is not None:
            problems += _owned_by_scope(part)
            inner = _Place(path, scope, reuse, naming, trainable, times, inputs, must_say)
            yield from _walk(part.inside, inner, names, problems)
        else:
            named = _named(part, place, names)
            if inputs is not None and named is not None:
                yield Node(part.at, part.connected, path, layer, inputs, named, scope, reuse, naming, trainable, times)
        output = names.output_of(path)
        before, must_say = (output,) if output is not None else None, False


def _owned_by_scope(part: Part) -> Iterator[Problem]:
    for field in ("initializer", "regularizer", "share"):
        if getattr(part.layer, field):
            yield Problem(f"{part.at}.{field}", "a scope owns no variables; give it to a layer, or to network.rules")


def _inputs(part: Part, place: _Place, before: tuple[Source, ...] | None, names: Names) -> tuple[Source, ...] | None:
    """Return what a layer reads; ``None`` when that is not known, for which there is a problem already."""
    layer = part.layer
    if layer.input is None:
        return () if layer.arity[1] == 0 else before
    asked = (layer.input,) if isinstance(layer.input, str) else layer.input
    found = [names.resolve(name, place.path, f"{part.at}.input") for name in asked]
    return None if None in found else tuple(source for source in found if source is not None)


def _given(part: Part, layer: Nest, path: str, place: _Place, names: Names) -> tuple[Source, ...] | None:
    """Let the layers inside a scope know its inputs by name; return what the first of them reads."""
    given = {name: names.resolve(read, place.path, f"{part.at}.inputs.{name}") for name, read in layer.inputs.items()}
    names.give(path, given)
    first = next(iter(given.values()))
    return None if first is None else (first,)


def _named(part: Part, place: _Place, names: Names) -> dict[str, Source] | None:
    """Return what a layer reads by name; ``None`` when that is not known, for which there is a problem already."""
    fields = {field: getattr(part.layer, field) for field in part.layer.reads}
    found = {
        field: names.resolve(name, place.path, f"{part.at}.{field}")
        for field, name in fields.items()
        if name is not None
    }
    return None if None in found.values() else {field: source for field, source in found.items() if source is not None}
