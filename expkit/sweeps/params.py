"""Overrides of a sweep's file: ``hydra.sweeper.params``, beneath those of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from expkit.errors import ConfigError, Problem
from expkit.run_folder import flat

__all__ = ["with_params"]

_AT = "hydra.sweeper.params"


def with_params(params: Mapping[str, Any] | None, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a sweep: those of its file, then those of the command line, which replace them by key.

    Args:
        params: values by key, written as on the command line; nested mappings stand for dotted keys.
        overrides: those of the command line, which can be parsed.

    Raises:
        ConfigError: with every entry that is not an override.
    """
    given = {_key(item) for item in OverridesParser.create().parse_overrides(list(overrides))}
    words: list[str] = []
    problems: list[Problem] = []
    for key, value in flat(dict(params)).items() if params else ():
        found = list(_mistakes(key, value))
        problems += found
        if not found and key.lstrip("+~") not in given:
            words.append(_word(key, value))
    if problems:
        raise ConfigError(*problems)
    return [*words, *overrides]


def _mistakes(key: str, value: Any) -> Iterator[Problem]:
    at = f"{_AT}.{key}"
    if isinstance(value, list):
        inside = ", ".join(map(_text, value))
        yield Problem(at, f"is a list; to vary the key write 'choice({inside})', to give it one list '[{inside}]'")
        return
    try:
        parsed = OverridesParser.create().parse_override(_word(key, value))
    except HydraException as error:
        reason = str(error).partition("\n")[0]
        yield Problem(at, f"cannot be parsed ({reason}); write values as on the command line: 'choice(0.1, 0.01)'")
        return
    if parsed.is_hydra_override() or key.lstrip("+~").startswith("hydra/"):
        yield Problem(at, "is a setting of Hydra, which cannot vary; write it under hydra: in the file")
    elif parsed.is_delete():
        yield Problem(at, "deletes a key, so it varies nothing; give it on the command line")


def _word(key: str, value: Any) -> str:
    return f"{key}={_text(value)}"


def _text(value: Any) -> str:
    """Return a value of YAML as on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "{}" if value == {} else str(value)


def _key(item: Override) -> str:
    return str(item.get_key_element()).lstrip("+~")
