"""Predictions whose file names classes that do not fit its outputs."""

from __future__ import annotations

import re

import numpy as np
import pytest

from expkit.cli.predictions import probabilities
from expkit.errors import DataError


def test_one_logit_is_of_two_classes() -> None:
    np.testing.assert_allclose(
        probabilities("y", np.array([[0.0], [np.log(3)]]), ["a", "b"]), [[0.5, 0.5], [0.25, 0.75]]
    )
    np.testing.assert_allclose(probabilities("y", np.array([0.0]), ["a", "b"]), [[0.5, 0.5]])


@pytest.mark.parametrize("output", [np.zeros((2, 3)), np.zeros((2, 3, 4)), np.zeros(2), np.array([[b"a", b"b"]])])
@pytest.mark.parametrize("classes", [["a"], ["a", "b", "c", "d"]])
def test_classes_that_do_not_fit_are_refused(output: np.ndarray, classes: list[str]) -> None:
    with pytest.raises(DataError, match=re.escape(f"for each example, which do not fit the {len(classes)} classes")):
        probabilities("y", output, classes)
