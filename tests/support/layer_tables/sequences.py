"""Recurrent layers and attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expkit.kinds.layers.base import Inputs
from expkit.tensor_spec import TensorSpec
from support.layer_tables import Array, Case, Refused, Spec, integers, sigmoid, softmax, some, specs

Step = Callable[[Array, list[Array]], list[Array]]


def run(
    step: Step, x: Array, first: list[Array], lengths: Array | None = None, backward: bool = False
) -> tuple[Array, list[Array]]:
    """Return the outputs of every step (0 beyond the length) and the last states, example by example."""
    outputs = np.zeros((*x.shape[:2], first[0].shape[1]), np.float32)
    lasts = []
    for example, sequence in enumerate(x):
        states = [state[example] for state in first]
        places = range(len(sequence) if lengths is None else lengths[example])
        for place in reversed(places) if backward else places:
            states = step(sequence[place], states)
            outputs[example, place] = states[0]
        lasts.append(states)
    return outputs, [np.stack(parts) for parts in zip(*lasts, strict=True)]


def lstm(
    v: dict[str, Array], forget_bias: float = 1.0, act: Callable[[Array], Array] = np.tanh, prefix: str = ""
) -> Step:
    def step(x: Array, states: list[Array]) -> list[Array]:
        h, c = states
        i, j, f, o = np.split(np.concatenate([x, h]) @ v[f"{prefix}kernel"] + v[f"{prefix}bias"], 4)
        peep = {name: v.get(f"{prefix}w_{name}_diag", 0) for name in "ifo"}
        new = sigmoid(f + forget_bias + peep["f"] * c) * c + sigmoid(i + peep["i"] * c) * act(j)
        h = sigmoid(o + peep["o"] * new) * act(new)
        return [h @ v["projection/kernel"] if "projection/kernel" in v else h, new]

    return step


def gru(v: dict[str, Array], act: Callable[[Array], Array] = np.tanh) -> Step:
    def step(x: Array, states: list[Array]) -> list[Array]:
        (h,) = states
        r, u = np.split(sigmoid(np.concatenate([x, h]) @ v["gates/kernel"] + v["gates/bias"]), 2)
        if "candidate/kernel" in v:
            c = act(np.concatenate([x, r * h]) @ v["candidate/kernel"] + v["candidate/bias"])
        else:
            hidden = h @ v["candidate/hidden_projection/kernel"] + v["candidate/hidden_projection/bias"]
            read = x @ v["candidate/input_projection/kernel"] + v["candidate/input_projection/bias"]
            c = act(read + r * hidden)
        return [u * h + (1 - u) * c]

    return step


def attended(q: Array, k: Array, v: Array, w: dict[str, Array], heads: int, allowed: Array | None = None) -> Array:
    """Return the joined heads; ``allowed`` is [batch, queries, keys]."""

    def times(x: Array, name: str) -> Array:
        return np.asarray(x @ w[f"{name}/kernel"] + w.get(f"{name}/bias", 0))

    parts = []
    split = (np.split(times(x, name), heads, axis=-1) for x, name in ((q, "query"), (k, "key"), (v, "value")))
    for query, key, value in zip(*split, strict=True):
        scores = query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1])
        weights = softmax(scores)
        if allowed is not None:
            weights = np.where(allowed, softmax(np.where(allowed, scores, -3e38)), 0)
        parts.append(weights @ value)
    joined = np.concatenate(parts, axis=-1)
    return times(joined, "output") if "output/kernel" in w else joined


X, H, C, LENGTHS = some(3, 5, 4), some(3, 2), some(3, 2), np.array([5, 0, 3], np.int32)
ZEROS = [np.zeros((3, 2), np.float32)] * 2
LSTM = {"kernel": some(6, 8), "bias": some(8)}
BOTH = {f"{way}/{name}": some(*value.shape) for way in ("fw", "bw") for name, value in LSTM.items()}
PEEPHOLES = {**LSTM, **{f"w_{name}_diag": some(2) for name in "ifo"}}
PROJECTED = {"kernel": some(7, 8), "bias": some(8), "projection/kernel": some(2, 3)}
GRU = {"gates/kernel": some(6, 4), "gates/bias": some(4), "candidate/kernel": some(6, 2), "candidate/bias": some(2)}
CUDNN = {
    "gates/kernel": GRU["gates/kernel"],
    "gates/bias": GRU["gates/bias"],
    "candidate/input_projection/kernel": some(4, 2),
    "candidate/input_projection/bias": some(2),
    "candidate/hidden_projection/kernel": some(2, 2),
    "candidate/hidden_projection/bias": some(2),
}
LONG = some(3, 70, 4)


def outputs(result: tuple[Array, list[Array]], sequence: bool) -> dict[str, Array]:
    states = {f"state_{name}": state for name, state in zip("hc", result[1], strict=False)}
    return {"": result[0] if sequence else states["state_h"], **states}


def of_both(lengths: Array) -> dict[str, Array]:
    forward = run(lstm(BOTH, prefix="fw/"), X, ZEROS, lengths)
    backward = run(lstm(BOTH, prefix="bw/"), X, ZEROS, lengths, backward=True)
    pairs = zip(outputs(forward, True).items(), outputs(backward, True).values(), strict=True)
    return {name: np.concatenate([a, b], axis=-1) for (name, a), b in pairs}


MEMORY, VALUES = some(3, 6, 7), some(3, 6, 2)
SELF = {
    f"{name}/{part}": some(*shape)
    for name in ("query", "key", "value")
    for part, shape in (("kernel", (4, 6)), ("bias", (6,)))
}
CROSS = {"query/kernel": some(4, 6), "key/kernel": some(7, 6), "value/kernel": some(7, 6), "output/kernel": some(6, 3)}
THREE = {**CROSS, "value/kernel": some(2, 6)}
WIDE = some(3, 5, 6)
SQUARE = {
    f"{name}/{part}": some(*shape)
    for name in ("query", "key", "value")
    for part, shape in (("kernel", (6, 6)), ("bias", (6,)))
}
KEYS = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]], np.int32)
PAIRS = np.array(np.arange(3 * 5 * 6).reshape(3, 5, 6) % 3 > 0)
CAUSAL = np.tril(np.ones((5, 5), bool))[None]
SPREAD = 100 * X
"""Its scores reach several 10,000; no number that is subtracted from them hides them."""
LATE = np.array([[0, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
"""A mask under which some queries may attend to no key, in the last example none."""

CASES: list[Case] = [
    ("lstm", {"units": 2}, [X], LSTM, outputs(run(lstm(LSTM), X, ZEROS), False)),
    (
        "lstm",
        {"units": 2, "return_sequences": True, "lengths": "n", "initial_h": "h", "initial_c": "c", "forget_bias": 0.0},
        Inputs([X], {"lengths": LENGTHS, "initial_h": H, "initial_c": C}),
        LSTM,
        outputs(run(lstm(LSTM, 0.0), X, [H, C], LENGTHS), True),
    ),
    (
        "lstm",
        {"units": 2, "direction": "backward", "lengths": "n", "activation": "softsign"},
        Inputs([X], {"lengths": LENGTHS.astype(np.int64)}),
        LSTM,
        outputs(run(lstm(LSTM, act=lambda x: x / (1 + np.abs(x))), X, ZEROS, LENGTHS, backward=True), False),
    ),
    (
        "lstm",
        {"units": 2, "direction": "both", "return_sequences": True, "lengths": "n"},
        Inputs([X], {"lengths": LENGTHS}),
        BOTH,
        of_both(LENGTHS),
    ),
    (
        "lstm",
        {"units": 2, "use_peepholes": True, "return_sequences": True},
        [X],
        PEEPHOLES,
        outputs(run(lstm(PEEPHOLES), X, ZEROS), True),
    ),
    (
        "lstm",
        {"units": 2, "projection": 3, "return_sequences": True},
        [X],
        PROJECTED,
        outputs(run(lstm(PROJECTED), X, [np.zeros((3, 3), np.float32), ZEROS[0]]), True),
    ),
    ("lstm", {"units": 2, "return_sequences": True}, [LONG], LSTM, outputs(run(lstm(LSTM), LONG, ZEROS), True)),
    (
        "lstm",
        {"units": 2, "direction": "backward", "lengths": "n"},
        Inputs([LONG], {"lengths": LENGTHS * 14}),
        LSTM,
        outputs(run(lstm(LSTM), LONG, ZEROS, LENGTHS * 14, backward=True), False),
    ),
    ("gru", {"units": 2}, [X], GRU, outputs(run(gru(GRU), X, ZEROS[:1]), False)),
    (
        "gru",
        {"units": 2, "return_sequences": True, "lengths": "n", "initial_h": "h", "activation": "relu"},
        Inputs([X], {"lengths": LENGTHS, "initial_h": H}),
        GRU,
        outputs(run(gru(GRU, lambda x: np.maximum(x, 0)), X, [H], LENGTHS), True),
    ),
    (
        "gru",
        {"units": 2, "return_sequences": True, "reset_after": True},
        [LONG],
        CUDNN,
        outputs(run(gru(CUDNN), LONG, ZEROS[:1]), True),
    ),
    ("attention", {"num_heads": 3, "key_dim": 2}, [X], SELF, attended(X, X, X, SELF, 3)),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "mask": "m"},
        Inputs([X], {"mask": KEYS}),
        SELF,
        attended(X, X, X, SELF, 2, KEYS[:, None, :] > 0),
    ),
    (
        "attention",
        {"num_heads": 1, "key_dim": 6, "causal": True, "dropout": 0.5},
        [X],
        SELF,
        attended(X, X, X, SELF, 1, CAUSAL),
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "output_dim": 3, "use_bias": False, "mask": "m"},
        Inputs([X, MEMORY], {"mask": PAIRS}),
        CROSS,
        attended(X, MEMORY, MEMORY, CROSS, 2, PAIRS),
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "output_dim": 3, "use_bias": False},
        [X, MEMORY, VALUES],
        THREE,
        attended(X, MEMORY, VALUES, THREE, 2),
    ),
    ("attention", {"num_heads": 3}, [WIDE], SQUARE, attended(WIDE, WIDE, WIDE, SQUARE, 3)),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "causal": True},
        [SPREAD],
        SELF,
        attended(SPREAD, SPREAD, SPREAD, SELF, 2, CAUSAL),
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "causal": True, "mask": "m"},
        Inputs([SPREAD], {"mask": LATE}),
        SELF,
        attended(SPREAD, SPREAD, SPREAD, SELF, 2, CAUSAL & LATE[:, None, :]),
    ),
]

STATES = {"state_h": TensorSpec((5,)), "state_c": TensorSpec((5,))}
SPECS: list[Spec] = [
    (
        "lstm",
        {"units": 5, "return_sequences": True},
        specs((None, 4)),
        {"kernel": (9, 20), "bias": (20,)},
        {"": TensorSpec((None, 5)), **STATES},
    ),
    (
        "lstm",
        {"units": 7, "projection": 5, "lengths": "n"},
        specs((None, 4), lengths=TensorSpec((), "int64")),
        {"kernel": (9, 28), "bias": (28,), "projection/kernel": (7, 5)},
        {"": TensorSpec((5,)), "state_h": TensorSpec((5,)), "state_c": TensorSpec((7,))},
    ),
    (
        "gru",
        {"units": 5, "direction": "both"},
        specs((3, 4)),
        {
            f"{way}/{name}": shape
            for way in ("fw", "bw")
            for name, shape in (
                ("gates/kernel", (9, 10)),
                ("gates/bias", (10,)),
                ("candidate/kernel", (9, 5)),
                ("candidate/bias", (5,)),
            )
        },
        {"": TensorSpec((10,)), "state_h": TensorSpec((10,))},
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "use_bias": False, "mask": "m"},
        specs((None, 4), mask=TensorSpec((None,), "bool")),
        {"query/kernel": (4, 6), "key/kernel": (4, 6), "value/kernel": (4, 6)},
        TensorSpec((None, 6)),
    ),
]

REFUSED: list[Refused] = [
    ("lstm", {"units": 2}, specs((4,)), "lstm needs [batch, time, features], got [batch, 4] float32"),
    (
        "gru",
        {"units": 2},
        specs(integers(4)),
        "gru needs an input of floats, got [batch, 4] int32; convert it with kind 'cast'",
    ),
    (
        "lstm",
        {"units": 2, "lengths": "n"},
        specs((4, 3), lengths=TensorSpec(())),
        "lstm needs lengths [batch] of int32 or int64, got [batch] float32",
    ),
    (
        "gru",
        {"units": 2, "lengths": "n"},
        specs((4, 3), lengths=integers(1)),
        "gru needs lengths [batch] of int32 or int64, got [batch, 1] int32",
    ),
    (
        "lstm",
        {"units": 2, "projection": 3, "initial_h": "h"},
        specs((4, 3), initial_h=TensorSpec((2,))),
        "lstm needs initial_h [batch, 3] float32, got [batch, 2] float32",
    ),
    (
        "lstm",
        {"units": 2, "direction": "both", "initial_c": "c"},
        specs((4, 3), initial_c=TensorSpec((2,))),
        "lstm needs initial_c [batch, 4] float32, got [batch, 2] float32",
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3},
        specs((4,)),
        "attention needs [batch, positions, size], got [batch, 4] float32",
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3},
        specs((4, 2), (5, 2), (6, 2)),
        "attention needs as many values as keys, got [batch, 5, 2] float32 and [batch, 6, 2] float32",
    ),
    (
        "attention",
        {"num_heads": 3},
        specs((4, 10)),
        "attention of 3 heads needs a size that is a multiple, got 10",
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "causal": True},
        specs((4, 2), (5, 2)),
        "attention with causal: true needs as many queries as keys, got [batch, 4, 2] float32 and "
        "[batch, 5, 2] float32",
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3, "mask": "m"},
        specs((4, 2), (5, 2), mask=integers(4)),
        "attention of [batch, 4, 2] float32 to [batch, 5, 2] float32 needs a mask [batch, keys] or "
        "[batch, queries, keys], got [batch, 4] int32",
    ),
    (
        "attention",
        {"num_heads": 2, "key_dim": 3},
        specs((4, 2), TensorSpec((5, 2), "float64")),
        "attention needs inputs of one dtype, got [batch, 4, 2] float32 and [batch, 5, 2] float64",
    ),
]
