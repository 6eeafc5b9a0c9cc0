"""Layers without input data: constants and variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from expkit import tf1 as tf
from expkit.kinds.initializers import GlorotUniform, Zeros
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.registry import Positive, register
from expkit.tensor_spec import DType, TensorSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Constant", "Value", "Variable"]

_WIDER = {"float16": "float32", "bfloat16": "float32"}
"""Dtypes in which NumPy checks a value before TensorFlow rounds it."""


class Value(Layer):
    """Base of the layers without input data; by default they have a batch of one, which broadcasts."""

    arity: ClassVar[tuple[int, int | None]] = (0, 0)
    reads: ClassVar[tuple[str, ...]] = ("batch_of",)
    batch_of: str | None = None
    """Layer or network input whose batch size the output has; by default it has a batch of one."""

    def passes_gradient(self, field: str) -> bool:
        """Return False: of ``batch_of`` only the size is read."""
        return False

    def sized(self, shape: Sequence[int], dtype: str, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the output's spec: with the batch of ``batch_of``, or a batch of one."""
        return TensorSpec(tuple(shape), dtype, batched="batch_of" in inputs.named)

    def repeated(self, tensor: Any, inputs: Inputs[Any]) -> Any:
        """Return a tensor with a batch dimension in front."""
        tensor = tf.expand_dims(tensor, 0)
        if "batch_of" not in inputs.named:
            return tensor
        batch = inputs.named["batch_of"]
        size = batch.shape.as_list()[0]
        return tf.repeat(tensor, tf.shape(batch)[0] if size is None else size, axis=0)


@register
class Constant(Value):
    """A value, the same for every example."""

    kind: Literal["constant"] = "constant"
    value: bool | int | float | tuple[Any, ...]
    """A number, or nested lists of numbers; true and false with ``dtype: bool``."""
    shape: tuple[Positive, ...] | None = None
    """Sizes without the batch, filled with ``value`` if it is one number; by default those of ``value``."""
    dtype: DType = "float32"
    """Type of the value."""

    @model_validator(mode="after")
    def _dtype_represents_value(self) -> Constant:
        self.array()
        return self

    def array(self) -> np.ndarray:
        """Return the value as an array, one number as such where a shape is to be filled with it.

        Raises:
            ValueError: the lists differ in length, or the dtype cannot represent a number.
        """
        import numpy as np

        try:
            given = np.array(self.value)
        except ValueError:
            raise ValueError("'value' has lists of different lengths at one depth; make them equal") from None
        if given.size == 0 or given.dtype.kind not in "biuf":
            raise ValueError("'value' needs numbers, or true and false, everywhere")
        if self.shape is not None and given.shape:
            raise ValueError(f"'shape' is for one number, but 'value' has shape {list(given.shape)}; leave one out")
        with np.errstate(all="ignore"):
            cast = given.astype(_WIDER.get(self.dtype, self.dtype))
        floats = cast.dtype.kind == "f"
        wrong = ~np.isfinite(cast) if floats else cast != given
        if wrong.any() or (cast.dtype == bool) != (given.dtype == bool):
            first = given[wrong][0] if wrong.any() else given.flat[0]
            raise ValueError(f"'value' has {first}, but dtype is {self.dtype}; give another dtype or value")
        return cast

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the value's shape."""
        return self.sized(self.array().shape if self.shape is None else self.shape, self.dtype, inputs)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Return the constant."""
        return self.repeated(tf.constant(self.array(), self.dtype, shape=self.shape), inputs)


@register
class Variable(Value):
    """A variable as a tensor, the same for every example; owns ``value``, which is trained if it is float32."""

    kind: Literal["variable"] = "variable"
    shape: tuple[Positive, ...]
    """Sizes without the batch; ``[]`` for a single number."""
    dtype: DType = "float32"
    """Type of the values."""

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``value``."""
        floating = "float" in self.dtype
        initializer = GlorotUniform() if floating else Zeros()
        trainable = self.dtype == "float32"
        return (Declaration("value", self.shape, initializer, trainable=trainable, dtype=self.dtype),)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the variable's shape."""
        return self.sized(self.shape, self.dtype, inputs)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Read the variable."""
        return self.repeated(tf.convert_to_tensor(variables["value"]), inputs)
