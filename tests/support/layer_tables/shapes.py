"""Shapes, parts, sizes, and several inputs joined."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from expkit.tensor_spec import TensorSpec
from support.layer_tables import Array, Case, Refused, Spec, integers, some, specs

IMAGES, ROWS, CUBES = some(2, 5, 6, 3), some(4, 3), some(2, 4, 3)
NUMBERS = np.array([[1, -2, 3], [0, 5, 300]], np.int32)
TRUTHS = np.array([[True, False], [True, True]])
PLACES = np.array([[3, 0], [1, 1]], np.int32)


def linear(x: Array, places: Array, axis: int) -> Array:
    """Return values at fractional places along an axis, the border repeated."""
    places = np.clip(places, 0, x.shape[axis] - 1)
    below = np.floor(places).astype(int)
    share = (places - below).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    above = np.minimum(below + 1, x.shape[axis] - 1)
    return np.take(x, below, axis) * (1 - share) + np.take(x, above, axis) * share


CORNERS = (np.arange(9) * 4 / 8, np.arange(4) * 5 / 3)
LEFT = (np.arange(9) * 5 / 9, np.arange(4) * 6 / 4)
CENTERS = ((np.arange(9) + 0.5) * 5 / 9 - 0.5, (np.arange(4) + 0.5) * 6 / 4 - 0.5)


def both(function: object, places: tuple[Array, Array]) -> Array:
    return np.asarray(function(function(IMAGES, places[0], 1), places[1], 2))


def at(rows: Array, columns: Array) -> Array:
    return IMAGES[:, rows.astype(int)][:, :, columns.astype(int)]


def unit(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


CASES: list[Case] = [
    ("reshape", {"shape": (3, -1)}, [CUBES], {}, CUBES.reshape(2, 3, 4)),
    ("reshape", {"shape": ()}, [ROWS[:, :1]], {}, ROWS[:, 0]),
    ("flatten", {}, [IMAGES], {}, IMAGES.reshape(2, -1)),
    ("transpose", {"perm": (3, 1, 2)}, [IMAGES], {}, IMAGES.transpose(0, 3, 1, 2)),
    ("cast", {"dtype": "uint8"}, [NUMBERS], {}, NUMBERS.astype(np.uint8)),
    ("cast", {"dtype": "bool"}, [NUMBERS], {}, NUMBERS != 0),
    ("cast", {"dtype": "float64"}, [TRUTHS], {}, TRUTHS.astype(np.float64)),
    ("slice", {"start": 1, "stop": -1}, [CUBES], {}, CUBES[:, 1:-1]),
    ("slice", {"axis": -1, "start": -2, "step": 2}, [IMAGES], {}, IMAGES[..., -2::2]),
    ("crop", {"cropping": ((1, 2), (0, 1))}, [IMAGES], {}, IMAGES[:, 1:-2, :-1]),
    ("crop", {"cropping": ((0, 0), (3, 0))}, [IMAGES], {}, IMAGES[:, :, 3:]),
    ("split", {"parts": 3}, [CUBES], {}, {str(place): CUBES[..., place : place + 1] for place in range(3)}),
    ("split", {"parts": (1, 3), "axis": 1}, [CUBES], {}, {"0": CUBES[:, :1], "1": CUBES[:, 1:]}),
    ("gather", {"indices": 0}, [CUBES], {}, CUBES[:, 0]),
    ("gather", {"indices": -1, "axis": 2}, [CUBES], {}, CUBES[:, :, -1]),
    ("gather", {"indices": (2, -3, 2), "axis": -1}, [CUBES], {}, CUBES[..., [2, 0, 2]]),
    ("gather", {}, [CUBES, PLACES], {}, np.stack([CUBES[0, [3, 0]], CUBES[1, [1, 1]]])),
    ("gather", {}, [CUBES, PLACES[:, 0]], {}, np.stack([CUBES[0, 3], CUBES[1, 1]])),
    (
        "pad",
        {"paddings": ((1, 2),), "value": 7.0},
        [CUBES],
        {},
        np.pad(CUBES, ((0, 0), (1, 2), (0, 0)), constant_values=7),
    ),
    ("pad", {"paddings": ((0, 1),), "value": 2.0}, [NUMBERS], {}, np.pad(NUMBERS, ((0, 0), (0, 1)), constant_values=2)),
    (
        "pad",
        {"paddings": ((2, 1), (1, 0)), "mode": "reflect"},
        [IMAGES],
        {},
        np.pad(IMAGES, ((0, 0), (2, 1), (1, 0), (0, 0)), "reflect"),
    ),
    (
        "pad",
        {"paddings": ((4, 1),), "mode": "symmetric"},
        [CUBES],
        {},
        np.pad(CUBES, ((0, 0), (4, 1), (0, 0)), "symmetric"),
    ),
    ("resize", {"size": (9, 4)}, [IMAGES], {}, both(linear, LEFT)),
    ("resize", {"size": (9, 4), "align_corners": True}, [IMAGES], {}, both(linear, CORNERS)),
    ("resize", {"size": (9, 4), "half_pixel_centers": True}, [IMAGES], {}, both(linear, CENTERS)),
    ("resize", {"size": 4, "method": "nearest"}, [IMAGES], {}, at(np.arange(4) * 5 / 4, LEFT[1])),
    ("resize", {"scale": (2, 1), "method": "nearest"}, [IMAGES], {}, np.repeat(IMAGES, 2, axis=1)),
    (
        "resize",
        {"size": (9, 4), "method": "nearest", "align_corners": True},
        [IMAGES],
        {},
        at(np.floor(CORNERS[0] + 0.5), np.floor(CORNERS[1] + 0.5)),
    ),
    (
        "resize",
        {"size": (9, 4), "method": "nearest", "half_pixel_centers": True},
        [IMAGES],
        {},
        at(CENTERS[0] + 0.5, CENTERS[1] + 0.5),
    ),
    ("reduce", {"function": "mean"}, [IMAGES], {}, IMAGES.mean(axis=(1, 2, 3))),
    ("reduce", {"function": "sum", "axis": 1}, [CUBES], {}, CUBES.sum(axis=1)),
    (
        "reduce",
        {"function": "max", "axis": (-1, 1), "keepdims": True},
        [IMAGES],
        {},
        IMAGES.max(axis=(1, 3), keepdims=True),
    ),
    ("reduce", {"function": "min", "axis": -1}, [NUMBERS], {}, NUMBERS.min(axis=1)),
    ("reduce", {"function": "prod", "axis": -1}, [CUBES], {}, CUBES.prod(axis=-1)),
    ("reduce", {"function": "logsumexp", "axis": 1}, [ROWS], {}, np.log(np.exp(ROWS).sum(axis=1))),
    ("reduce", {"function": "any"}, [TRUTHS], {}, TRUTHS.any(axis=1)),
    ("reduce", {"function": "all", "keepdims": True}, [TRUTHS], {}, TRUTHS.all(axis=1, keepdims=True)),
    ("concat", {}, [CUBES, CUBES + 1], {}, np.concatenate([CUBES, CUBES + 1], axis=-1)),
    ("concat", {"axis": 1}, [CUBES, CUBES[:, :1]], {}, np.concatenate([CUBES, CUBES[:, :1]], axis=1)),
    ("stack", {}, [ROWS, 2 * ROWS, ROWS], {}, np.stack([ROWS, 2 * ROWS, ROWS], axis=1)),
    ("stack", {"axis": -1}, [CUBES, -CUBES], {}, np.stack([CUBES, -CUBES], axis=-1)),
    ("add", {}, [ROWS, 2 * ROWS, ROWS * ROWS], {}, 3 * ROWS + ROWS * ROWS),
    ("add", {}, [CUBES, CUBES[:, :, :1], CUBES[:, :1]], {}, CUBES + CUBES[:, :, :1] + CUBES[:, :1]),
    ("subtract", {}, [ROWS, 3 * ROWS], {}, -2 * ROWS),
    ("subtract", {}, [CUBES[:, :1], CUBES], {}, CUBES[:, :1] - CUBES),
    ("multiply", {}, [ROWS, 2 * ROWS, ROWS], {}, 2 * ROWS**3),
    ("average", {}, [ROWS, 2 * ROWS, 6 * ROWS], {}, 3 * ROWS),
    ("maximum", {}, [ROWS, -ROWS], {}, np.abs(ROWS)),
    ("minimum", {}, [NUMBERS, NUMBERS * 2, NUMBERS + 1], {}, np.minimum(NUMBERS, NUMBERS * 2)),
    ("dot", {}, [CUBES, CUBES + 1], {}, (CUBES * (CUBES + 1)).sum(axis=-1)),
    (
        "dot",
        {"normalize": True, "keepdims": True},
        [ROWS, ROWS[::-1].copy()],
        {},
        (unit(ROWS) * unit(ROWS[::-1])).sum(axis=-1, keepdims=True),
    ),
    ("similarity", {"function": "dot"}, [ROWS], {}, ROWS @ ROWS.T),
    ("similarity", {"function": "cosine"}, [ROWS, ROWS[::-1] + 1], {}, unit(ROWS) @ unit(ROWS[::-1] + 1).T),
    ("similarity", {"function": "euclidean"}, [ROWS], {}, cdist(ROWS, ROWS)),
    ("similarity", {"function": "euclidean"}, [ROWS, ROWS[::-1] + 1], {}, cdist(ROWS, ROWS[::-1] + 1)),
    ("matmul", {"transpose_b": True}, [CUBES, 2 * CUBES[:, :2]], {}, CUBES @ (2 * CUBES[:, :2]).swapaxes(1, 2)),
    ("matmul", {"transpose_a": True}, [CUBES, CUBES + 1], {}, CUBES.swapaxes(1, 2) @ (CUBES + 1)),
    ("matmul", {}, [IMAGES, IMAGES[:, :, :3]], {}, IMAGES @ IMAGES[:, :, :3]),
]

SPECS: list[Spec] = [
    ("flatten", {}, specs((4, 2, 3)), {}, TensorSpec((24,))),
    ("flatten", {}, specs(integers()), {}, TensorSpec((1,), "int32")),
    ("reshape", {"shape": (2, -1)}, specs((4, 3)), {}, TensorSpec((2, 6))),
    ("reshape", {"shape": ()}, specs(TensorSpec((1,), "bool")), {}, TensorSpec((), "bool")),
    ("reshape", {"shape": (-1, 2, 3)}, specs((None, 6)), {}, TensorSpec((None, 2, 3))),
    ("transpose", {"perm": (2, 1)}, specs((None, 6)), {}, TensorSpec((6, None))),
    ("cast", {"dtype": "bfloat16"}, specs(integers(None)), {}, TensorSpec((None,), "bfloat16")),
    ("slice", {"stop": 1}, specs((None, 6)), {}, TensorSpec((None, 6))),
    ("slice", {"start": 1, "step": 2, "axis": 2}, specs((None, 6)), {}, TensorSpec((None, 3))),
    ("crop", {"cropping": ((1, 1), (1, 1))}, specs((None, 6, 2)), {}, TensorSpec((None, 4, 2))),
    ("split", {"parts": 2}, specs((None, 6)), {}, {"0": TensorSpec((None, 3)), "1": TensorSpec((None, 3))}),
    ("split", {"parts": (2, 3), "axis": 1}, specs((None,)), {}, {"0": TensorSpec((2,)), "1": TensorSpec((3,))}),
    ("gather", {"indices": -1}, specs((None, 6)), {}, TensorSpec((6,))),
    ("gather", {"indices": (1, 2)}, specs((None, 6)), {}, TensorSpec((2, 6))),
    ("gather", {}, specs((7, 6), integers(None)), {}, TensorSpec((None, 6))),
    ("pad", {"paddings": ((1, 1), (1, 1)), "mode": "reflect"}, specs((None, 6, 2)), {}, TensorSpec((None, 8, 2))),
    ("resize", {"scale": (2, 3)}, specs((None, 6, 2)), {}, TensorSpec((None, 18, 2))),
    (
        "resize",
        {"size": 4, "method": "nearest"},
        specs(TensorSpec((6, 6, 2), "float16")),
        {},
        TensorSpec((4, 4, 2), "float16"),
    ),
    ("reduce", {"function": "mean", "axis": 1}, specs((None, 6)), {}, TensorSpec((6,))),
    ("concat", {}, specs((2, 3), (2, 4)), {}, TensorSpec((2, 7))),
    ("concat", {"axis": 1}, specs((2, 3), (5, 3), (1, 3)), {}, TensorSpec((8, 3))),
    ("concat", {}, specs((2, None), (2, 4)), {}, TensorSpec((2, None))),
    ("concat", {}, specs(integers(4), integers(4)), {}, TensorSpec((8,), "int32")),
    ("stack", {"axis": 2}, specs((None, 3), (None, 3)), {}, TensorSpec((None, 2, 3))),
    ("add", {}, specs((2, 3), (2, 3)), {}, TensorSpec((2, 3))),
    ("add", {}, specs((None, 1), (1, 3)), {}, TensorSpec((None, 3))),
    ("subtract", {}, specs((), ()), {}, TensorSpec(())),
    ("multiply", {}, specs(integers(4), integers(4), integers(4)), {}, TensorSpec((4,), "int32")),
    ("average", {}, specs((1, 1), (1, 1)), {}, TensorSpec((1, 1))),
    ("maximum", {}, specs((4,), (1,)), {}, TensorSpec((4,))),
    ("minimum", {}, specs((4,), (1,)), {}, TensorSpec((4,))),
    ("dot", {}, specs((None, 3), (None, 3)), {}, TensorSpec((None,))),
    ("similarity", {"function": "dot"}, specs((3,)), {}, TensorSpec((None,))),
    ("similarity", {"function": "euclidean"}, specs((None,), (3,)), {}, TensorSpec((None,))),
    ("matmul", {"transpose_a": True}, specs((None, 3), (None, 4)), {}, TensorSpec((3, 4))),
    ("matmul", {}, specs((2, 5, None), (2, 4, 6)), {}, TensorSpec((2, 5, 6))),
]


def of_two(*shapes: tuple[int, ...]) -> str:
    return " and ".join(str(TensorSpec(shape)) for shape in shapes)


REFUSED: list[Refused] = [
    ("flatten", {}, specs((None, 2)), "flatten needs an input whose sizes are all known, got [batch, ?, 2] float32"),
    *(
        (
            "reshape",
            {"shape": shape},
            specs((12,)),
            f"reshape to {list(shape)} does not hold the 12 values of its input [batch, 12] float32",
        )
        for shape in ((5, -1), (-1, -1), (0, -1), (5,))
    ),
    (
        "reshape",
        {"shape": (5, 2)},
        specs((None, 2)),
        "reshape to [5, 2] needs one -1: not all sizes of [batch, ?, 2] float32 are known",
    ),
    *(
        (
            "transpose",
            {"perm": perm},
            specs((4, 2)),
            f"transpose by {list(perm)} needs every number from 1 to 2 once, for [batch, 4, 2] float32",
        )
        for perm in ((0, 1, 2), (1, 1), (2,))
    ),
    ("slice", {"axis": 0}, specs((4,)), "slice along axis 0: a tensor of rank 2 has axes 1 to 1 besides 0, the batch"),
    ("slice", {"start": 4}, specs((4,)), "slice from 4 to None is empty along axis 1 of [batch, 4] float32"),
    (
        "crop",
        {"cropping": ((1, 0), (1, 0))},
        specs((4,)),
        "crop of 2 dimensions, but the input [batch, 4] float32 has 1",
    ),
    (
        "crop",
        {"cropping": ((1, 3),)},
        specs((4, 5)),
        "crop by [1, 3] leaves nothing of size 4 in [batch, 4, 5] float32",
    ),
    (
        "split",
        {"parts": 3},
        specs((4,)),
        "split into 3 equal parts needs a size that is a multiple of it, got [batch, 4] float32",
    ),
    (
        "split",
        {"parts": (3, 2)},
        specs((4,)),
        "split into parts of [3, 2], which add up to 5, not 4, in [batch, 4] float32",
    ),
    ("gather", {}, specs((4,)), "gather needs either indices or a second input that holds them, got neither"),
    (
        "gather",
        {"indices": 1},
        specs((4,), integers()),
        "gather needs either indices or a second input that holds them, got both",
    ),
    ("gather", {}, specs((4,), (2,)), "gather needs int32 or int64 indices, got [batch, 2] float32"),
    (
        "gather",
        {"indices": (0, 4)},
        specs((4, 5)),
        "gather needs indices from -4 to 3 along axis 1 of [batch, 4, 5] float32, got [0, 4]",
    ),
    ("pad", {"paddings": ((1, 0), (1, 0))}, specs((4,)), "pad of 2 dimensions, but the input [batch, 4] float32 has 1"),
    (
        "pad",
        {"paddings": ((1, 4),), "mode": "reflect"},
        specs((4,)),
        "pad with mode 'reflect' adds at most 3 to size 4, not 4",
    ),
    (
        "resize",
        {"size": 3},
        specs((4,)),
        "resize needs [batch, height, width, channels] of floats up to 32 bits, got [batch, 4] float32",
    ),
    (
        "reduce",
        {"function": "mean"},
        specs(integers(4)),
        "reduce by mean needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'",
    ),
    (
        "reduce",
        {"function": "any"},
        specs(integers(4)),
        "reduce by any does not suit [batch, 4] int32; allowed for int32: mean, sum, max, min, prod or logsumexp",
    ),
    (
        "reduce",
        {"function": "sum"},
        specs(TensorSpec((4,), "bool")),
        "reduce by sum does not suit [batch, 4] bool; allowed for bool: any or all",
    ),
    (
        "reduce",
        {"function": "sum", "axis": 1},
        specs(()),
        "reduce along axis 1: a tensor of rank 1 has no axis besides 0, the batch",
    ),
    (
        "concat",
        {},
        specs((2, 3), (3, 3)),
        f"concat along axis 2 needs the other sizes equal, got {of_two((2, 3), (3, 3))}",
    ),
    ("concat", {}, specs((3,), (2, 3)), f"concat along axis 1 needs the other sizes equal, got {of_two((3,), (2, 3))}"),
    *(
        (
            "concat",
            {"axis": axis},
            specs((2,), (2,)),
            f"concat along axis {axis}: a tensor of rank 2 has axes 1 to 1 besides 0, the batch",
        )
        for axis in (0, 2, -3)
    ),
    (
        "concat",
        {},
        specs((4,), integers(4)),
        "concat needs inputs of one dtype, got [batch, 4] float32 and [batch, 4] int32",
    ),
    ("stack", {}, specs((4,), (5,)), f"stack needs inputs of one shape, got {of_two((4,), (5,))}"),
    (
        "stack",
        {"axis": 3},
        specs((4,), (4,)),
        "stack along axis 3: a tensor of rank 3 has axes 1 to 2 besides 0, the batch",
    ),
    *(
        (
            kind,
            {},
            specs((4,), shape),
            f"{kind} needs inputs of one shape, or of size 1 where they differ, got {of_two((4,), shape)}",
        )
        for kind in ("add", "subtract", "multiply", "average", "maximum", "minimum")
        for shape in ((3,), (4, 4))
    ),
    (
        "multiply",
        {},
        specs((4,), integers(4)),
        "multiply needs inputs of one dtype, got [batch, 4] float32 and [batch, 4] int32",
    ),
    (
        "add",
        {},
        specs(TensorSpec((4,), "bool"), TensorSpec((4,), "bool")),
        "add needs numbers, got [batch, 4] bool and [batch, 4] bool; convert them with kind 'cast'",
    ),
    (
        "average",
        {},
        specs(integers(4), integers(4)),
        "average needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'",
    ),
    (
        "dot",
        {},
        specs((4,), (5,)),
        f"dot needs two inputs of one shape with a last dimension, got {of_two((4,), (5,))}",
    ),
    (
        "similarity",
        {"function": "dot"},
        specs(integers(4)),
        "similarity needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'",
    ),
    (
        "similarity",
        {"function": "dot"},
        specs((4, 3)),
        "similarity needs inputs [batch, values] of one size, got [batch, 4, 3] float32",
    ),
    (
        "similarity",
        {"function": "cosine"},
        specs((4,), (5,)),
        f"similarity needs inputs [batch, values] of one size, got {of_two((4,), (5,))}",
    ),
    (
        "matmul",
        {},
        specs((4, 3), (4, 3)),
        "matmul needs as many columns in the first as rows in the second, got 3 and 4, of "
        f"{of_two((4, 3), (4, 3))} with transpose_a: false, transpose_b: false",
    ),
    (
        "matmul",
        {"transpose_a": True, "transpose_b": True},
        specs((4, 3), (3, 5)),
        "matmul needs as many columns in the first as rows in the second, got 4 and 5, of "
        f"{of_two((4, 3), (3, 5))} with transpose_a: true, transpose_b: true",
    ),
    (
        "matmul",
        {},
        specs((4,), (4,)),
        "matmul needs two inputs [batch, ..., rows, columns] that differ in rows and columns only, got "
        f"{of_two((4,), (4,))}",
    ),
]
