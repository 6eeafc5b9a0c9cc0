"""The section of the configuration that describes the network."""

from __future__ import annotations

from pydantic import Field

import expkit.kinds.layers  # noqa: F401  # registers the kinds of layers
from expkit.kinds.layers.base import AnyInitializer, AnyLayer, Regularizer
from expkit.registry import Positive, Section
from expkit.tensor_spec import DType

__all__ = ["BlockConfig", "InputConfig", "NetworkConfig", "VariableRule"]


class InputConfig(Section):
    """An input of the network: a field of the data."""

    shape: tuple[Positive | None, ...]
    """Sizes without the batch; ``null`` where a size varies."""
    dtype: DType = "float32"
    """Type of the values."""


class VariableRule(Section):
    """Settings for every variable whose whole name matches a regular expression; later rules win."""

    variables: str
    """Regular expression, matched against the whole name."""
    initializer: AnyInitializer | None = None
    """Initial values, in place of the layer's."""
    regularizer: Regularizer | None = None
    """Penalty, in place of the layer's."""
    trainable: bool | None = None
    """Whether training changes the variables, in place of the layer's."""
    learning_rate_multiplier: float | None = Field(default=None, gt=0)
    """Times the learning rate, in place of the layer's and its scopes'."""


class BlockConfig(Section):
    """Layers described once, to be connected by layers of kind ``block``, as often as wanted.

    They read each other and what they are given, and nothing else.
    """

    layers: dict[str, AnyLayer] = Field(min_length=1)
    """The layers, by name, in order."""
    output: str | None = None
    """Layer inside that is the block's output; the last one when not given."""
    outputs: dict[str, str] = {}
    """Further outputs, read from outside as ``layer/name``: layers inside, or outputs of theirs, by name."""


class NetworkConfig(Section):
    """The network: inputs, layers by name in order, outputs."""

    inputs: dict[str, InputConfig] = Field(min_length=1)
    """Inputs by name; each is a field of the data."""
    settings: dict[str, bool | int | float | str | None] = {}
    """Values for files to refer to by ``${network.settings.NAME}``, so that one override sets a size everywhere."""
    variables: dict[str, str] = {}
    """Names for variables, by what layers call them, for the whole network."""
    rules: dict[str, VariableRule] = {}
    """Settings by regular expression over variable names; each rule has a name to reach it by."""
    blocks: dict[str, BlockConfig] = {}
    """Groups of layers by name, for layers of kind ``block`` to connect."""
    layers: dict[str, AnyLayer] = Field(min_length=1)
    """Layers by name, in order."""
    outputs: dict[str, str] = Field(min_length=1)
    """Layers that are outputs, or outputs of layers, by the output's name."""
