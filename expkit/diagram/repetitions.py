"""Chains of scopes of the same structure, which are drawn once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from expkit.kinds.layers.base import Layer
from expkit.network.names import join
from expkit.network.spec import LayerSpec, NetworkSpec

__all__ = ["Repetition", "find_repetitions", "own_fields"]

MIN_SCOPES = 3
"""Scopes in a chain that are drawn once; fewer are drawn separately."""


@dataclass(frozen=True)
class Repetition:
    """A chain of scopes of the same structure, each reading the one before."""

    paths: tuple[str, ...]
    shared: bool
    """True if all of them use the variables of the first."""


@dataclass
class _Tree:
    layers: list[LayerSpec] = field(default_factory=list)
    """All layers inside, in order."""
    inner: dict[str, _Tree] = field(default_factory=dict)


def find_repetitions(spec: NetworkSpec, readers: Mapping[str, Sequence[str]]) -> list[Repetition]:
    """Return the chains of scopes to draw once, outer ones first; none is inside a repeated scope of another.

    Args:
        spec: the network.
        readers: paths of the layers and outputs that read a layer, by its path.
    """
    root = _Tree()
    for layer in spec.layers:
        tree = root
        for name in layer.path.split("/"):
            tree = tree.inner.setdefault(name, _Tree())
            tree.layers.append(layer)
    return list(_runs(root, "", spec, readers))


def own_fields(layer: LayerSpec) -> dict[str, Any]:
    """Return the fields of a layer's own kind that differ from their defaults."""
    fields = type(layer.layer).__pydantic_fields__
    own = [name for name in fields if name not in Layer.__pydantic_fields__ and name not in layer.layer.reads]
    values = {name: getattr(layer.layer, name) for name in own if name != "kind"}
    return {name: value for name, value in values.items() if value != fields[name].default}


def _runs(tree: _Tree, path: str, spec: NetworkSpec, readers: Mapping[str, Sequence[str]]) -> Iterator[Repetition]:
    scopes = [(join(path, name), inner) for name, inner in tree.inner.items() if inner.inner]
    start = 0
    while start < len(scopes):
        end = _end_of_run(scopes, start, spec)
        run = tuple(name for name, _ in scopes[start:end])
        if len(run) >= MIN_SCOPES and _closed(scopes[start:end], readers):
            first, second = scopes[start], scopes[start + 1]
            shared = bool(_creators(second, first[0], spec)) and all(
                creator.startswith(f"{first[0]}/") for creator in _creators(second, first[0], spec)
            )
            yield Repetition(run, shared)
        else:
            end = start + 1
        yield from _runs(scopes[start][1], scopes[start][0], spec, readers)
        start = end


def _end_of_run(scopes: list[tuple[str, _Tree]], start: int, spec: NetworkSpec) -> int:
    """Return the index after the last scope of the chain that begins at ``start``."""
    first, end = scopes[start], start + 1
    expected: list[Any] | None = None
    while end < len(scopes):
        structure = _structure(scopes[end], scopes[end - 1][0], first[0], spec)
        if structure is None or (expected is not None and structure != expected):
            break
        if expected is None and not _starts(_structure(first, "", first[0], spec) or [], structure):
            break
        expected, end = structure, end + 1
    return end


def _structure(scope: tuple[str, _Tree], before: str, first: str, spec: NetworkSpec) -> list[Any] | None:
    """Return the structure of a scope, for comparison; ``None`` if it does not read the scope before it."""
    path, tree = scope
    structure, reads_before = [], not before
    for layer in tree.layers:
        inputs = [_relative(source, path, before) for source in (*layer.inputs, *layer.named.values())]
        reads_before |= any(where == "before" for where, _ in inputs)
        variables = []
        for local, full in layer.bindings.items():
            variable = spec.variables[full]
            creator = variable.layers[0]
            created_by = (
                _relative(creator, path, first)[1] if creator.startswith((f"{path}/", f"{first}/")) else creator
            )
            transposed = layer.shared.get(local)
            variables.append((local, variable.shape, variable.dtype, variable.trainable, created_by, transposed))
        fields = own_fields(layer)
        kind = (layer.layer.kind, tuple(layer.named), fields)
        structure.append((layer.path[len(path) :], kind, dict(layer.outputs), inputs, variables))
    return structure if reads_before else None


def _relative(source: str, path: str, before: str) -> tuple[str, str]:
    if source.startswith(f"{path}/"):
        return "inside", source[len(path) :]
    return ("before", source[len(before) :]) if before and source.startswith(f"{before}/") else ("outside", source)


def _starts(first: list[Any], second: list[Any]) -> bool:
    """Return True if two structures differ only where the second reads the first scope and the first another layer."""
    if len(first) != len(second):
        return False
    for (*layer, reads, variables), (*next_layer, next_reads, next_variables) in zip(first, second, strict=True):
        if layer != next_layer or variables != next_variables or len(reads) != len(next_reads):
            return False
        if any(a != b and (a[0], b[0]) != ("outside", "before") for a, b in zip(reads, next_reads, strict=True)):
            return False
    return True


def _closed(scopes: list[tuple[str, _Tree]], readers: Mapping[str, Sequence[str]]) -> bool:
    """Return True if every scope but the last is read only by the next one."""
    for (path, tree), (after, _) in pairwise(scopes):
        read_by = {reader for layer in tree.layers for reader in readers.get(layer.path, ())}
        if not all(reader.startswith((f"{path}/", f"{after}/")) for reader in read_by):
            return False
    return True


def _creators(scope: tuple[str, _Tree], first: str, spec: NetworkSpec) -> set[str]:
    return {spec.variables[full].layers[0] for layer in scope[1].layers for full in layer.bindings.values()}
