"""Null entries of mappings: an experiment drops what it inherits, ``metrics: {accuracy: null}``."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from expkit.registry import KindsOf, kinds

__all__ = ["without_null_entries"]


def without_null_entries(raw: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return plain data without the entries that are null in mappings with names of the user's own.

    An entry stays where null is one of the values that it may have, as in ``network.settings``.

    Args:
        raw: the data of a section.
        model: the section.
    """
    fields = _fields(model)
    return {key: _without(value, fields[key]) if key in fields else value for key, value in raw.items()}


def _without(value: Any, annotation: Any) -> Any:
    if isinstance(value, list):
        items = _items(annotation)
        return value if items is None else [_without(item, items) for item in value]
    if not isinstance(value, dict):
        return value
    for member in _members(annotation):
        if isinstance(member, KindsOf):
            kind = value.get("kind")
            found = kinds(member.family).get(kind) if isinstance(kind, str) else None
            return value if found is None else without_null_entries(value, found)
        if isinstance(member, type) and issubclass(member, BaseModel):
            return without_null_entries(value, member)
        if typing.get_origin(member) is dict:
            entries = typing.get_args(member)[1]
            keeps = _accepts_null(entries)
            return {key: _without(item, entries) for key, item in value.items() if keeps or item is not None}
    return value


@cache
def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the annotations of a model's fields that may hold mappings, by the names in the data."""
    fields = {}
    for name, field in model.__pydantic_fields__.items():
        annotation = typing.Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        if _may_hold_mappings(annotation):
            fields[field.alias or name] = annotation
    return fields


def _may_hold_mappings(annotation: Any) -> bool:
    items = _items(annotation)
    return (items is not None and _may_hold_mappings(items)) or any(
        isinstance(member, KindsOf)
        or typing.get_origin(member) is dict
        or (isinstance(member, type) and issubclass(member, BaseModel))
        for member in _members(annotation)
    )


def _accepts_null(annotation: Any) -> bool:
    return any(member in (Any, types.NoneType) for member in _members(annotation))


def _items(annotation: Any) -> Any:
    """Return the annotation of a list's items; ``None`` if it is not a list."""
    lists = (member for member in _members(annotation) if typing.get_origin(member) in (list, tuple))
    return next((typing.get_args(member)[0] for member in lists if typing.get_args(member)), None)


@cache
def _members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of an annotation: the metadata of ``Annotated`` first, then the members of its unions."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        base, *metadata = typing.get_args(annotation)
        return (*metadata, *_members(base))
    if origin in (typing.Union, types.UnionType):
        return tuple(member for arg in typing.get_args(annotation) for member in _members(arg))
    return (annotation,)
