"""Layers with expressions in braces, which become layers once these are filled in."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from expkit.kinds.layers.base import Layer
from expkit.registry import KindsOf, Section

__all__ = ["AnyLayer", "FilledLayer", "LayerChoice", "LayerTemplate", "ScopeTemplate", "has_braces"]


class LayerTemplate(Section):
    """A layer with an expression in braces in one of its fields, ``units: "{filters * 2}"``: it has any fields.

    Its fields are known, and validated, where it is repeated or its block is connected.
    """

    model_config = ConfigDict(extra="allow")

    kind: str

    @property
    def fields(self) -> dict[str, Any]:
        """The layer's fields as plain data, without the layers inside."""
        return {"kind": self.kind, **(self.model_extra or {})}


def has_braces(value: Any) -> bool:
    """Return True if a text in plain data, a key included, has a brace."""
    if isinstance(value, str):
        return "{" in value or "}" in value
    if isinstance(value, Mapping):
        return any(map(has_braces, value)) or any(map(has_braces, value.values()))
    return isinstance(value, list) and any(map(has_braces, value))


class LayerChoice(KindsOf):
    """Annotation for a field that holds a layer of any kind.

    Where braces are filled in, in blocks and in scopes with ``repeat``, it may hold the template of a layer.
    """

    others: ClassVar[dict[str, type[Section]]] = {}
    """Models besides the kinds, by tag; no kind is called so."""

    def __init__(self, *, filled: bool) -> None:
        super().__init__("layer")
        self.filled = filled

    @property
    def models(self) -> Mapping[str, type[BaseModel]]:
        """Models by the tag that stands for them in pydantic's errors."""
        return {**super().models, **self.others}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {tag: handler.generate_schema(model) for tag, model in self.models.items()}
        return core_schema.tagged_union_schema(choices, discriminator=self._tag)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        choices = {name: item for name, item in schema["choices"].items() if name not in self.others}
        return super().__get_pydantic_json_schema__(core_schema.tagged_union_schema(choices, "kind"), handler)

    def _tag(self, layer: Any) -> Any:
        """Return the kind of a layer, or the tag of another model."""
        if not isinstance(layer, dict):
            found = next((tag for tag, model in self.others.items() if type(layer) is model), None)
            return found or getattr(layer, "kind", None)
        kind = layer.get("kind")
        if (not self.filled and layer.get("repeat") is None) or not isinstance(kind, str) or kind not in super().models:
            return kind
        scope = kind == "scope"
        for name, value in layer.items():
            if not isinstance(value, _WITHOUT_TEXT) and not (scope and name == "layers") and has_braces(value):
                return "{scope}" if scope else "{layer}"
        return "{repeated}" if scope else kind


_WITHOUT_TEXT = (int, float, NoneType)

AnyLayer = Annotated[Layer | LayerTemplate, LayerChoice(filled=False)]
"""A layer outside of blocks and repetitions: a template only if it is repeated itself."""
FilledLayer = Annotated[Layer | LayerTemplate, LayerChoice(filled=True)]
"""A layer of a block, or inside a repetition."""


class ScopeTemplate(LayerTemplate):
    """A scope with an expression in braces in one of its own fields; the layers inside are as in any other."""

    layers: dict[str, FilledLayer] = Field(min_length=1)


LayerChoice.others |= {"{layer}": LayerTemplate, "{scope}": ScopeTemplate}
