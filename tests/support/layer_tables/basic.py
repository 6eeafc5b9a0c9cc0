"""Dense layers, activations, noise, look-up by number, positions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from expkit.tensor_spec import TensorSpec
from support.layer_tables import Array, Case, Refused, Spec, integers, sigmoid, softmax, some, specs


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def exponential(scale: float, alpha: float) -> Callable[[Array], Array]:
    return lambda x: np.asarray(scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def waves(positions: int, size: int, longest: float) -> Array:
    times = longest ** (np.arange(size // 2) / (size // 2 - 1))
    angles = np.arange(positions)[:, None] / times
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


IMAGES, ROWS, CUBES = some(2, 5, 6, 3), some(4, 3), some(2, 4, 3)
KERNEL, BIAS, TABLE = some(3, 2), some(2), some(5, 2)
DENSE = {"kernel": KERNEL, "bias": BIAS}
IDS = np.array([[4, 0], [1, 1]], np.int32)
SERIES, PLACES = some(2, 5, 6), some(7, 6)

ACTIVATIONS: dict[str, Array] = {
    "linear": ROWS,
    "relu": relu(ROWS),
    "relu6": np.clip(ROWS, 0, 6),
    "crelu": relu(np.concatenate([ROWS, -ROWS], axis=1)),
    "leaky_relu": np.where(ROWS > 0, ROWS, 0.2 * ROWS),
    "elu": exponential(1.0, 1.0)(ROWS),
    "selu": exponential(1.05070098735548, 1.67326324235438)(ROWS),
    "gelu": gelu(ROWS),
    "gelu_tanh": gelu_tanh(ROWS),
    "silu": ROWS * sigmoid(ROWS),
    "hard_silu": ROWS * np.clip(ROWS + 3, 0, 6) / 6,
    "sigmoid": sigmoid(ROWS),
    "hard_sigmoid": np.clip(ROWS + 3, 0, 6) / 6,
    "tanh": np.tanh(ROWS),
    "softplus": np.log1p(np.exp(ROWS)),
    "softsign": ROWS / (1 + np.abs(ROWS)),
    "softmax": softmax(ROWS),
    "log_softmax": np.log(softmax(ROWS)),
}

CASES: list[Case] = [
    ("dense", {"units": 2}, [ROWS], DENSE, ROWS @ KERNEL + BIAS),
    ("dense", {"units": 2, "activation": "relu"}, [ROWS], DENSE, relu(ROWS @ KERNEL + BIAS)),
    ("dense", {"units": 2, "use_bias": False}, [ROWS], {"kernel": KERNEL}, ROWS @ KERNEL),
    ("dense", {"units": 2}, [CUBES], DENSE, CUBES @ KERNEL + BIAS),
    ("dense", {"units": 2}, [IMAGES], DENSE, IMAGES @ KERNEL + BIAS),
    (
        "dense",
        {"units": 2},
        [ROWS.astype(np.float64)],
        {name: value.astype(np.float64) for name, value in DENSE.items()},
        ROWS.astype(np.float64) @ KERNEL.astype(np.float64) + BIAS,
    ),
    ("dropout", {"rate": 0.5}, [ROWS], {}, ROWS),
    ("drop_path", {"rate": 0.5}, [CUBES], {}, CUBES),
    ("gaussian_noise", {"stddev": 0.5}, [ROWS], {}, ROWS),
    ("embedding", {"input_dim": 5, "output_dim": 2}, [IDS], {"embeddings": TABLE}, TABLE[IDS]),
    ("embedding", {"input_dim": 5, "output_dim": 2}, [IDS[:, 0]], {"embeddings": TABLE}, TABLE[IDS[:, 0]]),
    ("embedding", {"input_dim": 5, "output_dim": 2}, [IDS[:, None]], {"embeddings": TABLE}, TABLE[IDS[:, None]]),
    ("one_hot", {"depth": 3}, [IDS], {}, np.eye(6, 3, dtype=np.float32)[IDS]),
    ("position_embedding", {"max_length": 7}, [SERIES], {"embeddings": PLACES}, SERIES + PLACES[:5]),
    ("position_encoding", {}, [SERIES], {}, SERIES + waves(5, 6, 10000.0)),
    ("position_encoding", {"max_timescale": 100.0}, [SERIES[:, :, :4]], {}, SERIES[:, :, :4] + waves(5, 4, 100.0)),
    ("activation", {"function": "relu6"}, [9 * ROWS], {}, np.clip(9 * ROWS, 0, 6)),
    ("activation", {"function": "leaky_relu", "alpha": 0.1}, [ROWS], {}, np.where(ROWS > 0, ROWS, 0.1 * ROWS)),
    *(("activation", {"function": name}, [ROWS], {}, wanted) for name, wanted in ACTIVATIONS.items()),
]

SPECS: list[Spec] = [
    ("dense", {"units": 3}, specs((None, 7, 4)), {"kernel": (4, 3), "bias": (3,)}, TensorSpec((None, 7, 3))),
    (
        "dense",
        {"units": 3, "activation": "crelu", "use_bias": False},
        specs((4,)),
        {"kernel": (4, 3)},
        TensorSpec((6,)),
    ),
    ("embedding", {"input_dim": 9, "output_dim": 2}, specs(integers(4)), {"embeddings": (9, 2)}, TensorSpec((4, 2))),
    (
        "embedding",
        {"input_dim": 9, "output_dim": 2},
        specs(TensorSpec((), "int64")),
        {"embeddings": (9, 2)},
        TensorSpec((2,)),
    ),
    ("one_hot", {"depth": 9}, specs(integers(None, 4)), {}, TensorSpec((None, 4, 9))),
    ("position_embedding", {"max_length": 9}, specs((None, 4)), {"embeddings": (9, 4)}, TensorSpec((None, 4))),
    ("position_encoding", {}, specs((None, 4)), {}, TensorSpec((None, 4))),
    ("activation", {"function": "relu"}, specs((4,)), {}, TensorSpec((4,))),
    ("activation", {"function": "crelu"}, specs((None, 4)), {}, TensorSpec((None, 8))),
    ("activation", {"function": "crelu"}, specs((4, None)), {}, TensorSpec((4, None))),
    ("dropout", {"rate": 0.5}, specs((4, 2)), {}, TensorSpec((4, 2))),
    ("drop_path", {"rate": 0.5}, specs((4, None)), {}, TensorSpec((4, None))),
    ("gaussian_noise", {"stddev": 0.5}, specs(TensorSpec((4, None), "float16")), {}, TensorSpec((4, None), "float16")),
]

NO_FLOATS = "needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'"

REFUSED: list[Refused] = [
    ("dense", {"units": 3}, specs(integers(4)), f"dense {NO_FLOATS}"),
    ("dense", {"units": 3}, specs(()), "dense needs an input whose last dimension is known, got [batch] float32"),
    (
        "dense",
        {"units": 3},
        specs((3, None)),
        "dense needs an input whose last dimension is known, got [batch, 3, ?] float32",
    ),
    ("activation", {"function": "relu"}, specs(integers(4)), f"activation {NO_FLOATS}"),
    ("dropout", {"rate": 0.5}, specs(integers(4)), f"dropout {NO_FLOATS}"),
    ("drop_path", {"rate": 0.5}, specs(integers(4)), f"drop_path {NO_FLOATS}"),
    ("gaussian_noise", {"stddev": 0.5}, specs(integers(4)), f"gaussian_noise {NO_FLOATS}"),
    (
        "embedding",
        {"input_dim": 1, "output_dim": 1},
        specs((4,)),
        "embedding needs int32 or int64 ids, got [batch, 4] float32",
    ),
    ("one_hot", {"depth": 2}, specs((4,)), "one_hot needs int32 or int64 ids, got [batch, 4] float32"),
    (
        "position_embedding",
        {"max_length": 4},
        specs((5, 2)),
        "position_embedding has max_length 4, but its input 5 positions",
    ),
    (
        "position_embedding",
        {"max_length": 4},
        specs((5,)),
        "position_embedding needs [batch, positions, size], got [batch, 5] float32",
    ),
    (
        "position_encoding",
        {},
        specs((5, 3)),
        "position_encoding needs an even last dimension of 4 or more, got [batch, 5, 3] float32",
    ),
]
