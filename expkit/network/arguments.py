"""Arguments of blocks: their values where a block is connected, and whether they are used."""

from __future__ import annotations

import json
import keyword
from collections.abc import Iterator, Mapping
from typing import Any

from expkit.config.sections.network import BlockConfig
from expkit.errors import ConfigError, Problem, comma_list, unknown
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.looped import Looped
from expkit.kinds.layers.scope import Block, Scope
from expkit.kinds.layers.template import LayerTemplate, ScopeTemplate
from expkit.network.environment import Environment
from expkit.network.expressions import MAX_TEXT, RESERVED, names_in
from expkit.network.filling import Names, fill

__all__ = ["argument_values", "check_arguments"]


def argument_values(layer: Block | Looped, block: BlockConfig, around: Names, at: str) -> dict[str, Any]:
    """Return the values of the names in expressions inside a block where a layer connects it.

    Args:
        layer: the connecting layer, filled in.
        block: the block.
        around: values of names where it is connected.
        at: path in the configuration of the connecting layer.

    Raises:
        ConfigError: an argument is unknown, or has no value.
    """
    given = {name: value for name, value in layer.arguments.items() if value is not None}
    if strange := [name for name in given if name not in block.arguments]:
        raise ConfigError(
            *(
                Problem(
                    f"{at}.arguments.{name}",
                    unknown(f"block '{layer.block}' has no argument '{name}'", name, block.arguments),
                )
                for name in strange
            )
        )
    indices = {name: value for name, value in around.items() if name.partition(".")[0] == "index"}
    values: dict[str, Any] = {}
    missing = []
    for name, default in block.arguments.items():
        path = f"{at}.arguments.{name}"
        if name in given:
            values[name] = given[name]
        elif default is None:
            missing.append(Problem(path, f"missing: block '{layer.block}' needs it; add {path}=VALUE"))
        elif not missing:
            path = f"network.blocks.{layer.block}.arguments.{name}"
            values[name] = fill(default, {**values, **indices}, path)
        if len(json.dumps(values.get(name))) > MAX_TEXT:
            raise ConfigError.at(path, f"more than {MAX_TEXT:,} characters")
    if missing:
        raise ConfigError(*missing)
    return values | indices


def check_arguments(env: Environment) -> None:
    """Report the arguments of blocks that have no possible name, or that nothing in the block uses."""
    for block_name, block in env.network.blocks.items():
        if not block.arguments:
            continue
        used = {name for text in _texts(block) for name in names_in(text)}
        for name in block.arguments:
            at = f"network.blocks.{block_name}.arguments.{name}"
            if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
                words = f"letters, digits and '_', not beginning with a digit, and none of {comma_list(RESERVED)}"
                env.report(at, f"'{name}' cannot name an argument; allowed: {words}")
            elif name not in used:
                env.report(at, f"nothing in the block uses this argument; use it as '{{{name}}}', or remove it")


def _texts(block: BlockConfig) -> Iterator[str]:
    """Yield the texts of a block in which expressions are filled in."""
    yield from _texts_in(block.arguments)
    yield from _texts_in(block.outputs)
    yield block.output or ""
    yield from _texts_of_layers(block.layers)


def _texts_of_layers(layers: Mapping[str, Layer | LayerTemplate]) -> Iterator[str]:
    for key, layer in layers.items():
        yield key
        if isinstance(layer, LayerTemplate):
            yield from _texts_in(layer.fields)
        if isinstance(layer, Scope | ScopeTemplate):
            yield from _texts_of_layers(layer.layers)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from _texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)
