"""Names that TensorFlow would not take, or that would stand for two things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from expkit.config.sections.network import NetworkConfig
from expkit.errors import Problem
from expkit.network.expand import Inside, Part
from expkit.network.names import INDEX, NAME_RULE, is_name, is_path

__all__ = ["bad_names"]


def bad_names(network: NetworkConfig, layers: Inside) -> Iterator[Problem]:
    """Yield a problem for every name that cannot be one; of repetitions the first is told."""
    yield from _words(network.inputs, "network.inputs")
    yield from _words(network.outputs, "network.outputs")
    yield from _words(network.blocks, "network.blocks")
    yield from _paths(network.variables, "network.variables")
    for name in network.inputs:
        if name in layers.parts or name in layers.repeated:
            yield Problem(f"network.inputs.{name}", f"a layer is called '{name}' too; rename one")
    told: dict[str, Problem] = {}
    for problem in _inside(layers):
        told.setdefault(problem.path, problem)
    yield from told.values()


def _inside(layers: Inside) -> Iterator[Problem]:
    for name, part in layers.parts.items():
        yield from _layer(name, part)
        if part.inside is not None:
            yield from _scope(part, part.inside)
            yield from _inside(part.inside)


def _layer(name: str, part: Part) -> Iterator[Problem]:
    if not is_name(name):
        yield Problem(part.at, f"'{name}' is no name; allowed: {NAME_RULE}{_hint(name)}")
    scope = (part.layer.scope or "").removeprefix("/")
    if scope and not is_path(scope):
        message = f"'{part.layer.scope}' is no scope; allowed between slashes: {NAME_RULE}{_hint(scope)}"
        yield Problem(f"{part.at}.scope", message)
    yield from _paths(part.layer.variables, f"{part.at}.variables")


def _scope(part: Part, inside: Inside) -> Iterator[Problem]:
    given: Iterable[str] = getattr(part.layer, "inputs", ())
    yield from _words(given, f"{part.at}.inputs")
    yield from _words(inside.outputs, f"{inside.at}.outputs")
    for name in given:
        if name in inside.parts or name in inside.repeated:
            yield Problem(f"{part.at}.inputs.{name}", f"a layer inside is called '{name}' too; rename one")
    for name, layer in inside.outputs.items():
        if name != layer and (name in inside.parts or name in inside.repeated):
            yield Problem(
                f"{inside.at}.outputs.{name}", f"a layer inside is called '{name}' too; call the output otherwise"
            )


def _words(names: Iterable[str], at: str) -> Iterator[Problem]:
    for name in names:
        if not is_name(name):
            yield Problem(f"{at}.{name}", f"'{name}' is no name; allowed: {NAME_RULE}{_hint(name)}")


def _paths(naming: Mapping[str, str], at: str) -> Iterator[Problem]:
    for name, own in naming.items():
        if not is_path(own):
            yield Problem(f"{at}.{name}", f"'{own}' is no name; allowed between slashes: {NAME_RULE}{_hint(own)}")


def _hint(word: str) -> str:
    return f"; {INDEX} is filled in only inside a scope with repeat" if INDEX in word else ""
