"""The layer: a registered description that declares its variables before TensorFlow is there to make them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from expkit.kinds.initializers import Initializer
from expkit.registry import Kind, KindsOf, Section
from expkit.tensor_spec import TensorSpec

__all__ = [
    "AnyInitializer",
    "AnyLayer",
    "Call",
    "Declaration",
    "Inputs",
    "Layer",
    "Regularizer",
    "Shared",
    "Update",
]

Item = TypeVar("Item")


class Inputs(tuple[Item, ...]):
    """What a layer reads: its inputs in order and, by field, what it names besides (a mask, lengths)."""

    named: Mapping[str, Item]

    def __new__(cls, inputs: Iterable[Item], named: Mapping[str, Item] | None = None) -> Self:
        """Join inputs and what is read by name."""
        made = super().__new__(cls, inputs)
        made.named = dict(named or {})
        return made


class Regularizer(Section):
    """A penalty added to the loss: ``l1 * sum(|v|) + l2 * sum(v ** 2)``, Keras' ``L1L2``."""

    l1: float = Field(default=0.0, ge=0)
    """Weight of the sum of absolute values."""
    l2: float = Field(default=0.0, ge=0)
    """Weight of the sum of squares (TensorFlow 1's ``l2_regularizer(scale)`` is ``l2: scale / 2``)."""


class Shared(Section):
    """A variable of another layer, in the place of one of a layer's own."""

    variable: str
    """Full name of the variable; a layer before has made it."""
    transpose: bool = False
    """Whether its last two dimensions are swapped."""


AnyInitializer = Annotated[Initializer, KindsOf("initializer")]


@dataclass(frozen=True)
class Declaration:
    """A variable that a layer owns: its name inside the layer, shape, initializer, and whether training changes it."""

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    trainable: bool = True
    dtype: str = "float32"
    frozen: bool = False
    """Whether training would change it, were it not for the configuration."""


@dataclass(frozen=True)
class Update:
    """A moving statistic: ``variable <- variable * momentum + value * (1 - momentum)``, after each training step."""

    variable: Any
    value: Any
    momentum: float


@dataclass(kw_only=True)
class Call:
    """The circumstances in which a layer is connected, and the moving statistics that it updates."""

    training: bool
    key: int = 0
    """Seed of the layer's random numbers: a function of run seed and layer path."""
    step: Any = None
    """int64 scalar, the global step; ``None`` outside training."""
    updates: list[Update] = field(default_factory=list)
    """Filled by the layer."""


class Layer(Kind):
    """A layer of the network; a subclass per kind, registered by ``expkit.registry.register``."""

    family: ClassVar[str] = "layer"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    """Least and most inputs; ``None`` for no limit."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Fields that name a further layer or network input to read, each ``str | None``: found in ``Inputs.named``."""
    broadcasts: ClassVar[bool] = False
    """Whether it may read tensors that depend on no example beside others: their first dimension is 1."""

    input: str | tuple[str, ...] | None = None
    """Layer or network input to read, or a list of them; the layer before when not given."""
    scope: str | None = None
    """Variable scope; the layer's name when not given, ``""`` for none, ``/name`` from the root."""
    reuse: bool | Literal["auto"] = False
    """``false``: make the variables; ``true``: share those that exist; ``auto``: either."""
    variables: dict[str, str] = {}
    """Names for the layer's variables, by what the layer calls them: ``{kernel: weights, bias: biases}``."""
    initializer: dict[str, AnyInitializer] = {}
    """Initializers, by what the layer calls the variable: ``{kernel: {kind: he_normal}}``."""
    regularizer: dict[str, Regularizer] = {}
    """Regularizers, by what the layer calls the variable: ``{kernel: {l2: 0.0001}}``."""
    share: dict[str, str | Shared] = {}
    """Variables of layers before in place of its own, by what the layer calls them: ``{kernel: embeddings/table}``.

    ``{kernel: {variable: encoder/kernel, transpose: true}}`` swaps the last two dimensions.
    """
    trainable: bool = True
    """Whether training changes the layer's variables."""
    learning_rate_multiplier: float = Field(default=1.0, gt=0)
    """Times the learning rate, for the layer's variables; a scope's is multiplied with those inside."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return the variables the layer owns, in the order in which they are made."""
        return ()

    @abstractmethod
    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec | Mapping[str, TensorSpec]:
        """Return the output's shape and dtype; of several outputs each by its name.

        An output is read as ``layer/name``; one named ``""`` is what the layer's own name stands for.

        Raises:
            ShapeError: the inputs do not fit.
        """

    @abstractmethod
    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Connect the layer: tensors in, given variables (by what the layer calls them), one tensor out.

        A layer with several outputs returns them by the names of ``output_spec``.
        """


AnyLayer = Annotated[Layer, KindsOf("layer")]
