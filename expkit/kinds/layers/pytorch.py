"""Layouts of variables in PyTorch, whose modules have their values in another order or in other tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

__all__ = ["Block", "Layout", "channels_first", "gru_layouts", "lstm_layouts"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a variable that is rows of a tensor in PyTorch."""

    tensor: str
    """Name of the tensor, in place of the variable's name in its layer."""
    first: int
    """First row of the tensor."""
    columns: tuple[int, int]
    """Range of the variable's last dimension, which is that of the tensor's rows."""
    rows: tuple[int, int] | None = None
    """Range of the first dimension of a matrix; ``None`` for a vector."""
    constant: float | None = None
    """Number that the tensor has there in place of values, which PyTorch adds to them: a second bias."""

    @property
    def width(self) -> int:
        """Number of rows of the tensor."""
        return self.columns[1] - self.columns[0]


@dataclass(frozen=True)
class Layout:
    """The order in which PyTorch holds the values of a variable."""

    axes: tuple[int, ...] = ()
    """Dimensions of the variable in PyTorch's order: ``(1, 0)`` for a matrix [inputs, outputs]."""
    shape: tuple[int, ...] | None = None
    """Shape to which the transposed values are reshaped; ``None`` to leave it."""
    _: KW_ONLY
    own: str = ""
    """Name of a variable of several tensors inside its layer."""
    blocks: tuple[Block, ...] = ()
    """Its parts; empty for a variable that is one tensor."""
    lacks: str = ""
    """Why PyTorch has no tensor of the same values; empty if it has one."""


def channels_first(rank: int) -> Layout:
    """Return the layout of a convolution's kernel [sizes, inputs, outputs]: [outputs, inputs, sizes]."""
    return Layout((rank - 1, rank - 2, *range(rank - 2)))


def lstm_layouts(features: int, units: int, size: int, forget_bias: float) -> dict[str, Layout]:
    """Return the layouts of an LSTM's variables by name: gates i, f, g, o in place of i, j, f, o.

    The forget bias, which the layer adds to ``bias``, is PyTorch's second bias.

    Args:
        features: size of the input.
        units: size of the memory.
        size: size of the output.
        forget_bias: of the layer.
    """
    order = (0, 2, 1, 3)  # PyTorch's place of each of TensorFlow's gates
    columns = [(gate * units, (gate + 1) * units) for gate in range(4)]

    def blocks(tensor: str, rows: tuple[int, int] | None) -> Iterator[Block]:
        for gate in range(4):
            yield Block(tensor=tensor, first=order[gate] * units, columns=columns[gate], rows=rows)

    second = [
        Block(
            tensor="bias_hh",
            first=order[gate] * units,
            columns=columns[gate],
            constant=forget_bias if gate == 2 else 0.0,
        )
        for gate in range(4)
    ]
    kernel = (*blocks("weight_ih", (0, features)), *blocks("weight_hh", (features, features + size)))
    projection = Block(tensor="weight_hr", first=0, columns=(0, size), rows=(0, units))
    return {
        "kernel": Layout(own="kernel", blocks=kernel),
        "bias": Layout(own="bias", blocks=(*blocks("bias_ih", None), *second)),
        "projection/kernel": Layout(own="projection/kernel", blocks=(projection,)),
    }


def gru_layouts(features: int, units: int) -> dict[str, Layout]:
    """Return the layouts of the variables by name of a GRU whose reset gate comes after the product: gates r, z, n.

    Args:
        features: size of the input.
        units: size of the state.
    """
    both, last, inner = (0, 2 * units), (0, units), (features, features + units)

    def part(tensor: str, columns: tuple[int, int], rows: tuple[int, int] | None) -> Block:
        return Block(tensor=tensor, first=0 if columns == both else 2 * units, columns=columns, rows=rows)

    found = {
        "gates/kernel": (part("weight_ih", both, (0, features)), part("weight_hh", both, inner)),
        "gates/bias": (
            part("bias_ih", both, None),
            Block(tensor="bias_hh", first=0, columns=both, constant=0.0),
        ),
        "candidate/input_projection/kernel": (part("weight_ih", last, (0, features)),),
        "candidate/input_projection/bias": (part("bias_ih", last, None),),
        "candidate/hidden_projection/kernel": (part("weight_hh", last, (0, units)),),
        "candidate/hidden_projection/bias": (part("bias_hh", last, None),),
    }
    return {name: Layout(own=name, blocks=blocks) for name, blocks in found.items()}
