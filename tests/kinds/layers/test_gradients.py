"""Layers that change single values or gradients, in float64: NumPy's numbers, and gradients by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs
from expkit.registry import kinds
from support.layer_tables import Case, functions
from support.layer_tables.functions import ROWS

pytestmark = pytest.mark.untraced

COSINES = ROWS.astype(float) / np.linalg.norm(ROWS.astype(float), axis=1, keepdims=True)
CASES: list[Case] = [
    *functions.CASES,
    ("similarity", {"function": "cosine"}, [ROWS], {}, COSINES @ COSINES.T),
    ("similarity", {"function": "dot"}, [ROWS], {}, ROWS.astype(float) @ ROWS.astype(float).T),
    ("similarity", {"function": "euclidean"}, [ROWS], {}, cdist(ROWS, ROWS)),
    ("drop_path", {"rate": 0.5}, [ROWS], {}, ROWS),
]
FACTORS = {"stop_gradient": 0.0, "scale_gradient": -1.0}
"""Factors of gradients that are not slopes, on purpose: that of ``scale_gradient`` is its field."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join([case[0], *map(str, case[1].values())]))
def test_a_layer_in_64_bits_is_numpys_and_its_gradients_are_finite_differences(case: Case) -> None:
    kind, fields, arrays, _, expected = case
    layer: Any = kinds("layer")[kind](**fields)
    given = arrays if isinstance(arrays, Inputs) else Inputs(arrays)
    wide = [array.astype(np.float64) if array.dtype == np.float32 else array for array in given]
    draw = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        places = [tf.placeholder(array.dtype, (None, *array.shape[1:])) for array in wide]
        read = Inputs(places, {name: tf.constant(array) for name, array in given.named.items()})
        served, output = (
            layer.apply({}, read, Call(training=training, key=3, step=tf.constant(5, tf.int64)))
            for training in (False, True)
        )
        np.testing.assert_allclose(
            session.run(served, dict(zip(places, wide, strict=True))), expected, rtol=1e-6, atol=1e-6
        )
        if not output.dtype.is_floating:
            return
        floating = [place for place in places if place.dtype.is_floating]
        weights = draw.normal(size=np.shape(expected))
        total = tf.reduce_sum(tf.cast(output, tf.float64) * weights)
        slopes = [
            tf.zeros_like(place) if slope is None else slope
            for place, slope in zip(floating, tf.gradients(total, floating), strict=True)
        ]
        run = session.make_callable([total, slopes], places)
        _, found = run(*wide)
        for place, slope in zip(floating, found, strict=True):
            index, step = places.index(place), 1e-5
            direction = draw.normal(size=slope.shape)
            ends = [
                run(*wide[:index], wide[index] + sign * step * direction, *wide[index + 1 :])[0] for sign in (1, -1)
            ]
            difference = FACTORS.get(kind, 1.0) * (ends[0] - ends[1]) / (2 * step)
            assert (slope * direction).sum() == pytest.approx(difference, rel=1e-6, abs=1e-6)
