"""Templates filled in: their expressions get values, and they become layers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from expkit.config.explain import explain
from expkit.errors import ConfigError, Problem
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.scope import Scope, ScopeFields
from expkit.kinds.layers.template import LayerTemplate, ScopeTemplate, has_braces
from expkit.network.expressions import ExpressionError, filled, filled_text
from expkit.registry import kinds

__all__ = ["Names", "fill", "fill_text", "filled_layer"]

Names = Mapping[str, Any]
"""Values of the names in expressions: arguments, ``index`` and ``index.NAME``."""


def fill_text(text: str, names: Names | None, at: str) -> str:
    """Return a text with its expressions filled in.

    Args:
        text: the text.
        names: values of names; ``None`` outside blocks and repetitions, where braces are braces.
        at: path in the configuration, for messages.

    Raises:
        ConfigError: an expression has no value.
    """
    if names is None or not has_braces(text):
        return text
    try:
        return filled_text(text, names)
    except ExpressionError as error:
        raise ConfigError.at(at, str(error)) from None


def fill(value: Any, names: Names, at: str) -> Any:
    """Return plain data with all expressions filled in, those in keys too.

    Raises:
        ConfigError: with every expression that has no value.
    """
    problems: list[Problem] = []
    result = _filled(value, names, at, problems)
    if problems:
        raise ConfigError(*problems)
    return result


def filled_layer(template: LayerTemplate, fields: Mapping[str, Any], names: Names | None, at: str) -> Layer:
    """Return the layer that a template describes.

    Args:
        template: the template.
        fields: its fields, some of them filled in already.
        names: values of names; ``None`` outside blocks and repetitions, where braces are braces.
        at: path of the layer in the configuration.

    Raises:
        ConfigError: with every problem of its fields.
    """
    raw = dict(fields) if names is None else fill(dict(fields), names, at)
    model = ScopeFields if isinstance(template, ScopeTemplate) else kinds("layer")[template.kind]
    try:
        layer = model.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        problems = explain(error, raw, model, (at,))
        raise ConfigError(*(_with_origin(problem, template, names, at) for problem in problems)) from None
    if isinstance(template, ScopeTemplate):
        return Scope.model_construct(**dict(layer), layers=template.layers)
    assert isinstance(layer, Layer)
    return layer


def _filled(value: Any, names: Names, at: str, problems: list[Problem]) -> Any:
    if isinstance(value, list):
        return [_filled(item, names, f"{at}[{i}]", problems) for i, item in enumerate(value)]
    if isinstance(value, dict):
        result: dict[str, Any] = {}
        for key, item in value.items():
            inside = f"{at}.{key}"
            try:
                name = fill_text(key, names, inside)
            except ConfigError as error:
                problems += error.problems
                continue
            if name in result:
                problems.append(Problem(inside, f"is '{name}', which is given already; keep one"))
            result[name] = _filled(item, names, inside, problems)
        return result
    if not isinstance(value, str) or not has_braces(value):
        return value
    try:
        return filled(value, names)
    except ExpressionError as error:
        problems.append(Problem(at, str(error)))
        return None


def _with_origin(problem: Problem, template: LayerTemplate, names: Names | None, at: str) -> Problem:
    """Add the text with the expression whose value is wrong."""
    field = problem.path.removeprefix(f"{at}.").partition(".")[0].partition("[")[0]
    text = next(_texts_with_braces(template.fields.get(field)), None)
    if text is None or names is None:
        return problem
    hint = "; // divides whole numbers" if "a whole number" in problem.message and "/" in text else ""
    return replace(problem, message=f"{problem.message}, from '{text}'{hint}")


def _texts_with_braces(value: Any) -> Iterator[str]:
    if isinstance(value, str) and has_braces(value):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_with_braces(item)
