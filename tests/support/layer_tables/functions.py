"""Functions of single values, comparisons, selections, and layers that change gradients alone."""

from __future__ import annotations

import numpy as np

from expkit.kinds.layers.base import Inputs
from expkit.tensor_spec import TensorSpec
from support.layer_tables import Array, Case, Refused, Spec, integers, specs

OWN = np.random.default_rng(1)  # `some` would change the numbers that the other tables draw.
ROWS, OTHER, CUBES = (OWN.normal(size=shape).astype(np.float32) for shape in ((4, 3), (4, 3), (2, 4, 3)))
COUNTS = np.array([[3, -2, 0], [5, 5, -1]], np.int32)
TURNED = np.array([[3, 3, 1], [0, 2, 2]], np.float32)
POSITIVE = np.abs(ROWS) + np.float32(0.5)
TIES = np.array([[1, 3, 3], [2, 2, 0]], np.float32)
CONDITION = ROWS > 0

FUNCTIONS: dict[str, tuple[Array, Array]] = {
    "abs": (ROWS, np.abs(ROWS)),
    "cos": (ROWS, np.cos(ROWS)),
    "exp": (ROWS, np.exp(ROWS)),
    "floor": (ROWS, np.floor(ROWS)),
    "log": (POSITIVE, np.log(POSITIVE)),
    "negative": (ROWS, -ROWS),
    "reciprocal": (POSITIVE, 1 / POSITIVE),
    "rsqrt": (POSITIVE, 1 / np.sqrt(POSITIVE)),
    "sign": (ROWS, np.sign(ROWS)),
    "sin": (ROWS, np.sin(ROWS)),
    "sqrt": (POSITIVE, np.sqrt(POSITIVE)),
    "square": (ROWS, ROWS**2),
}
COMPARISONS: dict[str, Array] = {
    "equal": TIES == TURNED,
    "not_equal": TIES != TURNED,
    "less": TIES < TURNED,
    "less_equal": TIES <= TURNED,
    "greater": TIES > TURNED,
    "greater_equal": TIES >= TURNED,
}


def chosen(condition: Array, *inputs: Array) -> Inputs[Array]:
    return Inputs(inputs, {"condition": condition})


CASES: list[Case] = [
    *(("math", {"function": name}, [given], {}, wanted) for name, (given, wanted) in FUNCTIONS.items()),
    *(
        ("math", {"function": name}, [COUNTS], {}, getattr(np, name)(COUNTS))
        for name in ("abs", "negative", "sign", "square")
    ),
    ("clip", {"minimum": -0.5, "maximum": 0.5}, [ROWS], {}, np.clip(ROWS, -0.5, 0.5)),
    ("clip", {"minimum": 0.25}, [CUBES], {}, np.maximum(CUBES, 0.25)),
    ("clip", {"maximum": 0.25}, [ROWS.astype(np.float64)], {}, np.minimum(ROWS.astype(np.float64), 0.25)),
    ("argmax", {}, [TIES], {}, np.array([1, 0])),
    ("argmax", {"axis": 1}, [CUBES], {}, CUBES.argmax(axis=1)),
    ("argmax", {"axis": 2}, [np.stack([COUNTS, -COUNTS])], {}, np.stack([COUNTS, -COUNTS]).argmax(axis=2)),
    ("cumsum", {}, [CUBES], {}, CUBES.cumsum(axis=1)),
    ("cumsum", {"axis": -1, "reverse": True}, [CUBES], {}, CUBES[..., ::-1].cumsum(axis=2)[..., ::-1]),
    ("cumsum", {"exclusive": True}, [COUNTS], {}, COUNTS.cumsum(axis=1, dtype=np.int32) - COUNTS),
    ("divide", {}, [ROWS, POSITIVE], {}, ROWS / POSITIVE),
    ("divide", {}, [CUBES, CUBES[:, :1] + 9], {}, CUBES / (CUBES[:, :1] + 9)),
    *(("compare", {"function": name}, [TIES, TURNED], {}, wanted) for name, wanted in COMPARISONS.items()),
    ("compare", {"function": "greater", "value": 2}, [TIES], {}, TIES > 2),
    ("compare", {"function": "equal", "value": 5}, [COUNTS], {}, COUNTS == 5),
    ("where", {"condition": "c"}, chosen(CONDITION, ROWS, OTHER), {}, np.where(CONDITION, ROWS, OTHER)),
    ("where", {"condition": "c"}, chosen(CONDITION[:, :1], ROWS, OTHER), {}, np.where(CONDITION[:, :1], ROWS, OTHER)),
    ("where", {"condition": "c"}, chosen(COUNTS > 0, COUNTS, -COUNTS), {}, np.where(COUNTS > 0, COUNTS, -COUNTS)),
    ("stop_gradient", {}, [ROWS], {}, ROWS),
    ("stop_gradient", {}, [COUNTS], {}, COUNTS),
    ("scale_gradient", {"scale": -1.0}, [ROWS], {}, ROWS),
]

BOOL = TensorSpec((4,), "bool")

SPECS: list[Spec] = [
    ("math", {"function": "exp"}, specs(TensorSpec((None, 4), "float16")), {}, TensorSpec((None, 4), "float16")),
    ("clip", {"minimum": 0}, specs((4,)), {}, TensorSpec((4,))),
    ("argmax", {}, specs((None, 4)), {}, TensorSpec((None,), "int64")),
    ("argmax", {"axis": 1}, specs((None, 4)), {}, TensorSpec((4,), "int64")),
    ("cumsum", {}, specs((None, 4)), {}, TensorSpec((None, 4))),
    ("divide", {}, specs((5, 1), (5, 4)), {}, TensorSpec((5, 4))),
    ("compare", {"function": "less"}, specs((5, 1), (5, 4)), {}, TensorSpec((5, 4), "bool")),
    ("where", {"condition": "c"}, specs((4,), (4,), condition=BOOL), {}, TensorSpec((4,))),
    ("stop_gradient", {}, specs(integers(4)), {}, integers(4)),
    ("scale_gradient", {"scale": 0.5}, specs((4,)), {}, TensorSpec((4,))),
]

NO_FLOATS = "needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'"

REFUSED: list[Refused] = [
    ("math", {"function": "exp"}, specs(integers(4)), f"math with function 'exp' {NO_FLOATS}"),
    (
        "math",
        {"function": "abs"},
        specs(BOOL),
        "math with function 'abs' needs an input of floats, got [batch, 4] bool; convert it with kind 'cast'",
    ),
    ("clip", {"minimum": 0}, specs(integers(4)), f"clip {NO_FLOATS}"),
    ("argmax", {}, specs(BOOL), "argmax needs numbers, got [batch, 4] bool; convert them with kind 'cast'"),
    (
        "argmax",
        {"axis": 0},
        specs((4,)),
        "argmax along axis 0: a tensor of rank 2 has axes 1 to 1 besides 0, the batch",
    ),
    ("cumsum", {}, specs(()), "cumsum along axis 1: a tensor of rank 1 has no axis besides 0, the batch"),
    ("cumsum", {}, specs(BOOL), "cumsum needs numbers, got [batch, 4] bool; convert them with kind 'cast'"),
    ("divide", {}, specs(integers(4), integers(4)), f"divide {NO_FLOATS}"),
    (
        "divide",
        {},
        specs((4,), (3,)),
        "divide needs inputs of one shape, or of size 1 where they differ, "
        "got [batch, 4] float32 and [batch, 3] float32",
    ),
    (
        "compare",
        {"function": "less"},
        specs((4,)),
        "compare needs either two inputs or one input and 'value', got [batch, 4] float32",
    ),
    (
        "compare",
        {"function": "less", "value": 1},
        specs((4,), (4,)),
        "compare needs either two inputs or one input and 'value', got [batch, 4] float32 and [batch, 4] float32",
    ),
    (
        "compare",
        {"function": "less", "value": 0.5},
        specs(integers(4)),
        "compare with 'value': int32 cannot hold 0.5; convert the input with kind 'cast'",
    ),
    (
        "compare",
        {"function": "equal", "value": 1},
        specs(BOOL),
        "compare needs numbers, got [batch, 4] bool; convert them with kind 'cast'",
    ),
    (
        "where",
        {"condition": "c"},
        specs((4,), (4,), condition=TensorSpec((4,))),
        "where needs a condition of bool, got [batch, 4] float32; make one with kind 'compare' or 'cast'",
    ),
    (
        "where",
        {"condition": "c"},
        specs((4,), (4,), condition=TensorSpec((3,), "bool")),
        "where needs inputs of one shape, or of size 1 where they differ, "
        "got [batch, 4] float32 and [batch, 4] float32 and [batch, 3] bool",
    ),
    ("scale_gradient", {"scale": 2}, specs(integers(4)), f"scale_gradient {NO_FLOATS}"),
]
