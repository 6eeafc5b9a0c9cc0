"""Layers as read from variables' names: path, roles, words and numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache

from expkit.tensor_spec import TensorSpec

__all__ = [
    "LayerNames",
    "by_labels",
    "by_scope",
    "label_weights",
    "letters",
    "read_layers",
    "role_of",
    "word_similarity",
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

_SYNONYMS = (
    ("bn", "norm", "batchnorm", "batchnormalization", "layernorm", "ln", "layernormalization", "groupnorm"),
    ("fc", "dense", "linear", "fullyconnected"),
    ("embed", "embedding", "embeddings"),
)
_GROUP_OF = {word: group for group, words in enumerate(_SYNONYMS) for word in words}


@dataclass(eq=False, kw_only=True)
class LayerNames:
    """The variables of one layer, as read from their names."""

    path: tuple[str, ...]
    """Scopes, and a common start of the variables' own names (``softmax`` of ``softmax_w``)."""
    index: int
    """Position among the layers."""
    names: dict[str, str] = field(default_factory=dict)
    """Variables by role (``kernel``, ``bias``, ...); an unknown word is part of the path, its role is empty."""
    specs: dict[str, TensorSpec] = field(default_factory=dict)
    """Shapes and dtypes by role."""
    labels: tuple[str, ...] = ()
    """The path with ``#`` for every number."""
    numbers: tuple[tuple[int, ...], ...] = ()
    """The numbers in each element of the path."""
    signature: frozenset[tuple[str, TensorSpec]] = frozenset()
    """Roles with their shapes and dtypes."""


def role_of(name: str) -> str:
    """Return the role of a variable in its layer, from the last word of its name; empty if the word is unknown."""
    return _split(name)[1]


def read_layers(variables: Mapping[str, TensorSpec]) -> list[LayerNames]:
    """Return the layers that own the variables, in order."""
    layers: dict[tuple[str, ...], LayerNames] = {}
    for name, spec in variables.items():
        path, role = _split(name)
        if path in layers and role in layers[path].names:
            path, role = tuple(re.split(r"[/.]", name)), ""
        layer = layers.setdefault(path, LayerNames(path=path, index=len(layers)))
        layer.names[role], layer.specs[role] = name, spec
    for layer in layers.values():
        kernel = layer.specs.get("kernel")
        if kernel is not None and len(kernel.shape) == 1:
            _rename_role(layer, "kernel", "gamma")
        if {"gamma", "mean", "variance"} & set(layer.names):
            _rename_role(layer, "bias", "beta")
        layer.labels = tuple(re.sub(r"\d+", "#", element) for element in layer.path)
        layer.numbers = tuple(tuple(map(int, re.findall(r"\d+", element))) for element in layer.path)
        layer.signature = frozenset(layer.specs.items())
    return list(layers.values())


def by_labels(layers: Iterable[LayerNames]) -> dict[tuple[str, ...], list[LayerNames]]:
    """Return the layers by label path."""
    groups: dict[tuple[str, ...], list[LayerNames]] = {}
    for layer in layers:
        groups.setdefault(layer.labels, []).append(layer)
    return groups


def by_scope(layers: Iterable[LayerNames]) -> dict[tuple[str, ...], list[LayerNames]]:
    """Return the layers in each scope, at any depth; a layer's own path counts as a scope of it."""
    scopes: dict[tuple[str, ...], list[LayerNames]] = {}
    for layer in layers:
        for count in range(1, len(layer.path) + 1):
            scopes.setdefault(layer.path[:count], []).append(layer)
    return scopes


def label_weights(layers: Iterable[LayerNames]) -> dict[str, float]:
    """Return the weight of each label: 0 if all paths contain it, 1 if only one does."""
    paths = {layer.labels for layer in layers}
    count = Counter(label for path in paths for label in set(path))
    most = math.log(len(paths)) if len(paths) > 1 else 1.0
    return {label: 1 - math.log(times) / most for label, times in count.items()}


@cache
def letters(label: str) -> str:
    """Return a label without digits and signs, in lower case."""
    return re.sub(r"[^a-z]", "", label.lower())


@cache
def word_similarity(one: str, other: str) -> float:
    """Return the similarity of two labels, from 0 to 1."""
    if one == other:
        return 1.0
    a, b = letters(one), letters(other)
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
    """Return the path of a variable's layer, and the variable's role."""
    *scopes, end = re.split(r"[/.]", name)
    words = end.split("_")
    for count in (2, 1):
        role = _ROLE_OF.get("_".join(words[-count:]).lower())
        if role is not None and len(words) >= count:
            rest = "_".join(words[:-count])
            return (*scopes, *([rest] if rest else [])), role
    return (*scopes, end), ""


def _rename_role(layer: LayerNames, role: str, other: str) -> None:
    if role in layer.names and other not in layer.names:
        layer.names[other], layer.specs[other] = layer.names.pop(role), layer.specs.pop(role)
