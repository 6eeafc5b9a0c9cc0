"""The section ``network``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

import expkit.kinds.layers  # noqa: F401  # registers the kinds of layers
from expkit.kinds.layers.base import AnyInitializer, Regularizer
from expkit.kinds.layers.template import AnyLayer, FilledLayer
from expkit.registry import Positive, Section
from expkit.tensor_spec import DType

__all__ = ["BlockConfig", "InputConfig", "NetworkConfig", "OutputConfig", "Use", "VariableRule"]

Use = Literal["always", "training", "serving"]
"""Where an input or output exists: ``training`` is training and evaluation, ``serving`` the frozen graph."""


class InputConfig(Section):
    """An input of the network: a field of the data, unless its use is ``serving``."""

    shape: tuple[Positive | None, ...]
    """Shape without the batch dimension; ``null`` where a size varies."""
    dtype: DType = "float32"
    """Dtype of the values."""
    use: Use = "always"
    """``training``: in training and evaluation, not in the frozen graph; ``serving``: only there, and no data."""


class OutputConfig(Section):
    """An output of the network."""

    layer: str
    """Layer, or output of a layer."""
    use: Use = "always"
    """``training``: in training and evaluation, not in the frozen graph; ``serving``: only there."""


class VariableRule(Section):
    """Settings for every variable whose full name matches a regular expression; later rules win."""

    variables: str
    """Regular expression, matched against the full name."""
    initializer: AnyInitializer | None = None
    """Initializer, in place of the layer's."""
    regularizer: Regularizer | None = None
    """Regularizer, in place of the layer's."""
    trainable: bool | None = None
    """True if training changes the variables, in place of the layer's setting."""
    learning_rate_multiplier: float | None = Field(default=None, gt=0)
    """Learning-rate multiplier, in place of the layer's and its scopes'."""


class BlockConfig(Section):
    """Layers described once and connected by any number of layers of kind ``block``.

    They read only each other and the inputs of the connecting layer.
    """

    arguments: dict[str, Any] = {}
    """Names that ``{NAME}`` stands for in the layers, with default values; ``null`` where every use gives a value."""
    layers: dict[str, FilledLayer] = Field(min_length=1)
    """The layers, by name, in order."""
    output: str | None = None
    """Layer inside that is the block's output; the last one if omitted."""
    outputs: dict[str, str] = {}
    """Further outputs, read from outside as ``layer/name``: layers inside, or their outputs, by name."""


class NetworkConfig(Section):
    """The network: inputs, layers by name in order, outputs."""

    inputs: dict[str, InputConfig] = Field(min_length=1)
    """Inputs by name; each is a field of the data."""
    settings: dict[str, bool | int | float | str | None] = {}
    """Values that files refer to by ``${network.settings.NAME}``, so that one override sets a size everywhere."""
    variables: dict[str, str] = {}
    """Names for variables, by the layers' own names for them, in the whole network."""
    rules: dict[str, VariableRule] = {}
    """Settings by regular expression over variable names; rules have names, so that overrides can reach them."""
    blocks: dict[str, BlockConfig] = {}
    """Groups of layers by name, connected by layers of kind ``block``."""
    layers: dict[str, AnyLayer] = Field(min_length=1)
    """Layers by name, in order."""
    outputs: dict[str, str | OutputConfig] = Field(min_length=1)
    """Layers, or outputs of layers, by the name of the network's output.

    ``{layer: LAYER, use: training}`` is an output that the frozen graph does not have.
    """

    def output(self, name: str) -> OutputConfig:
        """Return an output, also one that is given by its layer alone."""
        given = self.outputs[name]
        return OutputConfig(layer=given) if isinstance(given, str) else given
