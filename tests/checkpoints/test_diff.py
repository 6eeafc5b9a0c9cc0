"""Differences between sources of variables, and statistics of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.checkpoints.diff import ValueDiff, diff_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.stats import stats_of
from expkit.tensor_spec import TensorSpec


def source(values: Mapping[str, Any]) -> VariableSource:
    arrays = {name: np.asarray(value) for name, value in values.items()}
    variables = {
        name: TensorSpec.of_variable(array.shape, "string" if array.dtype == object else array.dtype.name)
        for name, array in arrays.items()
    }
    return VariableSource(path=Path("here"), format="npz", variables=variables, get=arrays.__getitem__, at="here")


FIRST = {
    "gone": 1.0,
    "same": [1.0, math.nan],
    "shape": [1.0],
    "dtype": np.float32([1.0]),
    "values": [1.0, 2.0, -4.0],
    "whole": np.array([2**63 - 1, 5]),
    "text": np.array([b"a", b"b"], object),
    "sign": [0.0],
    "bits": [True, False],
    "none": [1.0, math.inf],
}
SECOND = {
    "added": 1.0,
    "same": [1.0, math.nan],
    "shape": [1.0, 2.0],
    "dtype": [1.0],
    "values": [1.5, 2.0, -3.0],
    "whole": np.array([2**63 - 2, 5]),
    "text": np.array([b"a", b"c"], object),
    "sign": [-0.0],
    "bits": [True, True],
    "none": [math.nan, math.inf],
}


def test_every_kind_of_difference_is_reported() -> None:
    names = sorted({**FIRST, **SECOND})
    found = diff_variables(source(FIRST), source(SECOND), names)
    assert (found.gone, found.added, found.shapes, found.dtypes) == (("gone",), ("added",), ("shape",), ("dtype",))
    assert found.same == ("same",)
    none = found.values.pop("none")
    assert (none.numbers, math.isnan(none.maximum or 0)) == (1, True)
    assert found.values == {
        "bits": ValueDiff(1, 1.0, 1.0),
        "sign": ValueDiff(1, 0.0, math.inf),
        "text": ValueDiff(1, None, None),
        "values": ValueDiff(2, 1.0, 0.25),
        "whole": ValueDiff(1, 1.0, 1.0 / 2**63),
    }
    assert found.differs
    assert not diff_variables(source(FIRST), source(FIRST), list(FIRST)).differs


def test_statistics_are_of_the_finite_values() -> None:
    item = stats_of(np.array([1.0, 2.0, 3.0, 0.0, math.nan, math.inf, -math.inf]), bins=3)
    assert (item.mean, item.minimum, item.maximum) == (1.5, 0.0, 3.0)
    assert item.std == pytest.approx(math.sqrt(1.25))
    assert (item.nans, item.infinities, item.zeros, item.counts) == (1, 2, 1, (1, 1, 2))
    nothing = stats_of(np.array([math.nan]), bins=2)
    assert (math.isnan(nothing.mean), nothing.nans, nothing.counts) == (True, 1, (0, 0))
    constant = stats_of(np.full(4, 7, np.int64), bins=2)
    assert (constant.mean, constant.std, sum(constant.counts)) == (7.0, 0.0, 4)
    assert stats_of(np.array([1.0, 1 + 3e-16]), bins=2).counts == (1, 1)
    largest = np.finfo(np.float64).max
    assert stats_of(np.array([-largest, largest])).std == largest


def test_statistics_of_many_values_are_numpys() -> None:
    values = np.random.default_rng(0).normal(3, 2, (1300, 1000)).astype(np.float32)
    item = stats_of(values, bins=10)
    wide = values.astype(np.float64)
    assert (item.mean, item.std) == pytest.approx((wide.mean(), wide.std()), rel=1e-12)
    assert (item.minimum, item.maximum, sum(item.counts)) == (wide.min(), wide.max(), values.size)
    np.testing.assert_allclose(item.counts, np.histogram(wide, 10)[0], atol=2)
