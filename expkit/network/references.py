"""What a name stands for where it is written: a layer, one of its outputs, an input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from expkit.errors import MAX_EXPLAINED, Problem, unknown
from expkit.network.expand import Inside, Part
from expkit.network.names import join

__all__ = ["Names", "Source"]


class Source(NamedTuple):
    """What is read: a layer or a network input by its path, and which of its outputs."""

    layer: str
    output: str = ""

    @property
    def path(self) -> str:
        """The path of the tensor."""
        return join(self.layer, self.output)


class Names:
    """All layers and inputs by path, to find what a name stands for."""

    def __init__(self, network: Inside, inputs: tuple[str, ...], problems: list[Problem]) -> None:
        self.inputs = inputs
        self.layers: dict[str, Part] = {}
        self._network = network
        self._problems = problems
        self._repeated: dict[str, str] = {}
        self._given: dict[str, Mapping[str, Source | None]] = {}
        self._collect(network, "")

    def _collect(self, inside: Inside, path: str) -> None:
        self._repeated |= {join(path, name): join(path, last) for name, last in inside.repeated.items()}
        for name, part in inside.parts.items():
            self.layers[join(path, name)] = part
            if part.inside is not None:
                self._collect(part.inside, join(path, name))

    def give(self, scope: str, inputs: Mapping[str, Source | None]) -> None:
        """Let layers inside a scope read its inputs by name; one that came to nothing is told already."""
        self._given[scope] = inputs

    def inside(self, scope: str, name: str) -> tuple[bool, Source | None]:
        """Return whether a scope holds a layer, or a layer's output, of that name; and what it comes down to.

        It comes down to nothing where a scope names an output that it does not have, which is told there.
        """
        if (part := self._layer(join(scope, name))) is not None:
            return True, self.output_of(part)
        path, _, output = name.rpartition("/")
        layer = self._layer(join(scope, path)) if path else None
        if layer is None:
            return False, None
        inner = self.layers[layer].inside
        if inner is None:
            return True, Source(layer, output)
        return self.inside(layer, inner.outputs[output]) if output in inner.outputs else (False, None)

    def _layer(self, path: str) -> str | None:
        return path if path in self.layers else self._repeated.get(path)

    def output_of(self, path: str) -> Source | None:
        """Return what a layer's own name stands for: of a scope, the layer inside that is its output."""
        inside = self.layers[path].inside
        if inside is None:
            return Source(path)
        output = inside.output or next(reversed(inside.parts), None)
        return self.inside(path, output)[1] if output is not None else None

    def resolve(self, name: str, scope: str, at: str) -> Source | None:
        """Return what ``name`` means within ``scope``: the nearest enclosing scope that knows it wins."""
        place = scope
        seen: list[str] = []
        while True:
            found, source = self.inside(place, name)
            if found:
                return source
            given = self._given.get(place, {})
            if name in given:
                return given[name]
            seen += given
            holder = self.layers[place].inside if place else None
            if holder is not None and holder.block is not None:
                self._unknown_in_block(name, place, holder, at)
                return None
            if not place:
                break
            place = place.rpartition("/")[0]
        if name in self.inputs:
            return Source(name)
        if len(self._problems) >= MAX_EXPLAINED:
            self._problems.append(Problem(at, f"no layer or input '{name}'"))
            return None
        outputs = [
            join(path, output)
            for path, part in self.layers.items()
            if part.inside is not None
            for output in part.inside.outputs
        ]
        allowed = [*self.inputs, *seen, *self.layers, *outputs]
        self._problems.append(Problem(at, unknown(f"no layer or input '{name}'", name, allowed, most=40)))
        return None

    def _unknown_in_block(self, name: str, place: str, holder: Inside, at: str) -> None:
        allowed = [*self._given.get(place, {}), *holder.parts]
        sentence = f"no layer or input '{name}' in block '{holder.block}' as {self.layers[place].at} connects it"
        message = f"{unknown(sentence, name, allowed, most=40)}; give it more with inputs: {{NAME: LAYER}}"
        self._problems.append(Problem(at, message))
