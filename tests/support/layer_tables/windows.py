"""Convolutions and poolings."""

from __future__ import annotations

import itertools

import numpy as np

from expkit.tensor_spec import TensorSpec
from support.layer_tables import Array, Case, Refused, Spec, integers, some, specs


def windows(
    x: Array,
    size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    fill: float,
    rates: tuple[int, ...] | None = None,
) -> Array:
    """Return [batch, *places, *size, channels]: what each place of a window sees."""
    pads, counts, dimensions = [], [], len(size)
    rates = rates or (1,) * dimensions
    for axis, (length, window, stride, rate) in enumerate(zip(x.shape[1:], size, strides, rates, strict=False)):
        reach = (window - 1) * rate + 1
        if padding == "same":
            counts.append(-(-length // stride))
            missing = max((counts[-1] - 1) * stride + reach - length, 0)
            pads.append((missing // 2, missing - missing // 2))
        else:
            pads.append((0, 0) if isinstance(padding, str) else padding[axis])
            counts.append((length + sum(pads[-1]) - reach) // stride + 1)
    seen = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    for axis in reversed(range(dimensions)):
        starts, steps = strides[axis] * np.arange(counts[axis]), rates[axis] * np.arange(size[axis])
        seen = np.take(seen, starts[:, None] + steps[None, :], axis=1 + axis)
    places, inside = range(1, 2 * dimensions, 2), range(2, 2 * dimensions + 1, 2)
    return np.transpose(seen, (0, *places, *inside, 2 * dimensions + 1))


def convolved(
    x: Array,
    kernel: Array,
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    rates: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Array:
    count = kernel.ndim - 1
    parts = zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    return np.concatenate(
        [
            np.tensordot(windows(part, kernel.shape[:-2], strides, padding, 0.0, rates), own, count)
            for part, own in parts
        ],
        axis=-1,
    )


def depthwise(
    x: Array,
    kernel: Array,
    stride: int,
    padding: str | tuple[tuple[int, int], ...],
    rates: tuple[int, int] = (1, 1),
) -> Array:
    seen = windows(x, kernel.shape[:2], (stride, stride), padding, 0.0, rates)
    result = np.einsum("brcijk,ijkm->brckm", seen, kernel)
    return result.reshape(*result.shape[:3], -1)


def transposed(x: Array, kernel: Array, strides: tuple[int, int], padding: str) -> Array:
    """Add the kernel, times every pixel, around the pixel's place."""
    (height, width), (rows, columns) = x.shape[1:3], kernel.shape[:2]
    beyond = [max(window - stride, 0) for window, stride in zip((rows, columns), strides, strict=True)]
    result = np.zeros((len(x), height * strides[0] + beyond[0], width * strides[1] + beyond[1], kernel.shape[2]))
    for y, z in itertools.product(range(height), range(width)):
        top, left = y * strides[0], z * strides[1]
        result[:, top : top + rows, left : left + columns] += np.einsum("bc,ijfc->bijf", x[:, y, z], kernel)
    if padding == "same":
        top, left = (size // 2 for size in beyond)
        result = result[:, top : top + height * strides[0], left : left + width * strides[1]]
    return result


def mean_of_window(x: Array, size: tuple[int, ...], strides: tuple[int, ...], padding: str) -> Array:
    inside = tuple(range(1 + len(size), 1 + 2 * len(size)))
    return np.asarray(np.nanmean(windows(x, size, strides, padding, np.nan), axis=inside))


def max_of_window(x: Array, size: tuple[int, ...], strides: tuple[int, ...], padding: str) -> Array:
    inside = tuple(range(1 + len(size), 1 + 2 * len(size)))
    return np.asarray(windows(x, size, strides, padding, -np.inf).max(axis=inside))


IMAGES, SERIES, VOLUMES = some(2, 5, 6, 3), some(2, 7, 4), some(2, 4, 5, 6, 4)
FILTER, BIAS = some(3, 2, 3, 4), some(4)
LINE, CUBE = some(3, 4, 2), some(2, 3, 2, 4, 2)
EACH, TWO_EACH, POINT = some(3, 2, 3, 1), some(3, 2, 3, 2), some(1, 1, 6, 4)
BACK = some(3, 2, 4, 3)
LARGE = some(5, 5, 3, 4)

CASES: list[Case] = [
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "activation": "tanh"},
        [IMAGES],
        {"kernel": FILTER, "bias": BIAS},
        np.tanh(convolved(IMAGES, FILTER, (1, 1), "same") + BIAS),
    ),
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "strides": (2, 3), "padding": "valid", "use_bias": False},
        [IMAGES],
        {"kernel": FILTER},
        convolved(IMAGES, FILTER, (2, 3), "valid"),
    ),
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "strides": 2, "use_bias": False},
        [IMAGES],
        {"kernel": FILTER},
        convolved(IMAGES, FILTER, (2, 2), "same"),
    ),
    (
        "conv2d",
        {"filters": 4, "kernel_size": 5, "strides": 2, "padding": ((2, 1), (0, 3)), "use_bias": False},
        [IMAGES],
        {"kernel": LARGE},
        convolved(IMAGES, LARGE, (2, 2), ((2, 1), (0, 3))),
    ),
    (
        "conv2d",
        {"filters": 4, "kernel_size": (3, 2), "dilation_rate": (1, 3), "use_bias": False},
        [IMAGES],
        {"kernel": FILTER},
        convolved(IMAGES, FILTER, (1, 1), "same", (1, 3)),
    ),
    (
        "conv2d",
        {
            "filters": 4,
            "kernel_size": (3, 2),
            "dilation_rate": 2,
            "strides": 2,
            "padding": ((1, 1), (1, 1)),
            "use_bias": False,
        },
        [IMAGES],
        {"kernel": FILTER},
        convolved(IMAGES, FILTER, (2, 2), ((1, 1), (1, 1)), (2, 2)),
    ),
    (
        "conv2d",
        {"filters": 6, "kernel_size": (3, 2), "groups": 3, "activation": "crelu"},
        [IMAGES],
        {"kernel": FILTER[:, :, :1, [0, 1, 2, 3, 0, 1]], "bias": BIAS[[0, 1, 2, 3, 3, 2]]},
        np.maximum(
            np.concatenate(
                [
                    sign
                    * (
                        convolved(IMAGES, FILTER[:, :, :1, [0, 1, 2, 3, 0, 1]], (1, 1), "same", groups=3)
                        + BIAS[[0, 1, 2, 3, 3, 2]]
                    )
                    for sign in (1, -1)
                ],
                axis=-1,
            ),
            0,
        ),
    ),
    (
        "conv1d",
        {"filters": 2, "kernel_size": 3, "strides": 2, "activation": "relu"},
        [SERIES],
        {"kernel": LINE, "bias": BIAS[:2]},
        np.maximum(convolved(SERIES, LINE, (2,), "same") + BIAS[:2], 0),
    ),
    (
        "conv1d",
        {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "padding": ((4, 0),), "use_bias": False},
        [SERIES],
        {"kernel": LINE},
        convolved(SERIES, LINE, (1,), ((4, 0),), (2,)),
    ),
    (
        "conv1d",
        {"filters": 2, "kernel_size": 3, "groups": 2, "padding": "valid", "use_bias": False},
        [SERIES],
        {"kernel": LINE[:, :2]},
        convolved(SERIES, LINE[:, :2], (1,), "valid", groups=2),
    ),
    (
        "conv3d",
        {"filters": 2, "kernel_size": (2, 3, 2), "strides": (1, 2, 1)},
        [VOLUMES],
        {"kernel": CUBE, "bias": BIAS[:2]},
        convolved(VOLUMES, CUBE, (1, 2, 1), "same") + BIAS[:2],
    ),
    (
        "conv3d",
        {"filters": 2, "kernel_size": (2, 3, 2), "padding": ((0, 1), (2, 0), (1, 1)), "use_bias": False},
        [VOLUMES],
        {"kernel": CUBE},
        convolved(VOLUMES, CUBE, (1, 1, 1), ((0, 1), (2, 0), (1, 1))),
    ),
    (
        "conv3d",
        {"filters": 2, "kernel_size": (2, 3, 2), "dilation_rate": 2, "groups": 2, "use_bias": False},
        [VOLUMES],
        {"kernel": CUBE[:, :, :, :2]},
        convolved(VOLUMES, CUBE[:, :, :, :2], (1, 1, 1), "same", (2, 2, 2), groups=2),
    ),
    (
        "depthwise_conv2d",
        {"kernel_size": (3, 2), "strides": 2, "activation": "relu6"},
        [IMAGES],
        {"depthwise_kernel": EACH, "bias": BIAS[:3]},
        np.clip(depthwise(IMAGES, EACH, 2, "same") + BIAS[:3], 0, 6),
    ),
    (
        "depthwise_conv2d",
        {"kernel_size": (3, 2), "depth_multiplier": 2, "padding": "valid", "dilation_rate": (2, 1), "use_bias": False},
        [IMAGES],
        {"depthwise_kernel": TWO_EACH},
        depthwise(IMAGES, TWO_EACH, 1, "valid", (2, 1)),
    ),
    (
        "depthwise_conv2d",
        {"kernel_size": (3, 2), "strides": 2, "padding": ((1, 1), (0, 1)), "use_bias": False},
        [IMAGES],
        {"depthwise_kernel": EACH},
        depthwise(IMAGES, EACH, 2, ((1, 1), (0, 1))),
    ),
    (
        "separable_conv2d",
        {"filters": 4, "kernel_size": (3, 2), "depth_multiplier": 2, "strides": 2, "activation": "tanh"},
        [IMAGES],
        {"depthwise_kernel": TWO_EACH, "pointwise_kernel": POINT, "bias": BIAS},
        np.tanh(depthwise(IMAGES, TWO_EACH, 2, "same") @ POINT[0, 0] + BIAS),
    ),
    (
        "separable_conv2d",
        {"filters": 4, "kernel_size": (3, 2), "depth_multiplier": 2, "padding": "valid", "use_bias": False},
        [IMAGES],
        {"depthwise_kernel": TWO_EACH, "pointwise_kernel": POINT},
        depthwise(IMAGES, TWO_EACH, 1, "valid") @ POINT[0, 0],
    ),
    (
        "conv2d_transpose",
        {"filters": 4, "kernel_size": (3, 2), "strides": 2, "activation": "relu"},
        [IMAGES],
        {"kernel": BACK, "bias": BIAS},
        np.maximum(transposed(IMAGES, BACK, (2, 2), "same") + BIAS, 0),
    ),
    (
        "conv2d_transpose",
        {"filters": 4, "kernel_size": (3, 2), "strides": (2, 3), "padding": "valid", "use_bias": False},
        [IMAGES],
        {"kernel": BACK},
        transposed(IMAGES, BACK, (2, 3), "valid"),
    ),
    (
        "conv2d_transpose",
        {"filters": 4, "kernel_size": (3, 2), "use_bias": False},
        [IMAGES],
        {"kernel": BACK},
        transposed(IMAGES, BACK, (1, 1), "same"),
    ),
    ("max_pool", {}, [IMAGES], {}, max_of_window(IMAGES, (2, 2), (2, 2), "valid")),
    (
        "max_pool",
        {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"},
        [IMAGES],
        {},
        max_of_window(IMAGES, (3, 2), (2, 1), "same"),
    ),
    ("max_pool", {"pool_size": 3, "strides": 2}, [SERIES], {}, max_of_window(SERIES, (3,), (2,), "valid")),
    ("max_pool", {"padding": "same"}, [VOLUMES], {}, max_of_window(VOLUMES, (2, 2, 2), (2, 2, 2), "same")),
    ("average_pool", {}, [IMAGES], {}, mean_of_window(IMAGES, (2, 2), (2, 2), "valid")),
    (
        "average_pool",
        {"pool_size": 3, "strides": 2, "padding": "same"},
        [IMAGES],
        {},
        mean_of_window(IMAGES, (3, 3), (2, 2), "same"),
    ),
    ("average_pool", {"padding": "same"}, [SERIES], {}, mean_of_window(SERIES, (2,), (2,), "same")),
    ("average_pool", {"pool_size": (1, 2, 3)}, [VOLUMES], {}, mean_of_window(VOLUMES, (1, 2, 3), (1, 2, 3), "valid")),
    ("global_average_pool", {}, [IMAGES], {}, IMAGES.mean(axis=(1, 2))),
    ("global_average_pool", {"keepdims": True}, [SERIES], {}, SERIES.mean(axis=1, keepdims=True)),
    ("global_max_pool", {}, [VOLUMES], {}, VOLUMES.max(axis=(1, 2, 3))),
    ("global_max_pool", {"keepdims": True}, [IMAGES], {}, IMAGES.max(axis=(1, 2), keepdims=True)),
]

SPECS: list[Spec] = [
    (
        "conv2d",
        {"filters": 5, "kernel_size": 3},
        specs((8, 9, 2)),
        {"kernel": (3, 3, 2, 5), "bias": (5,)},
        TensorSpec((8, 9, 5)),
    ),
    (
        "conv2d",
        {"filters": 1, "kernel_size": 1, "strides": 2},
        specs((None, 5, 1)),
        {"kernel": (1, 1, 1, 1), "bias": (1,)},
        TensorSpec((None, 3, 1)),
    ),
    (
        "conv2d",
        {"filters": 2, "kernel_size": 3, "padding": ((1, 1), (0, 0)), "groups": 2, "use_bias": False},
        specs(TensorSpec((None, 5, 4), "bfloat16")),
        {"kernel": (3, 3, 2, 2)},
        TensorSpec((None, 3, 2), "bfloat16"),
    ),
    (
        "conv1d",
        {"filters": 2, "kernel_size": 3, "use_bias": False},
        specs((None, 4)),
        {"kernel": (3, 4, 2)},
        TensorSpec((None, 2)),
    ),
    (
        "conv3d",
        {"filters": 2, "kernel_size": 3, "use_bias": False, "padding": "valid"},
        specs((5, None, 5, 1)),
        {"kernel": (3, 3, 3, 1, 2)},
        TensorSpec((3, None, 3, 2)),
    ),
    (
        "depthwise_conv2d",
        {"kernel_size": 3, "depth_multiplier": 2},
        specs((None, 4, 3)),
        {"depthwise_kernel": (3, 3, 3, 2), "bias": (6,)},
        TensorSpec((None, 4, 6)),
    ),
    (
        "separable_conv2d",
        {"filters": 7, "kernel_size": 3, "strides": 2},
        specs((None, 4, 3)),
        {"depthwise_kernel": (3, 3, 3, 1), "pointwise_kernel": (1, 1, 3, 7), "bias": (7,)},
        TensorSpec((None, 2, 7)),
    ),
    (
        "conv2d_transpose",
        {"filters": 7, "kernel_size": 4, "strides": 2, "padding": "valid"},
        specs((None, 4, 3)),
        {"kernel": (4, 4, 7, 3), "bias": (7,)},
        TensorSpec((None, 10, 7)),
    ),
    ("max_pool", {}, specs((8, 9, 2)), {}, TensorSpec((4, 4, 2))),
    ("max_pool", {"padding": "same"}, specs((None, 9, 2)), {}, TensorSpec((None, 5, 2))),
    ("average_pool", {"pool_size": (2, 3), "strides": 1}, specs((8, 9, 2)), {}, TensorSpec((7, 7, 2))),
    ("global_average_pool", {}, specs((None, None, 2)), {}, TensorSpec((2,))),
    ("global_max_pool", {"keepdims": True}, specs((None, 2)), {}, TensorSpec((1, 2))),
]

REFUSED: list[Refused] = [
    (
        "conv2d",
        {"filters": 1, "kernel_size": 1},
        specs((4,)),
        "conv2d needs [batch, height, width, channels] of floats up to 32 bits, got [batch, 4] float32",
    ),
    (
        "conv1d",
        {"filters": 1, "kernel_size": 1},
        specs((4, 4, 1)),
        "conv1d needs [batch, steps, channels] of floats up to 32 bits, got [batch, 4, 4, 1] float32",
    ),
    (
        "conv3d",
        {"filters": 1, "kernel_size": 1},
        specs((4, 4, 1)),
        "conv3d needs [batch, depth, height, width, channels] of floats up to 32 bits, got [batch, 4, 4, 1] float32",
    ),
    (
        "depthwise_conv2d",
        {"kernel_size": 1},
        specs(integers(4, 4, 1)),
        "depthwise_conv2d needs [batch, height, width, channels] of floats up to 32 bits, got [batch, 4, 4, 1] int32",
    ),
    (
        "max_pool",
        {},
        specs(TensorSpec((2, 2, 1), "uint8")),
        "max_pool needs [batch, one to three sizes, channels] of floats up to 32 bits, got [batch, 2, 2, 1] uint8",
    ),
    (
        "global_average_pool",
        {},
        specs((4,)),
        "global_average_pool needs [batch, one to three sizes, channels] of floats up to 32 bits, "
        "got [batch, 4] float32",
    ),
    (
        "max_pool",
        {},
        specs(TensorSpec((4, 4, 4, 1), "float16")),
        "max_pool of volumes needs float32, got [batch, 4, 4, 4, 1] float16",
    ),
    (
        "conv2d_transpose",
        {"filters": 1, "kernel_size": 1},
        specs(TensorSpec((4, 4, 1), "float64")),
        "conv2d_transpose needs [batch, height, width, channels] of floats up to 32 bits, got [batch, 4, 4, 1] float64",
    ),
    (
        "max_pool",
        {"pool_size": (2, 2)},
        specs((4, 1)),
        "max_pool needs one pool_size for all dimensions or 1 for [batch, 4, 1] float32, got 2",
    ),
    (
        "average_pool",
        {"strides": (2,)},
        specs((4, 4, 1)),
        "average_pool needs one strides for all dimensions or 2 for [batch, 4, 4, 1] float32, got 1",
    ),
    (
        "average_pool",
        {},
        specs((2, 2, None)),
        "average_pool needs a known number of channels, got [batch, 2, 2, ?] float32",
    ),
    (
        "conv2d",
        {"filters": 1, "kernel_size": 5, "padding": "valid"},
        specs((9, 4, 1)),
        "conv2d with padding 'valid' needs a window no larger than its input: 5 > 4",
    ),
    (
        "conv2d",
        {"filters": 1, "kernel_size": 3, "dilation_rate": 2, "padding": "valid"},
        specs((9, 4, 1)),
        "conv2d with padding 'valid' needs a window no larger than its input: (3 - 1) * 2 + 1 > 4",
    ),
    (
        "separable_conv2d",
        {"filters": 1, "kernel_size": 7, "padding": ((1, 1), (0, 1))},
        specs((5, 4, 1)),
        "separable_conv2d with padding [0, 1] needs a window no larger than its input: 7 > 0 + 4 + 1",
    ),
    (
        "conv2d",
        {"filters": 6, "kernel_size": 3, "groups": 3},
        specs((9, 4, 4)),
        "conv2d with groups 3 needs channels and filters that are multiples of it, got 4 channels and 6 filters",
    ),
    (
        "conv1d",
        {"filters": 3, "kernel_size": 3, "groups": 2},
        specs((9, 4)),
        "conv1d with groups 2 needs channels and filters that are multiples of it, got 4 channels and 3 filters",
    ),
    (
        "conv2d_transpose",
        {"filters": 1, "kernel_size": 3},
        specs((9, 4, None)),
        "conv2d_transpose needs a known number of channels, got [batch, 9, 4, ?] float32",
    ),
]
