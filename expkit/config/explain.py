"""Explanation of pydantic's validation errors: path, offender, allowed values, fix."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from expkit.errors import Problem, comma_list, did_you_mean, unknown
from expkit.registry import Kind, KindsOf, field_docs, kinds

__all__ = ["dotted", "explain"]

MOST_KINDS = 200
"""Kinds that a message lists: all of a family, with those of plugins."""

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}

_OTHER_FIELDS = {
    ("average", "none"): "; the value of each class is recorded by by_class: true, beside the average",
    ("average", "binary"): "; the value of one class alone is recorded with classes: [1]",
}
"""Ways out by field and value, where scikit-learn has a value for what is another field here."""

_KEY = "[key]"  # pydantic's last segment where the key of an entry is wrong, not its value

Error = Mapping[str, Any]


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as on the command line: ``network.layers.conv.strides[0]``."""
    text = ""
    for segment in path:
        text += f"[{segment}]" if isinstance(segment, int) else f".{segment}" if text else segment
    return text


def explain(error: ValidationError, raw: Any, model: type[BaseModel], at: tuple[str | int, ...] = ()) -> list[Problem]:
    """Return one problem for every mistake in the data, in the order of the configuration.

    Args:
        error: pydantic's error.
        raw: the validated data.
        model: the model that it was validated against.
        at: path of the data in the configuration.
    """
    grouped: dict[tuple[str | int, ...], list[tuple[_Location, Error]]] = {}
    for item in error.errors(include_url=False):
        location = _Location(item, raw, model, at)
        grouped.setdefault(location.path, []).append((location, typing.cast(Error, item)))
    outer = {path[:end] for path in grouped for end in range(len(path))}
    return [
        problem
        for path, errors in grouped.items()
        # If one branch of a union has errors further inside, the errors of the other branches are of no use.
        if path not in outer or not all(location.branch for location, _ in errors)
        for problem in _group_problems(path, errors)
    ]


class _Location:
    """Location of an error: its path in the data, without pydantic's tags and branches, and the model around it."""

    def __init__(self, error: Any, raw: Any, model: type[BaseModel], at: tuple[str | int, ...] = ()) -> None:
        loc: Sequence[str | int] = error["loc"]
        self.path = at
        self.branch = False
        self.value = raw
        self.model: type[BaseModel] | None = model
        self.field: FieldInfo | None = None
        self.siblings: tuple[str, ...] = ()
        annotation: Any = model
        tagged = False
        for i, segment in enumerate(loc):
            if segment == _KEY and not (isinstance(self.value, Mapping) and _KEY in self.value):
                break
            choice = _choice(annotation) if isinstance(self.value, Mapping) and not tagged else None
            if choice is not None and segment in choice.models:
                self.model = annotation = choice.models[str(segment)]
                tagged = True
                continue
            absent = error["type"] == "missing" and i == len(loc) - 1
            inside = isinstance(self.value, Mapping) and (segment in self.value or absent)
            inside = inside or (isinstance(self.value, list) and isinstance(segment, int))
            if not inside:
                self.branch = True
                continue
            tagged = False
            self.path = (*self.path, segment)
            container = _section(annotation)
            if container is not None:
                self.model = container
                self.field = _fields(container).get(str(segment))
                annotation = self.field.annotation if self.field else None
                if self.field is not None and self.field.metadata:
                    annotation = typing.Annotated[(annotation, *self.field.metadata)]
            else:
                self.model = None
                annotation = _items(annotation)
            if isinstance(self.value, Mapping):
                self.siblings = tuple(key for key in self.value if key != segment)
                self.value = self.value.get(str(segment))
            elif isinstance(segment, int):
                self.value = self.value[segment] if segment < len(self.value) else None


def _members(annotation: Any) -> list[Any]:
    """Return the members of an annotation: of its unions, and of ``Annotated`` with the metadata."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        base, *metadata = typing.get_args(annotation)
        return [*metadata, *_members(base)]
    if origin in (typing.Union, types.UnionType):
        return [member for arg in typing.get_args(annotation) for member in _members(arg)]
    return [annotation]


def _choice(annotation: Any) -> KindsOf | None:
    return next((member for member in _members(annotation) if isinstance(member, KindsOf)), None)


def _family(annotation: Any) -> str | None:
    choice = _choice(annotation)
    return choice.family if choice else None


def _section(annotation: Any) -> type[BaseModel] | None:
    return next((p for p in _members(annotation) if isinstance(p, type) and issubclass(p, BaseModel)), None)


def _items(annotation: Any) -> Any:
    for member in _members(annotation):
        arguments = typing.get_args(member)
        if typing.get_origin(member) is dict:
            return arguments[1]
        if typing.get_origin(member) is tuple and arguments:
            return arguments[0]
    return None


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.__pydantic_fields__.items()}


def _group_problems(path: tuple[str | int, ...], errors: list[tuple[_Location, Error]]) -> list[Problem]:
    branches = [(location, error) for location, error in errors if location.branch]
    if fitting := [item for item in branches if item[1]["type"] not in (*_EXPECTED, "literal_error")]:
        # Of the right type for the branch, but against its rules.
        return [_problem(path, location, error) for location, error in fitting]
    if len(branches) > 1:
        location = branches[0][0]
        expected = dict.fromkeys(_EXPECTED.get(error["type"]) or str(error["ctx"]["expected"]) for _, error in branches)
        values = [word for _, error in branches if error["type"] == "literal_error" for word in _allowed_values(error)]
        near = did_you_mean(location.value, values) if isinstance(location.value, str) else ""
        return [Problem(dotted(path), f"needs {' or '.join(expected)}, got {_display(location.value)}{near}")]
    return [_problem(path, location, error) for location, error in errors]


def _sentence(error: Error) -> str:
    return str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must")


def _problem(path: tuple[str | int, ...], location: _Location, error: Error) -> Problem:
    kind, at = error["type"], dotted(path)
    if kind == "extra_forbidden" and location.model is not None:
        allowed = list(_fields(location.model))
        where = f"unknown field for kind '{_kind(location.model)}'" if _kind(location.model) else "unknown field"
        return Problem(at, unknown(where, str(path[-1]), allowed, most=40))
    if kind == "missing":
        named = _kind(location.model) if location.model else None
        description = field_docs(location.model).get(str(path[-1]), "").replace("``", "'") if location.model else ""
        what = f" ({description.rstrip('.')})" if description else ""
        whom = f"kind '{named}' needs it" if named else "it has no default"
        return Problem(at, f"missing: {whom}{what}; add {at}=VALUE")
    if kind == "union_tag_invalid":
        tag, allowed = str(error["ctx"]["tag"]), _tags(error)
        return Problem(f"{at}.kind", unknown(f"unknown kind '{tag}'", tag, allowed, most=MOST_KINDS))
    if kind == "union_tag_not_found" and not isinstance(location.value, Mapping):
        return Problem(at, f"needs a mapping, got {_display(location.value)}")
    if kind == "union_tag_not_found":
        family = _family_of_path(location)
        near = did_you_mean(str(path[-1]), location.siblings).replace("did you mean", "or did you mean the existing")
        message = f"missing: it says which {family or 'kind'} this is{near or ';'}"
        return Problem(f"{at}.kind", f"{message} allowed: {comma_list(_kinds_of(family), MOST_KINDS)}")
    if kind == "literal_error":
        allowed = _allowed_values(error)
        message = unknown(f"unknown value {_display(location.value)}", str(location.value), allowed, most=40)
        return Problem(at, message + _OTHER_FIELDS.get((str(path[-1]), str(location.value).lower()), ""))
    if kind == "string_pattern_mismatch":
        return Problem(at, f"{_display(location.value)} is not allowed here; it must match {error['ctx']['pattern']}")
    if kind in ("too_short", "too_long"):
        limit = f"least {error['ctx']['min_length']}" if kind == "too_short" else f"most {error['ctx']['max_length']}"
        return Problem(
            at, f"needs a length of at {limit}, got {error['ctx']['actual_length']}: {_display(error['input'])}"
        )
    if kind in _EXPECTED:
        return Problem(at, f"needs {_EXPECTED[kind]}, got {_display(location.value)}{_about_braces(location)}")
    if kind == "value_error":
        return Problem(at, _sentence(error))
    return Problem(at, f"{_sentence(error)}{_bounds(location.field)}, got {_display(location.value)}")


def _kind(model: type[BaseModel] | None) -> str | None:
    if model is not None and issubclass(model, Kind):
        default = model.__pydantic_fields__["kind"].default
        return default if isinstance(default, str) else None
    return None


def _allowed_values(error: Error) -> list[str]:
    return [word.strip("'") for word in str(error["ctx"]["expected"]).replace(" or ", ", ").split(", ")]


def _tags(error: Error) -> list[str]:
    tags = (tag.strip("'") for tag in str(error["ctx"]["expected_tags"]).split(", "))
    return [tag for tag in tags if "{" not in tag]  # a template is not a kind


def _family_of_path(location: _Location) -> str | None:
    container = location.field.annotation if location.field else None
    metadata = location.field.metadata if location.field else []
    direct = next((item.family for item in metadata if isinstance(item, KindsOf)), None)
    return direct or _family(container) or _family(_items(container))


def _kinds_of(family: str | None) -> Iterable[str]:
    return kinds(family) if family else ()


def _about_braces(location: _Location) -> str:
    """Return a hint where a layer has text with braces, or a mapping in its place, for want of quotes."""
    value, model = location.value, location.model
    if model is None or not issubclass(model, Kind) or model.family != "layer":
        return ""
    if isinstance(value, Mapping) and len(value) == 1 and list(value.values()) == [None]:
        return f'; an expression needs quotes: "{{{next(iter(value))}}}"'
    if isinstance(value, str) and re.fullmatch(r"\{.*\}", value):
        return "; braces are filled in only inside a block or a scope with repeat"
    return ""


def _bounds(field: FieldInfo | None) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    metadata = field.metadata if field else []
    bounds = [f"{signs[name]} {getattr(item, name)}" for item in metadata for name in signs if hasattr(item, name)]
    return f" (allowed: {' and '.join(bounds)})" if len(bounds) > 1 else ""


def _display(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"the list {value}" if len(str(value)) <= 60 else f"a list of {len(value)}"
    return "nothing" if value is None else f"'{value}' (text)" if isinstance(value, str) else str(value)
