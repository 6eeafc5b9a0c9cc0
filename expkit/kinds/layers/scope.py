"""Scopes, blocks and averages of scopes, which are expanded into their layers before shapes are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from expkit.kinds.layers.base import Call, Layer
from expkit.kinds.layers.template import AnyLayer, FilledLayer, LayerChoice
from expkit.registry import register
from expkit.tensor_spec import TensorSpec

__all__ = ["Block", "EmaOf", "Nest", "Scope", "ScopeFields"]


class Nest(Layer):
    """Base of the layers that contain layers."""

    arity: ClassVar[tuple[int, int | None]] = (0, None)
    inputs: dict[str, str] = {}
    """Names by which layers inside read tensors outside: ``{x: hidden, mask: mask}``; instead of ``input``.

    The first layer inside reads the first of them.
    """
    repeat: int | None = Field(default=None, gt=0, le=1000)
    """Number of repetitions, in a chain; they are called ``NAME_{index}``, and so are their scopes."""
    first_index: int = Field(default=0, ge=0)
    """The first ``{index}`` of ``repeat``."""

    @model_validator(mode="after")
    def _fields_agree(self) -> Nest:
        if self.inputs and self.input is not None:
            raise ValueError("'input' and 'inputs' exclude each other; give one of them")
        if self.first_index and self.repeat is None:
            raise ValueError("'first_index' numbers repetitions, but there are none; give repeat")
        return self

    def output_spec(self, inputs: Sequence[TensorSpec]) -> TensorSpec:
        """Never called: a scope is expanded into its layers before shapes are computed."""
        raise AssertionError("a scope has no tensor of its own")

    def apply(self, variables: Mapping[str, Any], inputs: Sequence[Any], call: Call) -> Any:
        """Never called: a scope is expanded into its layers before they are connected."""
        raise AssertionError("a scope has no tensor of its own")


class ScopeFields(Nest):
    """The fields of a scope, without the layers inside."""

    kind: Literal["scope"] = "scope"
    output: str | None = None
    """Layer inside that is the scope's output; by default the last one."""
    outputs: dict[str, str] = {}
    """Further outputs, read from outside as ``scope/name``: layers inside, or their outputs, by name."""


@register
class Scope(ScopeFields):
    """Layers nested under a variable scope; their first reads the scope's input, their last is its output.

    ``reuse``, ``variables`` and ``trainable: false`` apply to all layers inside.
    """

    layers: dict[str, AnyLayer] = Field(min_length=1)
    """The layers, by name, in order."""


class RepeatedScope(Scope):
    """A scope inside which expressions in braces are filled in, because it, or one around it, is repeated."""

    layers: dict[str, FilledLayer] = Field(min_length=1)


LayerChoice.others["{repeated}"] = RepeatedScope


@register
class Block(Nest):
    """The layers of ``network.blocks.BLOCK`` under a variable scope, connected here; otherwise as ``scope``."""

    kind: Literal["block"] = "block"
    block: str
    """Name of the block."""
    arguments: dict[str, Any] = {}
    """Values of the block's arguments, by name: ``{filters: 64}``; ``null`` for the block's default."""


@register
class EmaOf(Nest):
    """The layers of a scope connected again, with the exponential moving averages (EMA) of their trained variables.

    No gradient passes through it. It reads ``NAME/ExponentialMovingAverage`` as the previous step left it, which
    section ``ema`` must keep; variables that are not trained are read as they are. Mean teacher (Tarvainen and Valpola
    2017), BYOL (Grill et al. 2020), MoCo (He et al. 2020), target networks (Mnih et al. 2015).
    """

    kind: Literal["ema_of"] = "ema_of"
    of: str
    """The scope or block; its input, or its ``inputs`` by name, are read where this layer gives none."""
    training: bool = False
    """Whether, in training, dropout and noise inside are active, drawn anew, and ``batch_norm`` uses the batch's
    statistics; it never moves the moving statistics, which are read otherwise."""

    @model_validator(mode="after")
    def _has_nothing_of_its_own(self) -> EmaOf:
        defaults = EmaOf.model_construct(of=self.of)
        fields = [name for name in Layer.model_fields if name not in ("kind", "input")]
        if own := [name for name in fields if getattr(self, name) != getattr(defaults, name)]:
            raise ValueError(f"ema_of has the variables of the scope that it connects; leave out {', '.join(own)}")
        if self.repeat is not None:
            raise ValueError("ema_of cannot be repeated; give repeat to a scope around it")
        return self
