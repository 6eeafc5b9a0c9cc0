"""JSON Schema of the composed configuration, and of the files that are composed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from expkit.config.schema import Config
from expkit.registry import FAMILY, field_docs, kinds

__all__ = ["FILES", "file_schema", "schema_text", "whole_schema"]

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SECTIONS = tuple(
    name
    for name, field in Config.__pydantic_fields__.items()
    if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel)
)
FILES = (*SECTIONS, "experiment")
"""Schemas of files: of the folder under ``conf/`` of each name; ``conf/config.yaml`` is like an experiment."""

_DEFERRED = {
    "description": "`${...}` refers to another value; `???` must be given by the user of the file.",
    "type": "string",
    "pattern": r"^\?\?\?$|\$\{",
}
_EXPRESSION = {
    "description": "`{...}` is filled in inside a block or a scope with `repeat`.",
    "type": "string",
    "pattern": r"^\{.*\}$",
}
_OR_DEFERRED = {"type": ["object", "string"], "pattern": _DEFERRED["pattern"]}
"""For a mapping: not one of two alternatives, so that editors report errors inside it where they are."""
_DEFAULTS = {
    "description": "Files that this one builds on, with its own position as `_self_` (Hydra's defaults list).",
    "type": "array",
    "items": {"type": ["string", "object"]},
}
_HYDRA = {"description": "Settings of Hydra itself.", "type": "object"}
_ANNOTATIONS = ("description", "default")


def whole_schema() -> Schema:
    """Return the schema of a composed configuration, as in a run folder: complete, without deferred values."""
    return {"$schema": DIALECT, "title": "expkit configuration", **_EditorSchema(partial=False).of(Config)}


def file_schema(name: str, hydra: type[BaseModel] | None = None) -> Schema:
    """Return the schema of the files of a name in ``FILES``.

    A file may omit values that another gives, build on others, and use ``${...}`` and ``???`` in place of any value.

    Args:
        name: the name.
        hydra: the settings of Hydra that are described too, where a file may have them.
    """
    title = {"$schema": DIALECT, "title": f"expkit {name}"}
    if name not in SECTIONS:
        described = {"$defs": {}, "properties": {}} if hydra is None else _EditorSchema(partial=True).of(hydra)
        settings = _HYDRA | {"properties": described["properties"]}
        whole = _EditorSchema(partial=True, extra={"defaults": _DEFAULTS, "hydra": settings}).of(Config)
        return title | whole | {"$defs": dict(sorted((whole["$defs"] | described["$defs"]).items()))}
    field = Config.__pydantic_fields__[name]
    annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return title | _EditorSchema(partial=True, extra={"defaults": _DEFAULTS}).of(annotation)


def schema_text(schema: Schema) -> str:
    """Return a schema as JSON with one line per definition, so that a diff shows the definitions that change."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in schema.items() if key != "$defs"]
    definitions = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in schema["$defs"].items()]
    lines.append('"$defs": {\n' + ",\n".join(definitions) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


class _DescribedSchema(GenerateJsonSchema):
    """JSON Schema with the docstrings of fields as descriptions."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        result = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        docs = field_docs(model)
        for name, field in model.__pydantic_fields__.items():
            if name in docs:
                description = " ".join(docs[name].replace("``", "`").split())
                result["properties"][field.alias or name] |= {"description": description}
        result["description"] = " ".join((model.__doc__ or "").replace("``", "`").split())
        return result


class _EditorSchema:
    """Conversion of pydantic's schema to one that editors complete and explain well.

    A choice of kinds becomes a definition of its own, which requires the fields of the kind that ``kind`` names; an
    editor would report the errors of all alternatives of a union at once.
    """

    def __init__(self, *, partial: bool, extra: Schema | None = None) -> None:
        self._partial, self._extra = partial, extra or {}
        self._families: Schema = {}
        self._in_layers: set[str] = set()

    def of(self, annotation: Any) -> Schema:
        """Return the schema of a type, with its definitions."""
        raw = TypeAdapter(annotation).json_schema(schema_generator=_DescribedSchema)
        self._in_layers = _in_layers(raw)
        entries = _entries(raw) if self._partial else set()
        definitions = {
            name: self._converted(item, expressions=name in self._in_layers)
            for name, item in raw.pop("$defs", {}).items()
        }
        root = self._converted(raw)
        for name, definition in (definitions | self._families).items():
            if name in entries:
                definition["type"] = [*definition["type"], "null"]
        if FAMILY in raw:  # The root has the fields of its kinds.
            family = self._families.pop(raw[FAMILY])
            for name in raw["discriminator"]["mapping"].values():
                definitions[name.rpartition("/")[2]]["properties"] |= self._extra
            root = family | {"properties": family["properties"] | self._extra}
        elif "$ref" in root:
            root = definitions.pop(root["$ref"].rpartition("/")[2])
        if "additionalProperties" in root:
            root["properties"] |= self._extra
        return {**root, "$defs": dict(sorted((definitions | self._families | self._deferred()).items()))}

    def _deferred(self) -> Schema:
        expression = {"expression": _EXPRESSION} if self._in_layers else {}
        return expression | ({"later": _DEFERRED} if self._partial else {})

    def _converted(self, node: Schema, *, expressions: bool = False) -> Schema:
        """Return the schema for editors.

        Args:
            node: pydantic's schema.
            expressions: True inside layers, where an expression in braces may stand for any value but a mapping.
        """
        if FAMILY in node:
            return self._family(node)
        result = {key: value for key, value in node.items() if key not in ("title", "properties")}
        for key in ("additionalProperties", "items"):
            if isinstance(node.get(key), dict):
                result[key] = self._or_deferred(self._converted(node[key], expressions=expressions), expressions)
        for key in ("prefixItems", "anyOf"):
            if key in node:
                result[key] = [self._converted(item, expressions=expressions) for item in node[key]]
        if self._partial and isinstance(node.get("additionalProperties"), dict):
            result["additionalProperties"] = _or_null(result["additionalProperties"])
        if "prefixItems" in result:
            result["prefixItems"] = [self._or_deferred(item, expressions) for item in result["prefixItems"]]
        if "properties" in node:
            result["properties"] = {
                key: self._or_deferred(self._converted(item, expressions=expressions), expressions and key != "kind")
                for key, item in node["properties"].items()
            }
        if self._partial and result.get("type") == "object":
            result |= _OR_DEFERRED
            for key in ("required", "minProperties"):
                result.pop(key, None)
        return result

    def _or_deferred(self, node: Schema, expressions: bool = False) -> Schema:
        """Return the schema of a value that a file may leave to others, or to an expression."""
        choices = node.get("anyOf", [node])
        accepting = [_without_annotations(item) for item in choices]
        others = []
        if self._partial and not any(map(_accepts_deferred, accepting)):
            others.append({"$ref": "#/$defs/later"})
        if expressions and not any(_accepts_any_text(item) or "object" in item.get("type", "") for item in accepting):
            others.append({"$ref": "#/$defs/expression"})
        if not others:
            return node
        annotations = {key: value for key, value in node.items() if key in _ANNOTATIONS}
        return annotations | {"anyOf": [*(choices if "anyOf" in node else accepting), *others]}

    def _family(self, node: Schema) -> Schema:
        family, mapping = node[FAMILY], node["discriminator"]["mapping"]
        names = [name for name in kinds(family) if name in mapping]
        selector = self._or_deferred({"enum": names}) | {"description": f"Kind of {family}."}
        result: Schema = {"type": "object", "properties": {"kind": selector}}
        if self._partial:
            result |= _OR_DEFERRED
            fields = dict.fromkeys(key for cls in kinds(family).values() for key in _field_names(cls))
            known = {"propertyNames": {"enum": [*fields, *self._extra]}}
            general = _general_kind(family)
            then = known if general is None else {"$ref": mapping[general]}
            result["allOf"] = [{"if": {"not": {"required": ["kind"]}}, "then": then}]
        else:
            result |= {"required": ["kind"], "allOf": []}
        result["allOf"] += [
            {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": {"$ref": mapping[name]}}
            for name in names
        ]
        self._families[family] = result
        return {"$ref": f"#/$defs/{family}"} | {key: node[key] for key in _ANNOTATIONS if key in node}


def _without_annotations(node: Schema) -> Schema:
    return {key: value for key, value in node.items() if key not in _ANNOTATIONS}


def _accepts_deferred(node: Schema) -> bool:
    """Return True if a schema accepts deferred values already, as strings and mappings do."""
    return _accepts_any_text(node) or ("pattern" in node and node["type"] == _OR_DEFERRED["type"])


def _accepts_any_text(node: Schema) -> bool:
    return "$ref" in node or node == {"type": "string"}


def _or_null(node: Schema) -> Schema:
    """Return the schema of an entry of a mapping, which null drops; definitions accept null themselves."""
    if "anyOf" in node:
        return node if {"type": "null"} in node["anyOf"] else node | {"anyOf": [*node["anyOf"], {"type": "null"}]}
    return node | {"type": [node["type"], "null"]} if isinstance(node.get("type"), str) else node


def _entries(raw: Schema) -> set[str]:
    """Return the names of the definitions and families of the entries of mappings."""
    entries = [
        node["additionalProperties"] for node in _nodes(raw) if isinstance(node.get("additionalProperties"), dict)
    ]
    families = {node[FAMILY] for node in entries if FAMILY in node}
    return families.union(*(_references(node) for node in entries))


def _in_layers(raw: Schema) -> set[str]:
    """Return the names of the definitions of the kinds of layers, and of what these refer to."""
    definitions = raw.get("$defs", {})
    found = {name for node in _nodes(raw) if node.get(FAMILY) == "layer" for name in _references(node)}
    new = found
    while new:
        new = {name for one in new for name in _references(definitions[one])} - found
        found |= new
    return found


def _references(node: Schema) -> set[str]:
    named = {word for inner in _nodes(node) for word in (inner.get("$ref"), *inner.get("mapping", {}).values())}
    return {word.rpartition("/")[2] for word in named if isinstance(word, str)}


def _nodes(value: Any) -> Iterator[Schema]:
    """Yield all mappings inside a schema."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _nodes(inner)


def _general_kind(family: str) -> str | None:
    """Return the kind of a family that has all fields of the others, as they have them; ``None`` if there is none."""
    fields = {name: cls.__pydantic_fields__ for name, cls in kinds(family).items()}

    def has_all(general: str) -> bool:
        own = fields[general]
        return all(
            key == "kind"
            or (key in own and (own[key].annotation, own[key].metadata) == (item.annotation, item.metadata))
            for other in fields.values()
            for key, item in other.items()
        )

    return next((name for name in fields if len(fields) > 1 and has_all(name)), None)


def _field_names(cls: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in cls.__pydantic_fields__.items()]
