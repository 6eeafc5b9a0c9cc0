"""Normalizations."""

from __future__ import annotations

import numpy as np

from expkit.tensor_spec import TensorSpec
from support.layer_tables import Array, Case, Refused, Spec, integers, some, specs

IMAGES, ROWS, SERIES = some(2, 5, 6, 3), some(4, 3), some(2, 7, 6)
STATISTICS = {"gamma": some(3), "beta": some(3), "moving_mean": some(3), "moving_variance": np.abs(some(3)) + 0.5}
SIX = {"gamma": some(6), "beta": some(6)}


def normalized(x: Array, gamma: bool = True, beta: bool = True, epsilon: float = 0.001) -> Array:
    result = (x - STATISTICS["moving_mean"]) / np.sqrt(STATISTICS["moving_variance"] + epsilon)
    return np.asarray(result * (STATISTICS["gamma"] if gamma else 1) + (STATISTICS["beta"] if beta else 0))


def without(*names: str) -> dict[str, Array]:
    return {name: value for name, value in STATISTICS.items() if name not in names}


def by_example(x: Array, axes: tuple[int, ...], epsilon: float = 0.001) -> Array:
    return np.asarray((x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon))


def by_group(x: Array, groups: int, epsilon: float = 0.001) -> Array:
    parts = np.split(x, groups, axis=-1)
    return np.concatenate([by_example(part, tuple(range(1, x.ndim)), epsilon) for part in parts], axis=-1)


def by_near_channels(x: Array, radius: int, bias: float, alpha: float, beta: float) -> Array:
    sums = [(x[..., max(0, c - radius) : c + radius + 1] ** 2).sum(axis=-1) for c in range(x.shape[-1])]
    return np.asarray(x / (bias + alpha * np.stack(sums, axis=-1)) ** beta)


def pick(values: dict[str, Array], *names: str) -> dict[str, Array]:
    return {name: values[name] for name in names}


CASES: list[Case] = [
    ("batch_norm", {}, [IMAGES], STATISTICS, normalized(IMAGES)),
    ("batch_norm", {"epsilon": 0.1}, [ROWS], STATISTICS, normalized(ROWS, epsilon=0.1)),
    ("batch_norm", {"scale": False}, [ROWS], without("gamma"), normalized(ROWS, gamma=False)),
    ("batch_norm", {"center": False}, [ROWS], without("beta"), normalized(ROWS, beta=False)),
    ("layer_norm", {}, [SERIES], SIX, by_example(SERIES, (2,)) * SIX["gamma"] + SIX["beta"]),
    ("layer_norm", {"epsilon": 1e-12, "center": False, "scale": False}, [ROWS], {}, by_example(ROWS, (1,), 1e-12)),
    (
        "layer_norm",
        {"begin_norm_axis": 1, "center": False},
        [SERIES],
        pick(SIX, "gamma"),
        by_example(SERIES, (1, 2)) * SIX["gamma"],
    ),
    ("group_norm", {"groups": 2}, [SERIES], SIX, by_group(SERIES, 2) * SIX["gamma"] + SIX["beta"]),
    (
        "group_norm",
        {"groups": 3, "epsilon": 1e-6, "scale": False},
        [IMAGES],
        pick(STATISTICS, "beta"),
        by_group(IMAGES, 3, 1e-6) + STATISTICS["beta"],
    ),
    ("group_norm", {"groups": 3, "center": False, "scale": False}, [SERIES[:, 0]], {}, by_group(SERIES[:, 0], 3)),
    (
        "rms_norm",
        {"epsilon": 0.01},
        [SERIES],
        pick(SIX, "gamma"),
        SERIES / np.sqrt((SERIES**2).mean(axis=-1, keepdims=True) + 0.01) * SIX["gamma"],
    ),
    (
        "rms_norm",
        {"scale": False},
        [ROWS],
        {},
        ROWS / np.sqrt((ROWS**2).mean(axis=-1, keepdims=True) + 1e-6),
    ),
    ("local_response_norm", {}, [IMAGES], {}, by_near_channels(IMAGES, 5, 1.0, 1.0, 0.5)),
    (
        "local_response_norm",
        {"depth_radius": 1, "bias": 2.0, "alpha": 0.1, "beta": 0.75},
        [SERIES[:, :, None]],
        {},
        by_near_channels(SERIES[:, :, None], 1, 2.0, 0.1, 0.75),
    ),
]

SPECS: list[Spec] = [
    (
        "batch_norm",
        {"center": False, "scale": False},
        specs((3,)),
        {"moving_mean": (3,), "moving_variance": (3,)},
        TensorSpec((3,)),
    ),
    ("layer_norm", {"begin_norm_axis": -2}, specs((None, 4)), {"gamma": (4,), "beta": (4,)}, TensorSpec((None, 4))),
    (
        "group_norm",
        {},
        specs(TensorSpec((None, None, 64), "bfloat16")),
        {"gamma": (64,), "beta": (64,)},
        TensorSpec((None, None, 64), "bfloat16"),
    ),
    ("rms_norm", {}, specs((None, 4)), {"gamma": (4,)}, TensorSpec((None, 4))),
    ("local_response_norm", {}, specs((None, 4, 3)), {}, TensorSpec((None, 4, 3))),
]

REFUSED: list[Refused] = [
    (
        "batch_norm",
        {},
        specs((4, None)),
        "batch_norm needs an input whose last dimension is known, got [batch, 4, ?] float32",
    ),
    (
        "layer_norm",
        {},
        specs(integers(4)),
        "layer_norm needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'",
    ),
    (
        "layer_norm",
        {"begin_norm_axis": 3},
        specs((5, 4)),
        "layer_norm along axis 3: a tensor of rank 3 has axes 1 to 2 besides 0, the batch",
    ),
    ("group_norm", {"groups": 4}, specs((6,)), "group_norm with groups 4 needs a multiple of it as channels, got 6"),
    ("rms_norm", {}, specs(()), "rms_norm needs an input whose last dimension is known, got [batch] float32"),
    (
        "local_response_norm",
        {},
        specs((4, 3)),
        "local_response_norm needs [batch, height, width, channels] of floats up to 32 bits, got [batch, 4, 3] float32",
    ),
]
