"""The layer: a registered description that declares its variables before TensorFlow creates them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from expkit.kinds.initializers import Initializer
from expkit.kinds.layers.pytorch import Layout
from expkit.registry import Kind, KindsOf, Section
from expkit.tensor_spec import TensorSpec

__all__ = [
    "AnyInitializer",
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
    """Inputs of a layer, in order and, by field, further ones that it names (a mask, lengths)."""

    named: Mapping[str, Item]

    def __new__(cls, inputs: Iterable[Item], named: Mapping[str, Item] | None = None) -> Self:
        """Join inputs and named inputs."""
        joined = super().__new__(cls, inputs)
        joined.named = dict(named or {})
        return joined


class Regularizer(Section):
    """A penalty added to the loss: ``l1 * sum(|v|) + l2 * sum(v ** 2)``, Keras' ``L1L2``; not of a frozen variable."""

    l1: float = Field(default=0.0, ge=0)
    """Weight of the sum of absolute values."""
    l2: float = Field(default=0.0, ge=0)
    """Weight of the sum of squares (TensorFlow 1's ``l2_regularizer(scale)`` is ``l2: scale / 2``)."""


class Shared(Section):
    """A variable of another layer, used in place of one of the layer's own."""

    variable: str
    """Full name of the variable, which an earlier layer owns."""
    transpose: bool = False
    """Whether its last two dimensions are swapped."""


AnyInitializer = Annotated[Initializer, KindsOf("initializer")]


@dataclass(frozen=True)
class Declaration:
    """A variable that a layer owns: its name inside the layer, shape, initializer, and whether it is trained."""

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    _: KW_ONLY
    trainable: bool = True
    dtype: str = "float32"
    frozen: bool = False
    """Whether only the configuration excludes it from training."""
    pytorch: Layout | None = None
    """Its layout in PyTorch where it is another one."""


@dataclass(frozen=True)
class Update:
    """The update of a moving statistic after each training step: ``variable * momentum + value * (1 - momentum)``."""

    variable: Any
    value: Any
    momentum: float


@dataclass(kw_only=True)
class Call:
    """The circumstances in which a layer is connected, and the moving statistics that it updates."""

    training: bool
    key: Any = 0
    """Seed of the layer's random numbers, a function of run seed and layer path: a number or a uint32 scalar tensor."""
    step: Any = None
    """int64 scalar, the global step; ``None`` outside training."""
    updates: list[Update] = field(default_factory=list)
    """Filled by the layer."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """The layer's state at the end of the previous batch, [batch, ...], by the names of ``declare_state``.

    Zeros in the first batch of an epoch, of an evaluation, and in every prediction; no gradient passes it.
    """
    next_state: dict[str, Any] = field(default_factory=dict)
    """State at the end of this batch; filled by a layer that declares a state."""


class Layer(Kind):
    """A layer of the network; a subclass per kind, registered by ``expkit.registry.register``."""

    family: ClassVar[str] = "layer"
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    """Minimum and maximum number of inputs; ``None`` for no limit."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Fields that name further inputs, a layer or a network input each, ``str | None``: found in ``Inputs.named``."""
    broadcasts: ClassVar[bool] = False
    """Whether its inputs may include tensors that depend on no example, whose first dimension is 1."""

    couples_examples: ClassVar[bool] = False
    """Whether an example's output depends on the others of its batch outside training, too: allowed only in what
    training alone needs."""

    input: str | tuple[str, ...] | None = None
    """Layer or network input to read, or a list of them; by default the previous layer."""
    scope: str | None = None
    """Variable scope; by default the layer's name; ``""`` for none, ``/name`` from the root."""
    reuse: bool | Literal["auto"] = False
    """``false``: create the variables; ``true``: share those that exist; ``auto``: either."""
    variables: dict[str, str] = {}
    """Other names for the layer's variables: ``{kernel: weights, bias: biases}``."""
    initializer: dict[str, AnyInitializer] = {}
    """Initializers, by the layer's name for the variable: ``{kernel: {kind: he_normal}}``."""
    regularizer: dict[str, Regularizer] = {}
    """Regularizers, by the layer's name for the variable: ``{kernel: {l2: 0.0001}}``."""
    share: dict[str, str | Shared] = {}
    """Variables of earlier layers in place of its own, by the layer's names: ``{kernel: embeddings/table}``.

    ``{kernel: {variable: encoder/kernel, transpose: true}}`` swaps the last two dimensions.
    """
    trainable: bool = True
    """Whether the layer's variables are trained."""
    learning_rate_multiplier: float = Field(default=1.0, gt=0)
    """Factor of the learning rate for the layer's variables; a scope's is multiplied with those inside."""

    @property
    def references(self) -> dict[str, str]:
        """Layers and inputs that it reads by name, by the field that names them."""
        return {field: name for field in self.reads if (name := getattr(self, field)) is not None}

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return the variables the layer owns, in the order in which they are created."""
        return ()

    def passes_gradient(self, field: str) -> bool:
        """Return whether outputs of floats send a gradient to inputs of floats: to ``input``, or what a field names."""
        return True

    def declare_state(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the shape per example and the dtype of the state that is carried from batch to batch, by name.

        ``apply`` finds it in ``Call.state`` and puts the next into ``Call.next_state``. Each place in the network where
        a layer is connected has a state of its own, whatever variables it shares.
        """
        return {}

    @abstractmethod
    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec | Mapping[str, TensorSpec]:
        """Return the output's shape and dtype; those of several outputs by name.

        An output is read as ``layer/name``; the one named ``""`` by the layer's own name.

        Raises:
            ShapeError: the inputs do not fit.
        """

    @abstractmethod
    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Connect the layer: return its output, from its variables, by the layer's names, and its inputs.

        A layer with several outputs returns them by the names of ``output_spec``.
        """
