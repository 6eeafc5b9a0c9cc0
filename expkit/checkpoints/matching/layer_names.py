"""What a variable's name says: its layer, what it is to the layer, words and numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache

__all__ = [
    "Layer",
    "Made",
    "bare",
    "by_labels",
    "by_scope",
    "labels_of",
    "layers_of",
    "likeness",
    "role_of",
    "weights_of",
]

_ROLES = {
    "kernel": ("kernel", "weights", "weight", "w", "filter", "filters"),
    "bias": ("bias", "biases", "b"),
    "gamma": ("gamma", "scale"),
    "beta": ("beta", "offset", "shift"),
    "mean": ("moving_mean", "running_mean", "pop_mean", "mean"),
    "variance": ("moving_variance", "moving_var", "running_variance", "running_var", "pop_var", "variance", "var"),
    "embedding": ("embedding", "embeddings"),
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words}

_ALIKE = (
    ("bn", "norm", "batchnorm", "batchnormalization", "layernorm", "ln", "layernormalization", "groupnorm"),
    ("fc", "dense", "linear", "fullyconnected"),
    ("embed", "embedding", "embeddings"),
)
_GROUP_OF = {word: group for group, words in enumerate(_ALIKE) for word in words}


@dataclass(frozen=True)
class Made:
    """What a variable is made as."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"


@dataclass(eq=False)
class Layer:
    """The variables that one layer owns, as far as their names tell."""

    path: tuple[str, ...]
    """Scopes, and what the variables' own names begin with (``softmax`` of ``softmax_w``)."""
    place: int
    """Where it stands among the layers."""
    names: dict[str, str] = field(default_factory=dict)
    """Variables by role (``kernel``, ``bias``, ...); an unknown word is part of the path, its role is empty."""
    made: dict[str, Made] = field(default_factory=dict)
    """What they are made as, by role."""
    labels: tuple[str, ...] = ()
    """The path with ``#`` for every number."""
    numbers: tuple[tuple[int, ...], ...] = ()
    """The numbers in each part of the path."""
    signature: frozenset[tuple[str, Made]] = frozenset()
    """Roles and what they are made as."""


def role_of(name: str) -> str:
    """Return what a variable's last word says that it is to its layer; an empty string where it says nothing."""
    return _split(name)[1]


def layers_of(variables: Mapping[str, Made]) -> list[Layer]:
    """Return the layers that own the variables, in order."""
    layers: dict[tuple[str, ...], Layer] = {}
    for name, made in variables.items():
        path, role = _split(name)
        if path in layers and role in layers[path].names:
            path, role = tuple(re.split(r"[/.]", name)), ""
        layer = layers.setdefault(path, Layer(path, len(layers)))
        layer.names[role], layer.made[role] = name, made
    for layer in layers.values():
        kernel = layer.made.get("kernel")
        if kernel is not None and len(kernel.shape) == 1:
            _call(layer, "kernel", "gamma")
        if {"gamma", "mean", "variance"} & set(layer.names):
            _call(layer, "bias", "beta")
        layer.labels, layer.numbers = labels_of(layer.path)
        layer.signature = frozenset(layer.made.items())
    return list(layers.values())


def labels_of(path: Iterable[str]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Return a path with ``#`` for its numbers, and the numbers."""
    parts = list(path)
    return (
        tuple(re.sub(r"\d+", "#", part) for part in parts),
        tuple(tuple(map(int, re.findall(r"\d+", part))) for part in parts),
    )


def by_labels(layers: Iterable[Layer]) -> dict[tuple[str, ...], list[Layer]]:
    """Return the layers by their paths without numbers."""
    groups: dict[tuple[str, ...], list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.labels, []).append(layer)
    return groups


def by_scope(layers: Iterable[Layer]) -> dict[tuple[str, ...], list[Layer]]:
    """Return the layers in each scope, however deep; a layer stands in its own too."""
    scopes: dict[tuple[str, ...], list[Layer]] = {}
    for layer in layers:
        for count in range(1, len(layer.path) + 1):
            scopes.setdefault(layer.path[:count], []).append(layer)
    return scopes


def weights_of(layers: Iterable[Layer]) -> dict[str, float]:
    """Return how much each label tells layers apart: 0 where all paths have it, 1 where one has."""
    paths = {layer.labels for layer in layers}
    count = Counter(label for path in paths for label in set(path))
    most = math.log(len(paths)) if len(paths) > 1 else 1.0
    return {label: 1 - math.log(times) / most for label, times in count.items()}


@cache
def bare(label: str) -> str:
    """Return a label's letters alone."""
    return re.sub(r"[^a-z]", "", label.lower())


@cache
def likeness(one: str, other: str) -> float:
    """Return how alike two labels are, from 0 to 1."""
    if one == other:
        return 1.0
    a, b = bare(one), bare(other)
    if not a or not b:
        return 0.0
    if a == b:
        return 0.9
    if a in _GROUP_OF and _GROUP_OF[a] == _GROUP_OF.get(b):
        return 0.8
    if a.startswith(b) or b.startswith(a):
        return 0.7
    ratio = SequenceMatcher(None, a, b).ratio()
    return 0.8 * ratio if ratio >= 0.7 else 0.0


def _split(name: str) -> tuple[tuple[str, ...], str]:
    """Return the path of a variable's layer, and its role there."""
    *scopes, end = re.split(r"[/.]", name)
    words = end.split("_")
    for count in (2, 1):
        role = _ROLE_OF.get("_".join(words[-count:]).lower())
        if role is not None and len(words) >= count:
            rest = "_".join(words[:-count])
            return (*scopes, *([rest] if rest else [])), role
    return (*scopes, end), ""


def _call(layer: Layer, role: str, other: str) -> None:
    if role in layer.names and other not in layer.names:
        layer.names[other], layer.made[other] = layer.names.pop(role), layer.made.pop(role)
