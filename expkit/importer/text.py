"""The draft of a network as YAML: guessed layers in their scopes, chained where shapes fit, with fields to fill in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from expkit.errors import comma_list
from expkit.importer.contents import Contents, OwnedVariables, group_by_ownership
from expkit.importer.guess import Guess, guess_layers
from expkit.network.names import is_name, is_path, join
from expkit.tensor_spec import TensorSpec

__all__ = ["write_yaml"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-/]*\Z")
_NOT_PLAIN = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def write_yaml(contents: Contents, source: str) -> str:
    """Return the text of a network file that owns all the variables.

    Args:
        contents: variables, and the operations that use them.
        source: name of the file they are from, for the comment on top.
    """
    owned = group_by_ownership(contents.variables)
    named = {name: spec for name, spec in owned.variables.items() if _can_be_declared(name, spec)}
    guesses = guess_layers(named, contents.uses)
    writer = _Writer(contents, named, _naming(guesses))
    layers = [*writer.scope(_tree([guess for guess in guesses if guess.kind != "variable"]), "", 1)]
    output = writer.last
    trailing = [guess for guess in guesses if guess.kind == "variable"]
    if output is None:
        writer.inputs["x"] = (TensorSpec((1,)), "fill in: the network's input")
    lines = [*map(_comment, _head(contents, owned, named, source)), "inputs:", *writer.input_lines()]
    if writer.naming:
        lines.append(f"variables: {_flow(writer.naming)}")
    lines += ["layers:", *layers]
    if trailing:
        lines.append("  # Variables of no known layer. fill in: the layers that own them")
        lines += [writer.variable(guess, output is None) for guess in trailing]
    lines += ["outputs:", f"  {writer.name_of_output()}: {_word(output or writer.last or '')}  # fill in: all outputs"]
    return "\n".join(lines) + "\n"


def _can_be_declared(name: str, spec: TensorSpec) -> bool:
    return is_path(name) and all(size > 0 for size in spec.sizes)


def _head(contents: Contents, owned: OwnedVariables, named: Mapping[str, Any], source: str) -> Iterator[str]:
    count = len(named)
    yield f"# Drafted by `expkit import-graph` from {source}: {count} variable{'s' * (count != 1)}."
    yield "# Unknown values are marked: fill in. Layers read the one before where shapes fit; check that they should."
    if owned.slots:
        slots = ", ".join(f"VARIABLE/{slot} of {number}" for slot, number in owned.slots.items())
        yield f"# Left out, because training creates them: optimizer slots {slots}"
    if owned.emas:
        yield f"# Left out, because training creates them: EMA VARIABLE/ExponentialMovingAverage of {owned.emas}"
    if owned.counters:
        yield f"# Left out, because training creates them: {comma_list(owned.counters)}"
    if unnamed := [name for name in owned.variables if name not in named]:
        yield f"# Left out, because expkit rejects their names or sizes: {comma_list(unnamed)}"
    if contents.has_operations:
        yield f"# The graph's inputs: {comma_list(f'{name} {spec}' for name, spec in contents.inputs.items())}"
        yield f"# The graph's outputs: {comma_list(contents.outputs)}"


def _comment(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)  # Foreign names may contain anything.


def _naming(guesses: list[Guess]) -> dict[str, str]:
    """Return names of kernels and biases that are the same in the whole network."""
    naming = {}
    for local in ("kernel", "bias", "depthwise_kernel", "pointwise_kernel"):
        names = {_own(guess, local) for guess in guesses if local in guess.names}
        if len(names) == 1 and names != {local}:
            naming[local] = names.pop()
    return naming


def _own(guess: Guess, local: str) -> str:
    name = guess.names[local]
    return name[len(guess.scope) + 1 :] if guess.scope else name


@dataclass
class _Node:
    """A scope with its layers and inner scopes, in order."""

    guesses: list[Guess] = field(default_factory=list)
    inside: dict[str, _Node] = field(default_factory=dict)


def _tree(guesses: list[Guess]) -> _Node:
    root = _Node()
    for guess in guesses:
        node = root
        for scope in guess.scope.split("/") if guess.scope else ():
            node = node.inside.setdefault(scope, _Node())
        node.guesses.append(guess)
    return root


class _Writer:
    """Writes layers line by line, and collects the network inputs that they need."""

    def __init__(self, contents: Contents, variables: Mapping[str, Any], naming: Mapping[str, str]) -> None:
        self.inputs: dict[str, tuple[TensorSpec, str]] = {}
        self.naming = dict(naming)
        self.last: str | None = None
        """The last layer or scope written at the root."""
        self._graph_inputs = dict(contents.inputs)
        self._has_operations = contents.has_operations
        self._variables = variables
        self._before: TensorSpec | None = None
        self._keys: dict[str, set[str]] = {}

    def scope(self, node: _Node, path: str, depth: int) -> Iterator[str]:
        """Yield the lines of a scope's layers."""
        for guess in node.guesses:
            key = self._key(path, _short(guess), taken=node.inside)
            yield self._layer(guess, key, path, depth, scope="" if path or guess.scope == "" else None)
            self._set_last(path, key)
        for name, inner in node.inside.items():
            single = len(inner.guesses) == 1 and not inner.inside
            key = self._key(path, name)
            while single and join(path, key) in self._variables:
                key = self._key(path, f"{name}_layer")
            scope = name if key != name else None
            if single:
                yield self._layer(inner.guesses[0], key, path, depth, scope)
            else:
                yield f"{'  ' * depth}{_word(key)}:"
                yield f"{'  ' * (depth + 1)}kind: scope"
                if scope is not None:
                    yield f"{'  ' * (depth + 1)}scope: {_word(scope)}"
                yield f"{'  ' * (depth + 1)}layers:"
                yield from self.scope(inner, join(path, key), depth + 2)
            self._set_last(path, key)

    def variable(self, guess: Guess, alone: bool) -> str:
        """Return the line of a variable of no known layer."""
        name = guess.names["value"]
        key = self._key("", name.replace("/", "."), taken={})
        fields = {"scope": f"/{guess.scope}" if guess.scope else "", **guess.fields}
        own = name.rpartition("/")[2]
        if own != "value":
            fields["variables"] = {"value": own}
        if alone:
            fields["batch_of"] = "x"
        self._set_last("", key)
        return f"  {_word(key)}: {_flow({'kind': 'variable', **fields})}"

    def input_lines(self) -> Iterator[str]:
        """Yield the lines of the inputs."""
        for name, (spec, note) in self.inputs.items():
            fields: dict[str, Any] = {"shape": list(spec.shape)}
            if spec.dtype != "float32":
                fields["dtype"] = spec.dtype
            yield f"  {_word(name)}: {_flow(fields)}" + (f"  # {note}" if note else "")

    def name_of_output(self) -> str:
        """Return an unused name for the network's output."""
        taken = {*self._keys.get("", ()), *self.inputs, *self._variables}
        return next(name for name in ("out", "output", "result", "network_output") if name not in taken)

    def _layer(self, guess: Guess, key: str, path: str, depth: int, scope: str | None) -> str:
        output = None if self._before is None else guess.output(self._before)
        reads = {}
        if output is None:
            reads["input"] = self._input(guess, join(path, key))
            output = guess.output(self.inputs[reads["input"]][0])
        self._before = output
        names = {local: _own(guess, local) for local in guess.names}
        names = {local: own for local, own in names.items() if self.naming.get(local, local) != own}
        fields = {"kind": guess.kind, **reads, **({} if scope is None else {"scope": scope}), **guess.fields}
        if names:
            fields["variables"] = names
        notes = [f"fill in: {', '.join(guess.unknown)}"] if guess.unknown else []
        notes += [guess.note] if guess.note else []
        comment = _comment(f"  # {'; '.join(notes)}") if notes else ""
        return f"{'  ' * depth}{_word(key)}: {_flow(fields)}{comment}"

    def _input(self, guess: Guess, path: str) -> str:
        """Return the name of a network input that a layer accepts: one of the graph, or a new one."""
        for name, spec in self._graph_inputs.items():
            free = is_name(name) and name not in self._variables and name not in self.inputs
            if free and guess.output(spec) is not None:
                self.inputs[name] = (spec, "")
                return name
        assert guess.reads is not None
        name = f"into_{path.replace('/', '_')}"
        while name in self.inputs or name in self._variables:
            name += "_"
        self.inputs[name] = (guess.reads, f"fill in: the input of {path}")
        return name

    def _key(self, path: str, word: str, taken: Mapping[str, Any] | None = None) -> str:
        """Return a name for a layer that is unused in its scope, and whose path is not a variable's name."""
        keys = self._keys.setdefault(path, set())
        word = word if is_name(word) else re.sub(r"^[^A-Za-z0-9.]+|[^A-Za-z0-9_.\-]", "", word) or "layer"
        key, number = word, 1
        while key in keys or key in (taken or ()) or (taken is not None and join(path, key) in self._variables):
            key, number = f"{word}_{number}", number + 1
        keys.add(key)
        return key

    def _set_last(self, path: str, key: str) -> None:
        if not path:
            self.last = key


def _short(guess: Guess) -> str:
    """Return a name for one of several layers in a scope: its variable's name without ``kernel`` or the like."""
    first = next(iter(guess.names)) if guess.names else guess.kind
    own = _own(guess, first)
    stem = re.sub(r"(^|_)(weights?|kernel|w|embeddings?)(?=_?\d*$)", "", own)
    plain = "/" not in own and guess.kind not in ("batch_norm", "layer_norm", "lstm")
    return stem if plain and is_name(stem) else guess.kind


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_word(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _word(value) if isinstance(value, str) else json.dumps(value)


def _word(text: str) -> str:
    return text if _PLAIN.match(text) and text.lower() not in _NOT_PLAIN else json.dumps(text)
