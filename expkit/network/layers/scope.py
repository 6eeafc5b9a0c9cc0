"""Layers under one scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from expkit.network.layer import AnyLayer, Call, Layer, TensorSpec
from expkit.registry import register

__all__ = ["Scope"]


@register
class Scope(Layer):
    """Layers nested under a variable scope; their first reads the scope's input, their last is its output.

    ``reuse``, ``variables`` and ``trainable: false`` hold for every layer inside.
    """

    kind: Literal["scope"] = "scope"
    arity: ClassVar[tuple[int, int | None]] = (0, None)
    layers: dict[str, AnyLayer] = Field(min_length=1)
    """The layers, by name, in order."""
    output: str | None = None
    """Layer inside that is the scope's output; the last one when not given."""

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Never called: a scope is unfolded into its layers before shapes are worked out."""
        raise AssertionError("a scope has no tensor of its own")

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Never called: a scope is unfolded into its layers before they are connected."""
        raise AssertionError("a scope has no tensor of its own")
