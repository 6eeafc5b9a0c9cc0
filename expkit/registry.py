"""Registered kinds: the frozen models that YAML selects by ``kind``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = ["Kind", "KindsOf", "Section", "kinds", "register"]

_FAMILIES: dict[str, dict[str, type[Kind]]] = {}


class Section(BaseModel):
    """A frozen part of the configuration; unknown keys and values of another type are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=False,
    )


class Kind(Section):
    """A part of the configuration that YAML selects by its ``kind`` within a ``family``."""

    family: ClassVar[str]
    kind: str


KindType = TypeVar("KindType", bound=type[Kind])


def register(cls: KindType) -> KindType:
    """Add a kind to its family, under the default of its ``kind`` field.

    Raises:
        ValueError: the family already has this kind.
    """
    family = _FAMILIES.setdefault(cls.family, {})
    name = cls.model_fields["kind"].default
    if not isinstance(name, str):
        raise ValueError(f"{cls.__name__}: the field 'kind' needs its name as a default")
    if name in family:
        raise ValueError(f"{cls.family} '{name}' is registered twice: {family[name].__qualname__}, {cls.__qualname__}")
    family[name] = cls
    return cls


def kinds(family: str) -> Mapping[str, type[Kind]]:
    """Return the registered kinds of a family, by name, in order of registration."""
    return MappingProxyType(_FAMILIES.get(family, {}))


class KindsOf:
    """Annotation for a field that holds any registered kind of a family."""

    def __init__(self, family: str) -> None:
        self.family = family

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(cls) for name, cls in kinds(self.family).items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")
