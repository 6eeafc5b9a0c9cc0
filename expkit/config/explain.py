"""Configuration errors in words: path, offender, what was allowed, the way out."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from expkit.errors import Problem, comma_list, did_you_mean, unknown
from expkit.registry import Kind, KindsOf, field_docs, kinds

__all__ = ["dotted", "explain"]

_WANTED = {
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

Error = Mapping[str, Any]


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as one writes it on the command line: ``network.layers.conv.strides[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def explain(error: ValidationError, raw: Any, model: type[BaseModel]) -> list[Problem]:
    """Return one problem for every mistake in ``raw``, in the order of the configuration.

    Args:
        error: what pydantic found.
        raw: the plain data that was validated.
        model: the model it was validated against.
    """
    grouped: dict[tuple[str | int, ...], list[tuple[_Place, Error]]] = {}
    for item in error.errors(include_url=False):
        place = _Place(item["loc"], raw, model)
        grouped.setdefault(place.path, []).append((place, typing.cast(Error, item)))
    outer = {path[:end] for path in grouped for end in range(len(path))}
    return [
        problem
        for path, errors in grouped.items()
        # Where a branch of a union fits well enough to be wrong further in, the other branches say nothing of use.
        if path not in outer or not all(place.branch for place, _ in errors)
        for problem in _group_problems(path, errors)
    ]


class _Place:
    """Where an error is: its path in the data (without pydantic's tags and branches), and the model around it."""

    def __init__(self, loc: Sequence[str | int], raw: Any, model: type[BaseModel]) -> None:
        self.path: tuple[str | int, ...] = ()
        self.branch = False
        self.value = raw
        self.model: type[BaseModel] | None = model
        self.field: FieldInfo | None = None
        self.siblings: tuple[str, ...] = ()
        annotation: Any = model
        tagged = False
        for i, part in enumerate(loc):
            if isinstance(self.value, Mapping) and not tagged and part == self.value.get("kind", self):
                family = _family(annotation)
                if family is not None:
                    self.model = annotation = kinds(family)[str(part)]
                    tagged = True
                    continue
            inside = isinstance(self.value, Mapping) and (part in self.value or i == len(loc) - 1)
            inside = inside or (isinstance(self.value, list) and isinstance(part, int))
            if not inside:
                self.branch = True
                continue
            tagged = False
            self.path = (*self.path, part)
            container = _section(annotation)
            if container is not None:
                self.model = container
                self.field = _fields(container).get(str(part))
                annotation = self.field.annotation if self.field else None
                if self.field is not None and self.field.metadata:
                    annotation = typing.Annotated[(annotation, *self.field.metadata)]
            else:
                self.model = None
                annotation = _items(annotation)
            if isinstance(self.value, Mapping):
                self.siblings = tuple(key for key in self.value if key != part)
                self.value = self.value.get(str(part))
            else:
                self.value = self.value[part] if part < len(self.value) else None  # type: ignore[operator]


def _parts(annotation: Any) -> list[Any]:
    """Return an annotation and what its unions and ``Annotated`` hold."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        base, *metadata = typing.get_args(annotation)
        return [*metadata, *_parts(base)]
    if origin in (typing.Union, types.UnionType):
        return [part for arg in typing.get_args(annotation) for part in _parts(arg)]
    return [annotation]


def _family(annotation: Any) -> str | None:
    return next((part.family for part in _parts(annotation) if isinstance(part, KindsOf)), None)


def _section(annotation: Any) -> type[BaseModel] | None:
    return next((p for p in _parts(annotation) if isinstance(p, type) and issubclass(p, BaseModel)), None)


def _items(annotation: Any) -> Any:
    for part in _parts(annotation):
        arguments = typing.get_args(part)
        if typing.get_origin(part) is dict:
            return arguments[1]
        if typing.get_origin(part) is tuple and arguments:
            return arguments[0]
    return None


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.__pydantic_fields__.items()}


def _group_problems(path: tuple[str | int, ...], errors: list[tuple[_Place, Error]]) -> list[Problem]:
    branches = [(place, error) for place, error in errors if place.branch]
    if fitting := [item for item in branches if item[1]["type"] not in (*_WANTED, "literal_error")]:
        return [_problem(path, place, error) for place, error in fitting]  # Of a branch's type, against its rules.
    if len(branches) > 1:
        place = branches[0][0]
        wanted = dict.fromkeys(_WANTED.get(error["type"]) or str(error["ctx"]["expected"]) for _, error in branches)
        words = [word for _, error in branches if error["type"] == "literal_error" for word in _words(error)]
        near = did_you_mean(place.value, words) if isinstance(place.value, str) else ""
        return [Problem(dotted(path), f"needs {' or '.join(wanted)}, got {_shown(place.value)}{near}")]
    return [_problem(path, place, error) for place, error in errors]


def _sentence(error: Error) -> str:
    return str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must")


def _problem(path: tuple[str | int, ...], place: _Place, error: Error) -> Problem:
    kind, at = error["type"], dotted(path)
    if kind == "extra_forbidden" and place.model is not None:
        allowed = list(_fields(place.model))
        where = f"unknown field for kind '{_kind(place.model)}'" if _kind(place.model) else "unknown field"
        return Problem(at, unknown(where, str(path[-1]), allowed, most=40))
    if kind == "missing":
        named = _kind(place.model) if place.model else None
        description = field_docs(place.model).get(str(path[-1]), "").replace("``", "'") if place.model else ""
        what = f" ({description.rstrip('.')})" if description else ""
        whom = f"kind '{named}' needs it" if named else "it has no default"
        return Problem(at, f"missing: {whom}{what}; add {at}=VALUE")
    if kind == "union_tag_invalid":
        tag, allowed = str(error["ctx"]["tag"]), _tags(error)
        return Problem(f"{at}.kind", unknown(f"unknown kind '{tag}'", tag, allowed, most=60))
    if kind == "union_tag_not_found":
        family = _family_of_path(place)
        near = did_you_mean(str(path[-1]), place.siblings).replace("did you mean", "or did you mean the existing")
        return Problem(
            f"{at}.kind",
            f"missing: it says which {family or 'kind'} this is{near or ';'} allowed: {comma_list(_known(family), 60)}",
        )
    if kind == "literal_error":
        allowed = _words(error)
        return Problem(at, unknown(f"unknown value {_shown(place.value)}", str(place.value), allowed, most=40))
    if kind == "string_pattern_mismatch":
        return Problem(at, f"{_shown(place.value)} is not allowed here; it must match {error['ctx']['pattern']}")
    if kind in ("too_short", "too_long"):
        limit = f"least {error['ctx']['min_length']}" if kind == "too_short" else f"most {error['ctx']['max_length']}"
        return Problem(at, f"needs a length of at {limit}, got {len(place.value)}: {_shown(place.value)}")
    if kind in _WANTED:
        return Problem(at, f"needs {_WANTED[kind]}, got {_shown(place.value)}")
    if kind == "value_error":
        return Problem(at, _sentence(error))
    return Problem(at, f"{_sentence(error)}{_bounds(place.field)}, got {_shown(place.value)}")


def _kind(model: type[BaseModel] | None) -> str | None:
    if model is not None and issubclass(model, Kind):
        default = model.__pydantic_fields__["kind"].default
        return default if isinstance(default, str) else None
    return None


def _words(error: Error) -> list[str]:
    return [word.strip("'") for word in str(error["ctx"]["expected"]).replace(" or ", ", ").split(", ")]


def _tags(error: Error) -> list[str]:
    return [tag.strip("'") for tag in str(error["ctx"]["expected_tags"]).split(", ")]


def _family_of_path(place: _Place) -> str | None:
    container = place.field.annotation if place.field else None
    metadata = place.field.metadata if place.field else []
    direct = next((item.family for item in metadata if isinstance(item, KindsOf)), None)
    return direct or _family(container) or _family(_items(container))


def _known(family: str | None) -> Iterable[str]:
    return kinds(family) if family else ()


def _bounds(field: FieldInfo | None) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    metadata = field.metadata if field else []
    bounds = [f"{signs[name]} {getattr(item, name)}" for item in metadata for name in signs if hasattr(item, name)]
    return f" (allowed: {' and '.join(bounds)})" if len(bounds) > 1 else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return f"the list {value}" if len(str(value)) <= 60 else f"a list of {len(value)}"
    return "nothing" if value is None else f"'{value}' (text)" if isinstance(value, str) else str(value)
