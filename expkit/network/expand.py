"""Blocks connected and repetitions written out: from the layers of the configuration to those of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from expkit.config.sections.network import BlockConfig, NetworkConfig
from expkit.errors import ConfigError, Problem, unknown
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.scope import Block, Nest, Scope
from expkit.network.names import INDEX
from expkit.registry import Section

__all__ = ["Inside", "Part", "expand"]

MOST_LAYERS = 20_000
"""How many layers and scopes a network may have, repetitions counted."""


@dataclass(frozen=True)
class Inside:
    """What a scope or the network holds."""

    at: str
    """Path in the configuration of what describes it."""
    parts: dict[str, Part]
    """Layers by name, in order."""
    repeated: Mapping[str, str]
    """Names that were given to repetitions: each stands for the last of them."""
    output: str | None = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    block: str | None = None
    """Name of the block, whose layers see nothing outside but what they are given."""


@dataclass(frozen=True)
class Part:
    """A layer in its place."""

    at: str
    """Path in the configuration."""
    connected: str
    """Path of the layer that connects the outermost block around it; ``at`` where there is none."""
    layer: Layer
    """As described, its ``{index}`` filled in."""
    inside: Inside | None
    """What it holds; ``None`` for a layer that is no scope."""


@dataclass(frozen=True)
class _Place:
    """What the layers of one mapping inherit."""

    at: str
    connected: str | None = None
    index: int | None = None
    blocks: tuple[str, ...] = ()
    """The blocks around, outermost first."""


def expand(network: NetworkConfig, problems: list[Problem]) -> Inside:
    """Return all layers in their places.

    Raises:
        ConfigError: there are more than the limit allows.
    """
    expansion = _Expansion(network.blocks, problems)
    inside = Inside("network", *expansion.parts(network.layers, _Place("network.layers")))
    for name in network.blocks:
        if name not in expansion.used:
            way = f"connect it with {{kind: block, block: {name}}}, or remove it"
            problems.append(Problem(f"network.blocks.{name}", f"no layer connects this block; {way}"))
    return inside


class _Expansion:
    def __init__(self, blocks: Mapping[str, BlockConfig], problems: list[Problem]) -> None:
        self.used: set[str] = set()
        self._blocks = blocks
        self._problems = problems
        self._count = 0

    def parts(self, layers: Mapping[str, Layer], place: _Place) -> tuple[dict[str, Part], dict[str, str]]:
        """Return the parts of one mapping of layers, and the names that stand for repetitions."""
        parts: dict[str, Part] = {}
        repeated: dict[str, str] = {}
        for key, layer in layers.items():
            at = f"{place.at}.{key}"
            for name, copy, index in self._copies(key, layer, place.index):
                self._count += 1
                if self._count > MOST_LAYERS:
                    there = f"there would be more than {MOST_LAYERS:,} layers, counted up to {at}"
                    raise ConfigError(Problem("network.layers", f"{there}; repeat less, or write fewer"))
                if name in parts or name in repeated:
                    self._problems.append(Problem(at, f"makes '{name}', which is there already; rename one"))
                    continue
                inside = self._inside(copy, at, replace(place, index=index)) if isinstance(copy, Nest) else None
                parts[name] = Part(at, place.connected or at, copy, inside)
                if isinstance(layer, Nest) and layer.repeat is not None and key not in parts:
                    repeated[key] = name
        return parts, repeated

    def _copies(self, key: str, layer: Layer, index: int | None) -> Iterator[tuple[str, Layer, int | None]]:
        """Yield a layer's repetitions, each reading the one before; a layer that is not repeated is its only one."""
        if not isinstance(layer, Nest) or layer.repeat is None:
            yield (key, layer, None) if index is None else (_filled(key, index), _filled(layer, index), index)
            return
        before = None
        for own in range(layer.first_index, layer.first_index + layer.repeat):
            name = _filled(key if INDEX in key else f"{key}_{INDEX}", own)
            copy = _filled(layer, own)
            yield name, copy if before is None else copy.model_copy(update=self._chained(copy, before)), own
            before = name

    def _chained(self, layer: Nest, before: str) -> dict[str, Any]:
        """Return what a repetition reads: for inputs that are outputs too those of the one before, by their names."""
        if not layer.inputs:
            return {"input": before}
        outputs = layer.outputs if isinstance(layer, Scope) else {}
        if isinstance(layer, Block) and layer.block in self._blocks:
            outputs = self._blocks[layer.block].outputs
        first, *_ = layer.inputs
        chained = {name: f"{before}/{name}" for name in layer.inputs if name in outputs}
        return {"inputs": {**layer.inputs, first: before, **chained}}

    def _inside(self, layer: Nest, at: str, place: _Place) -> Inside:
        if isinstance(layer, Scope):
            inner = replace(place, at=f"{at}.layers")
            return Inside(at, *self.parts(layer.layers, inner), layer.output, layer.outputs)
        assert isinstance(layer, Block)
        block = self._blocks.get(layer.block)
        if block is None:
            message = unknown(f"no block '{layer.block}'", layer.block, self._blocks)
            self._problems.append(Problem(f"{at}.block", message))
            return Inside(at, {}, {})
        around = (*place.blocks, layer.block)
        self.used.add(layer.block)
        if layer.block in place.blocks:
            cycle = " <- ".join(around[around.index(layer.block) :])
            self._problems.append(Problem(f"{at}.block", f"these blocks connect each other in a cycle: {cycle}"))
            return Inside(at, {}, {})
        source = f"network.blocks.{layer.block}"
        inner = replace(place, at=f"{source}.layers", connected=place.connected or at, blocks=around)
        output, outputs = block.output, block.outputs
        if place.index is not None:
            output, outputs = _filled(output, place.index), _filled(outputs, place.index)
        return Inside(source, *self.parts(block.layers, inner), output, outputs, layer.block)


def _filled(value: Any, index: int) -> Any:
    """Return a value with ``{index}`` filled in, in all texts but those of layers further in."""
    if isinstance(value, str):
        return value.replace(INDEX, str(index)) if INDEX in value else value
    if isinstance(value, tuple):
        return tuple(_filled(item, index) for item in value)
    if isinstance(value, dict):
        return {_filled(key, index): _filled(item, index) for key, item in value.items()}
    if isinstance(value, Section):
        fields = {name: getattr(value, name) for name in value.model_fields_set if name not in ("kind", "layers")}
        return value.model_copy(update={name: _filled(item, index) for name, item in fields.items()})
    return value
