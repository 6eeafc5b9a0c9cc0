"""Keras in 64 bits as the oracle of layers and their gradients, on plain and on edge data; a line a kind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.registry import kinds
from support.edges import EDGES
from support.layer_tables import Array, Case, basic, functions, norms, sequences, shapes, windows
from support.layer_tables.keras_layers import LACKING, REFERENCES, Given, computing_in

pytestmark = pytest.mark.untraced

EDGES_OF = {
    "float32": ("plain", "tiny", "large", "shifted by 1,000", "constant columns"),
    "float16": ("plain", "constant columns"),
}
TOLERANCES = {"float32": 1e-4, "float16": 1e-2}
MOVING = ("moving_mean", "moving_variance")
RANDOM = ("attention", "dropout", "gaussian_noise")
"""Kinds that draw numbers in training; the others train as they infer, but for ``batch_norm``."""
FAMILIES = (basic, functions, windows, norms, shapes, sequences)


def comparable(case: Case) -> bool:
    lacking, _ = LACKING.get(case[0], (lambda layer: False, ""))
    return not isinstance(REFERENCES[case[0]], str) and not lacking(kinds("layer")[case[0]](**case[1]))


def floating(case: Case) -> bool:
    return any(array.dtype == np.float32 for array in case[2])


def in_16_bits(case: Case) -> bool:
    """Return whether a case has floats that 16 bits hold well enough: a score of 10,000 is off by 4."""
    return floating(case) and not (case[0] == "attention" and np.abs(case[2][0]).max() > 50)


CASES = [
    (case, training, dtype)
    for family in FAMILIES
    for case in family.CASES
    if comparable(case)
    for training in ((False, True) if case[0] == "batch_norm" else (case[0] not in RANDOM,))
    for dtype in EDGES_OF
    if dtype == "float32" or in_16_bits(case)
]


def titled(value: Any) -> str:
    if not isinstance(value, tuple):
        return {True: "training", False: "inference"}.get(value, value)
    return " ".join([value[0], *(f"{name}={field}" for name, field in value[1].items())])


def upstream(shape: tuple[int, ...]) -> Array:
    """Return a gradient of an output, which differs from value to value."""
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


def floats(tensor: Any) -> bool:
    return bool(tensor.dtype.is_floating)


Results = tuple[Mapping[str, Array], list[Array | None]]


def typed(arrays: Iterable[Array], dtype: str) -> list[Array]:
    """Return arrays whose values of 32 bits have another dtype, rounded to it."""
    return [x.astype(dtype) if x.dtype == np.float32 else x for x in arrays]


def by_keras(case: Case, training: bool, inputs: Inputs[Array], dtype: str) -> Results:
    """Return Keras' outputs by name and the gradients of the inputs and the variables."""
    arrays, names = [*inputs, *case[3].values(), *inputs.named.values()], list(case[3])
    tensors = [tf.constant(x, dtype if x.dtype.kind == "f" else x.dtype) for x in arrays]
    read = [x for x in tensors[: len(inputs) + len(names)] if floats(x)]
    reference = REFERENCES[case[0]]
    assert callable(reference)
    with computing_in(dtype), tf.GradientTape() as tape:
        tape.watch(read)
        given = Given(
            layer=kinds("layer")[case[0]](**case[1]),
            inputs=tensors[: len(inputs)],
            values=dict(zip(names, tensors[len(inputs) :], strict=False)),
            named=dict(zip(inputs.named, tensors[len(inputs) + len(names) :], strict=True)),
            training=training,
        )
        results = reference(given)
        results = results if isinstance(results, Mapping) else {"": results}
        traced = [y for name, y in results.items() if floats(y) and name not in MOVING]
    outer = [tf.constant(upstream(y.shape), y.dtype) for y in traced]
    slopes = tape.gradient(traced, read, outer) if traced and read else []
    found = [None if slope is None else tf.convert_to_tensor(slope).numpy() for slope in slopes]
    return {name: y.numpy() for name, y in results.items()}, found


@contextmanager
def ours(case: Case, training: bool, inputs: Inputs[Array], dtype: str) -> Iterator[Callable[[Inputs[Array]], Results]]:
    """Build a layer and its gradients in a graph, for inputs like these."""
    kind, fields, _, variables, expected = case
    values = typed(variables.values(), dtype)

    def place(array: Array) -> Any:
        return tf.placeholder(array.dtype, (None, *array.shape[1:]))

    with tf.Graph().as_default() as graph:
        read = Inputs(map(place, inputs), {name: place(array) for name, array in inputs.named.items()})
        bound = {name: tf.constant(value) for name, value in zip(variables, values, strict=True)}
        call, layer = Call(training=training), kinds("layer")[kind](**fields)
        assert isinstance(layer, Layer)
        results = layer.apply(bound, read, call)
        results = dict(results) if isinstance(results, Mapping) else {"": results}
        shapes = expected if isinstance(expected, Mapping) else {"": expected}
        traced = [name for name, y in results.items() if floats(y)]
        sources = [x for x in (*read, *bound.values()) if floats(x)]
        outer = [tf.constant(upstream(shapes[name].shape), results[name].dtype) for name in traced]
        slopes = tf.gradients([results[name] for name in traced], sources, outer) if traced and sources else []
        places = [place for place, slope in enumerate(slopes) if slope is not None]
        for name, update in zip(MOVING, call.updates, strict=False):
            results[name] = update.variable * update.momentum + update.value * (1 - update.momentum)
        fetched = [list(results.values()), [tf.convert_to_tensor(slopes[place]) for place in places]]
    with closing(tf.Session(graph=graph)) as session:
        run = session.make_callable(fetched, [*read, *read.named.values()])

        def computed(inputs: Inputs[Array]) -> Results:
            values, found = run(*inputs, *inputs.named.values())
            known = dict(zip(places, found, strict=True))
            return dict(zip(results, values, strict=True)), [known.get(place) for place in range(len(slopes))]

        yield computed


def compare(got: Results, exact: Results, same: Callable[[], Results], tolerance: float, edge: str) -> None:
    """Hold values to a fraction of the largest; where the dtype does not allow it, to four times Keras' own error."""
    assert got[0].keys() == exact[0].keys()
    for name in got[0]:
        held(got[0][name], exact[0][name], lambda name=name: same()[0][name], tolerance, f"{edge}: output '{name}'")
    for place, (one, other) in enumerate(zip(got[1], exact[1], strict=True)):
        assert (one is None) == (other is None), f"{edge}: gradient {place}"
        if one is not None and other is not None:
            held(one, other, lambda place=place: same()[1][place], tolerance, f"{edge}: gradient {place}")


def held(one: Array, other: Array, same: Callable[[], Array | None], tolerance: float, what: str) -> None:
    with np.errstate(over="ignore"):
        right = other.astype(one.dtype)
    if one.dtype.kind != "f":
        np.testing.assert_array_equal(one, right, what)
        return
    largest = np.abs(right[np.isfinite(right)]).max(initial=0)
    if not np.allclose(one, right, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
        near = same()
        assert near is not None
        limit = 4 * np.abs(near.astype(np.float64) - other).max()
        assert np.isfinite(limit), what
        np.testing.assert_allclose(one.astype(np.float64), other, rtol=0, atol=limit, err_msg=what)


@pytest.mark.parametrize(("case", "training", "dtype"), CASES, ids=titled)
def test_a_layer_and_its_gradients_are_those_of_keras(case: Case, training: bool, dtype: str) -> None:
    given = case[2] if isinstance(case[2], Inputs) else Inputs(case[2])
    # Keras compiles grouped convolutions anew at each call, and takes a hundredth of a second for each recurrent step.
    grouped = "filters" in case[1] and case[1].get("groups", 1) > 1
    long = case[0] in ("lstm", "gru") and (dtype == "float16" or given[0].shape[1] > 64)
    edges = EDGES_OF[dtype] if floating(case) and not grouped and not long else ("plain",)
    plain = Inputs(typed(given, dtype), dict(zip(given.named, typed(given.named.values(), dtype), strict=True)))
    rounded = (*case[:3], dict(zip(case[3], typed(case[3].values(), dtype), strict=True)), case[4])
    with ours(case, training, plain, dtype) as computed:
        for edge in edges:
            at = Inputs((EDGES[edge](x) if x.dtype == dtype else x for x in plain), plain.named)
            exact = by_keras(rounded, training, at, "float64")
            same = functools.cache(lambda at=at: by_keras(rounded, training, at, dtype))
            compare(computed(at), exact, same, TOLERANCES[dtype], edge)


def test_every_kind_is_held_against_keras_or_has_a_reason() -> None:
    assert set(REFERENCES) == set(kinds("layer"))
    compared = {case[0] for case, *_ in CASES}
    assert compared == {kind for kind, reference in REFERENCES.items() if not isinstance(reference, str)}
    reasons = [reference for reference in REFERENCES.values() if isinstance(reference, str)]
    assert all(" " in reason for reason in (*reasons, *(reason for _, reason in LACKING.values())))
