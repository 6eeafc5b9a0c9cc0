"""JSON Schema of the configuration: of a whole one as composed, and of the files that make it."""

from __future__ import annotations

import inspect
import json
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
"""What there are files of: a folder under ``conf/`` by each name; ``conf/config.yaml`` is as an experiment."""

_LATER = {
    "description": "`${...}` takes a value from elsewhere; `???` must be given by who uses the file.",
    "type": "string",
    "pattern": r"^\?\?\?$|\$\{",
}
_OR_LATER = {"type": ["object", "string"], "pattern": _LATER["pattern"]}
"""Of a mapping: not as one of two alternatives, so that what is wrong inside is told where it stands."""
_DEFAULTS = {
    "description": "Files that this one builds on, and its own place among them as `_self_` (Hydra's defaults list).",
    "type": "array",
    "items": {"type": ["string", "object"]},
}
_HYDRA = {"description": "Settings of Hydra itself.", "type": "object"}
_TOLD = ("description", "default")


def whole_schema() -> Schema:
    """Return the schema of a composed configuration, as a run keeps it: nothing is missing, nothing is left open."""
    return {"$schema": DIALECT, "title": "expkit configuration", **_Shape(partial=False).of(Config)}


def file_schema(name: str) -> Schema:
    """Return the schema of the files of a name in ``FILES``.

    A file may leave out what another gives, build on others, and use ``${...}`` and ``???`` in place of any value.
    """
    title = {"$schema": DIALECT, "title": f"expkit {name}"}
    if name not in SECTIONS:
        return title | _Shape(partial=True, also={"defaults": _DEFAULTS, "hydra": _HYDRA}).of(Config)
    field = Config.__pydantic_fields__[name]
    annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return title | _Shape(partial=True, also={"defaults": _DEFAULTS}).of(annotation)


def schema_text(schema: Schema) -> str:
    """Return a schema as JSON, a line for each definition, so that a change of one shows as one."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in schema.items() if key != "$defs"]
    definitions = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in schema["$defs"].items()]
    lines.append('"$defs": {\n' + ",\n".join(definitions) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


class _Described(GenerateJsonSchema):
    """Tells fields by the docstrings under them."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        docs = field_docs(model)
        for name, field in model.__pydantic_fields__.items():
            if name in docs:
                told = " ".join(docs[name].replace("``", "`").split())
                made["properties"][field.alias or name] |= {"description": told}
        made["description"] = " ".join((model.__doc__ or "").replace("``", "`").split())
        return made


class _Shape:
    """Brings what pydantic generates into the shape that editors complete and explain best.

    A choice of kinds becomes a definition of its own, which asks for the fields of the kind that ``kind`` names: not
    one of many alternatives, whose mistakes an editor tells all at once.
    """

    def __init__(self, *, partial: bool, also: Schema | None = None) -> None:
        self._partial, self._also = partial, also or {}
        self._families: Schema = {}

    def of(self, annotation: Any) -> Schema:
        """Return the schema of a type, its definitions by name."""
        raw = TypeAdapter(annotation).json_schema(schema_generator=_Described)
        definitions = {name: self._shaped(item) for name, item in raw.pop("$defs", {}).items()}
        root = self._shaped(raw)
        if FAMILY in raw:  # Fields of the root are those of its kinds.
            family = self._families.pop(raw[FAMILY])
            for name in raw["discriminator"]["mapping"].values():
                definitions[name.rpartition("/")[2]]["properties"] |= self._also
            root = family | {"properties": family["properties"] | self._also}
        elif "$ref" in root:
            root = definitions.pop(root["$ref"].rpartition("/")[2])
        if "additionalProperties" in root:
            root["properties"] |= self._also
        return {**root, "$defs": dict(sorted((definitions | self._families | self._later()).items()))}

    def _later(self) -> Schema:
        return {"later": _LATER} if self._partial else {}

    def _shaped(self, node: Schema) -> Schema:
        if FAMILY in node:
            return self._choice(node)
        made = {key: value for key, value in node.items() if key not in ("title", "properties")}
        for key in ("additionalProperties", "items"):
            if isinstance(node.get(key), dict):
                made[key] = self._open(self._shaped(node[key]))
        for key in ("prefixItems", "anyOf"):
            if key in node:
                made[key] = [self._shaped(item) for item in node[key]]
        if "prefixItems" in made:
            made["prefixItems"] = [self._open(item) for item in made["prefixItems"]]
        if "properties" in node:
            made["properties"] = {key: self._open(self._shaped(item)) for key, item in node["properties"].items()}
        if self._partial and made.get("type") == "object":
            made |= _OR_LATER
            for key in ("required", "minProperties"):
                made.pop(key, None)
        return made

    def _open(self, node: Schema) -> Schema:
        """Return a schema of a value that a file may leave to others."""
        choices = node.get("anyOf", [node])
        if not self._partial or any(_is_open(_bare(item)) for item in choices):
            return node
        told = {key: value for key, value in node.items() if key in _TOLD}
        later = {"$ref": "#/$defs/later"}
        return told | {"anyOf": [*(choices if "anyOf" in node else [_bare(node)]), later]}

    def _choice(self, node: Schema) -> Schema:
        family, mapping = node[FAMILY], node["discriminator"]["mapping"]
        names = [name for name in kinds(family) if name in mapping]
        asked = self._open({"enum": names}) | {"description": f"Which {family} this is."}
        made: Schema = {"type": "object", "properties": {"kind": asked}}
        if self._partial:
            made |= _OR_LATER
            fields = dict.fromkeys(key for cls in kinds(family).values() for key in _keys(cls))
            known = {"propertyNames": {"enum": [*fields, *self._also]}}
            made["allOf"] = [{"if": {"not": {"required": ["kind"]}}, "then": known}]
        else:
            made |= {"required": ["kind"], "allOf": []}
        made["allOf"] += [
            {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": {"$ref": mapping[name]}}
            for name in names
        ]
        self._families[family] = made
        return {"$ref": f"#/$defs/{family}"} | {key: node[key] for key in _TOLD if key in node}


def _bare(node: Schema) -> Schema:
    return {key: value for key, value in node.items() if key not in _TOLD}


def _is_open(node: Schema) -> bool:
    """Return whether a schema takes what is left to others already: any text does, and all mappings do."""
    return "$ref" in node or ("pattern" in node and node["type"] == _OR_LATER["type"]) or node == {"type": "string"}


def _keys(cls: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in cls.__pydantic_fields__.items()]
