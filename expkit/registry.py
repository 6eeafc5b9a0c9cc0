"""Registry of kinds: the frozen models that YAML selects by ``kind``."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = [
    "FAMILY",
    "Kind",
    "KindsOf",
    "NonNegative",
    "Positive",
    "Section",
    "atomic_registration",
    "field_docs",
    "kinds",
    "rebuild_sections",
    "register",
]

FAMILY = "x-family"
"""Key in JSON Schema that marks a choice of kinds."""

Positive = Annotated[int, Field(gt=0)]
"""An integer above zero."""
NonNegative = Annotated[int, Field(ge=0)]
"""An integer of at least zero."""

_FAMILIES: dict[str, dict[str, type[Kind]]] = {}


class Section(BaseModel):
    """A frozen section of the configuration; unknown keys and values of another type are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        validate_default=False,
    )


class Kind(Section):
    """A section of the configuration that YAML selects by its ``kind`` within a ``family``."""

    family: ClassVar[str]
    kind: str


KindType = TypeVar("KindType", bound=type[Kind])


def register(cls: KindType) -> KindType:
    """Add a kind to its family, under the default of its ``kind`` field.

    Raises:
        ValueError: the family has this kind already, or the kind lacks an abstract method of the family.
    """
    family = _FAMILIES.setdefault(cls.family, {})
    name = cls.__pydantic_fields__["kind"].default
    if not isinstance(name, str):
        raise ValueError(f"{cls.__name__}: the field 'kind' needs its name as a default")
    if lacking := sorted(getattr(cls, "__abstractmethods__", ())):
        raise ValueError(f"{cls.family} '{name}' lacks {' and '.join(lacking)}; give {cls.__qualname__} these methods")
    if name in family:
        both = " and ".join(f"{known.__qualname__} ({known.__module__})" for known in (family[name], cls))
        raise ValueError(f"{cls.family} '{name}' is registered twice: {both}; give one another kind")
    family[name] = cls
    return cls


@contextmanager
def atomic_registration() -> Iterator[None]:
    """Register the kinds inside the block and rebuild the sections that hold them; register none if the block fails."""
    before = {family: dict(members) for family, members in _FAMILIES.items()}
    try:
        yield
    except BaseException:
        _FAMILIES.clear()
        _FAMILIES.update(before)
        raise
    if before != _FAMILIES:
        rebuild_sections()


def rebuild_sections() -> None:
    """Rebuild the validators of sections already in use, so that they accept the kinds registered since."""
    used = [section for section in _sections(Section) if section.__pydantic_complete__]
    for section in used:
        for attribute in ("__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__"):
            if attribute in vars(section):
                delattr(section, attribute)
    for section in used:
        section.model_rebuild(force=True)


def _sections(base: type[Section]) -> Iterator[type[Section]]:
    for section in base.__subclasses__():
        yield section
        yield from _sections(section)


def kinds(family: str) -> Mapping[str, type[Kind]]:
    """Return the registered kinds of a family, by name, in order of registration."""
    return MappingProxyType(_FAMILIES.get(family, {}))


class KindsOf:
    """Annotation for a field that holds any registered kind of a family."""

    def __init__(self, family: str) -> None:
        self.family = family

    @property
    def models(self) -> Mapping[str, type[BaseModel]]:
        """Models by the tag that stands for them in pydantic's errors."""
        return kinds(self.family)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(cls) for name, cls in kinds(self.family).items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), FAMILY: self.family}


@cache
def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings under the fields of a model and of its bases, by field name.

    They are parsed from the source on demand, because parsing at import would slow down every start.
    """
    docs: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            docs |= _own_docs(cls)
    return docs


def _own_docs(cls: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings under the fields that a class itself declares."""
    docs: dict[str, str] = {}
    for field, after in pairwise(_bodies(sys.modules[cls.__module__])[cls.__qualname__]):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[field.target.id] = inspect.cleandoc(str(after.value.value))
    return docs


@cache
def _bodies(module: ModuleType) -> dict[str, list[ast.stmt]]:
    """Return the statements of all classes of a module, by qualified name."""
    bodies: dict[str, list[ast.stmt]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}{getattr(child, 'name', '')}"
            if isinstance(child, ast.ClassDef):
                bodies[name] = child.body
                visit(child, f"{name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, f"{name}.<locals>.")
            else:
                visit(child, prefix)

    visit(ast.parse(inspect.getsource(module)), "")
    return bodies
