"""NumPy's formulas as the oracle of learning rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from expkit import tf1 as tf
from expkit.kinds.base_optimizer import Optimizer
from expkit.kinds.schedules import Schedule
from expkit.registry import kinds

pytestmark = pytest.mark.untraced

STEPS = np.array([0, 1, 4, 5, 9, 10, 11, 25, 1000, 10**6, 2**31 + 10, 2**40], np.int64)

CASES: list[tuple[str, dict[str, Any], Callable[[float], float]]] = [
    ("constant", {"value": 0.3}, lambda step: 0.3),
    (
        "exponential",
        {"initial_learning_rate": 0.8, "decay_steps": 10, "decay_rate": 0.5},
        lambda step: 0.8 * 0.5 ** (step / 10),
    ),
    (
        "exponential",
        {"initial_learning_rate": 0.8, "decay_steps": 10, "decay_rate": 0.5, "staircase": True},
        lambda step: 0.8 * 0.5 ** (step // 10),
    ),
    (
        "cosine",
        {"initial_learning_rate": 0.8, "decay_steps": 20, "alpha": 0.1},
        lambda step: 0.8 * (0.9 * 0.5 * (1 + np.cos(np.pi * min(step, 20) / 20)) + 0.1),
    ),
    (
        "piecewise",
        {"boundaries": (4, 10), "values": (1.0, 0.5, 0.1)},
        lambda step: 1.0 if step <= 4 else 0.5 if step <= 10 else 0.1,
    ),
    (
        "polynomial",
        {"initial_learning_rate": 0.8, "decay_steps": 20, "end_learning_rate": 0.2, "power": 2.0},
        lambda step: 0.6 * (1 - min(step, 20) / 20) ** 2 + 0.2,
    ),
]


def rates(function: Callable[[Any], Any]) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int64, ())
        rate = function(step)
        assert rate.dtype == tf.float32
        return np.array([session.run(rate, {step: at}) for at in STEPS])


@pytest.mark.parametrize(("kind", "fields", "formula"), CASES)
def test_a_schedule_follows_its_formula(kind: str, fields: dict[str, Any], formula: Callable[[float], float]) -> None:
    schedule = kinds("schedule")[kind](**fields)
    assert isinstance(schedule, Schedule)
    np.testing.assert_allclose(rates(schedule.at), [formula(int(step)) for step in STEPS], rtol=1e-5, atol=1e-9)


def test_every_kind_is_in_the_table() -> None:
    assert {case[0] for case in CASES} == set(kinds("schedule"))


def test_warm_up_rises_linearly_to_the_schedule() -> None:
    schedule = {"kind": "exponential", "initial_learning_rate": 0.8, "decay_steps": 10, "decay_rate": 0.5}
    optimizer = kinds("optimizer")["sgd"].model_validate({"learning_rate": schedule, "warmup_steps": 10})
    assert isinstance(optimizer, Optimizer)
    expected = [0.8 * 0.5 ** (step / 10) * min(1, (step + 1) / 10) for step in STEPS]
    np.testing.assert_allclose(rates(optimizer.rate), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"boundaries": (5,), "values": (1.0,)},
            "piecewise needs one more value than boundaries, got 1 values and 1 boundaries",
        ),
        ({"boundaries": (5, 5), "values": (1.0, 2.0, 3.0)}, "piecewise boundaries must ascend, got [5, 5]"),
        ({"boundaries": (9, 5), "values": (1.0, 2.0, 3.0)}, "piecewise boundaries must ascend, got [9, 5]"),
    ],
)
def test_piecewise_says_which_boundaries_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        kinds("schedule")["piecewise"](**fields)
    assert message in str(caught.value)
