"""Scopes that repeat one after another, to be drawn once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from expkit.kinds.layers.base import Layer
from expkit.network.names import join
from expkit.network.spec import LayerSpec, NetworkSpec

__all__ = ["Fold", "folds", "own_fields"]

LEAST = 3
"""Fewer scopes in a row are drawn each."""


@dataclass(frozen=True)
class Fold:
    """A run of scopes of one make, each reading the one before."""

    paths: tuple[str, ...]
    shared: bool
    """Whether all of them use the first one's variables."""


@dataclass
class _Tree:
    layers: list[LayerSpec] = field(default_factory=list)
    """All below, in order."""
    inner: dict[str, _Tree] = field(default_factory=dict)


def folds(spec: NetworkSpec, readers: Mapping[str, Sequence[str]]) -> list[Fold]:
    """Return the runs of scopes to draw once, outer ones first; none lies in a repetition of another.

    Args:
        spec: the network.
        readers: paths of the layers (and marks of the outputs) that read a layer, by its path.
    """
    root = _Tree()
    for layer in spec.layers:
        tree = root
        for name in layer.path.split("/"):
            tree = tree.inner.setdefault(name, _Tree())
            tree.layers.append(layer)
    return list(_runs(root, "", spec, readers))


def own_fields(layer: LayerSpec) -> dict[str, Any]:
    """Return a layer's settings: the fields of its kind itself that differ from their defaults."""
    fields = type(layer.layer).__pydantic_fields__
    own = [name for name in fields if name not in Layer.__pydantic_fields__ and name not in layer.layer.reads]
    values = {name: getattr(layer.layer, name) for name in own if name != "kind"}
    return {name: value for name, value in values.items() if value != fields[name].default}


def _runs(tree: _Tree, path: str, spec: NetworkSpec, readers: Mapping[str, Sequence[str]]) -> Iterator[Fold]:
    scopes = [(join(path, name), inner) for name, inner in tree.inner.items() if inner.inner]
    place = 0
    while place < len(scopes):
        end = _end_of_run(scopes, place, spec)
        run = tuple(name for name, _ in scopes[place:end])
        if len(run) >= LEAST and _closed(scopes[place:end], readers):
            first, second = scopes[place], scopes[place + 1]
            shared = bool(_makers(second, first[0], spec)) and all(
                maker.startswith(f"{first[0]}/") for maker in _makers(second, first[0], spec)
            )
            yield Fold(run, shared)
        else:
            end = place + 1
        yield from _runs(scopes[place][1], scopes[place][0], spec, readers)
        place = end


def _end_of_run(scopes: list[tuple[str, _Tree]], place: int, spec: NetworkSpec) -> int:
    """Return the place after the last scope that is made as the one at ``place`` and reads the one before it."""
    first, end = scopes[place], place + 1
    wanted: list[Any] | None = None
    while end < len(scopes):
        made = _make(scopes[end], scopes[end - 1][0], first[0], spec)
        if made is None or (wanted is not None and made != wanted):
            break
        if wanted is None and not _begins(_make(first, "", first[0], spec) or [], made):
            break
        wanted, end = made, end + 1
    return end


def _make(scope: tuple[str, _Tree], before: str, first: str, spec: NetworkSpec) -> list[Any] | None:
    """Return what tells scopes of another make apart; ``None`` for one that does not read the scope before it."""
    path, tree = scope
    made, reads_before = [], not before
    for layer in tree.layers:
        inputs = [_relative(source, path, before) for source in (*layer.inputs, *layer.named.values())]
        reads_before |= any(where == "before" for where, _ in inputs)
        variables = []
        for local, full in layer.bindings.items():
            variable = spec.variables[full]
            maker = variable.layers[0]
            made_by = _relative(maker, path, first)[1] if maker.startswith((f"{path}/", f"{first}/")) else maker
            transposed = layer.shared.get(local)
            variables.append((local, variable.shape, variable.dtype, variable.trainable, made_by, transposed))
        fields = own_fields(layer)
        kind = (layer.layer.kind, tuple(layer.named), fields)
        made.append((layer.path[len(path) :], kind, dict(layer.outputs), inputs, variables))
    return made if reads_before else None


def _relative(source: str, path: str, before: str) -> tuple[str, str]:
    if source.startswith(f"{path}/"):
        return "inside", source[len(path) :]
    return ("before", source[len(before) :]) if before and source.startswith(f"{before}/") else ("outside", source)


def _begins(first: list[Any], following: list[Any]) -> bool:
    """Return whether a scope is made as one after it, but for reading something else where that reads the first."""
    if len(first) != len(following):
        return False
    for one, other in zip(first, following, strict=True):
        (*what, reads, variables), (*same, its_reads, its_variables) = one, other
        if what != same or variables != its_variables or len(reads) != len(its_reads):
            return False
        if any(a != b and (a[0], b[0]) != ("outside", "before") for a, b in zip(reads, its_reads, strict=True)):
            return False
    return True


def _closed(scopes: list[tuple[str, _Tree]], readers: Mapping[str, Sequence[str]]) -> bool:
    """Return whether all scopes but the last are read by the next one only."""
    for (path, tree), (after, _) in pairwise(scopes):
        read_by = {reader for layer in tree.layers for reader in readers.get(layer.path, ())}
        if not all(reader.startswith((f"{path}/", f"{after}/")) for reader in read_by):
            return False
    return True


def _makers(scope: tuple[str, _Tree], first: str, spec: NetworkSpec) -> set[str]:
    return {spec.variables[full].layers[0] for layer in scope[1].layers for full in layer.bindings.values()}
