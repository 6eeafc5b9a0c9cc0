"""Ownership of slots, EMA variables and counters in a checkpoint."""

from __future__ import annotations

import pytest

from expkit.checkpoints.ownership import Ownership, owned, ownership, renamed_with_owner
from expkit.tensor_spec import TensorSpec

VARIABLES = {"a/w": (2, 3), "a/b": (3,), "deep/a/w": (2, 3)}
KEPT = {
    "a/w/Adam": ((2, 3), Ownership("slot", "a/w", "Adam")),
    "a/w/Adam_12": ((2, 3), Ownership("slot", "a/w", "Adam_12")),
    "train/a/b/Momentum": ((3,), Ownership("slot", "a/b", "Momentum")),
    "deep/a/w/adam_m": ((2, 3), Ownership("slot", "deep/a/w", "adam_m")),
    "a/w/.OPTIMIZER_SLOT/optimizer/m": ((2, 3), Ownership("slot", "a/w", "m")),
    "a/b/ExponentialMovingAverage": ((3,), Ownership("average", "a/b")),
    "a/b/ExponentialMovingAverage/local_step": ((), Ownership("counter", "a/b/ExponentialMovingAverage")),
    "adam/iteration": ((), Ownership("counter")),
    "adam/learning_rate": ((), Ownership("counter")),
    "adam/deep_a_w_velocity": ((2, 3), Ownership("slot", "deep/a/w", "velocity")),
    "train/beta1_power": ((), Ownership("counter")),
    "global_step": ((), Ownership("counter")),
    "layer/carried_h": ((8, 3), Ownership("state")),
}
OTHERS = {
    "a/w/Other": (2, 3),
    "a/b/Adam": (7,),
    "lonely/Adam": (3,),
    "lonely/ExponentialMovingAverage": (3,),
    "other/a_w_momentum": (2, 3),
    "adam/a_b_momentum": (9,),
    "adam/own": (3,),
}


def test_slots_emas_and_counters_are_distinguished_from_variables() -> None:
    made = {**VARIABLES, **{name: shape for name, (shape, _) in KEPT.items()}, **OTHERS}
    wanted = {name: item for name, (_, item) in KEPT.items()}
    assert ownership(made) == {**{name: Ownership("variable") for name in (*VARIABLES, *OTHERS)}, **wanted}


@pytest.mark.parametrize(
    ("name", "owner", "renamed"),
    [
        ("a/w/Adam", "a/w", "b/v/Adam"),
        ("train/a/w/Adam", "a/w", "train/b/v/Adam"),
        ("a/w/a/w/Adam", "a/w", "a/w/b/v/Adam"),
        ("adam/a_w_velocity_hat", "a/w", "adam/b_v_velocity_hat"),
        ("a/w/.OPTIMIZER_SLOT/optimizer/m", "a/w", "b/v/.OPTIMIZER_SLOT/optimizer/m"),
    ],
)
def test_a_name_renamed_with_its_owner_keeps_its_prefix_and_suffix(name: str, owner: str, renamed: str) -> None:
    assert renamed_with_owner(name, owner, "b/v") == renamed


def test_slots_and_emas_of_another_floating_dtype_belong_to_their_variable() -> None:
    half, whole, count = (TensorSpec.of_variable((2,), dtype) for dtype in ("float16", "float32", "int32"))
    made = {"w": half, "w/Adam": whole, "avg/w/ExponentialMovingAverage": whole, "w/Momentum": count}
    made |= {"adam/w_momentum": whole, "adam/iteration": count, "adam/learning_rate": count}
    found = {name: (item.kind, item.owner) for name, item in ownership(made).items()}
    assert found["w/Adam"] == ("slot", "w")
    assert found["avg/w/ExponentialMovingAverage"] == ("average", "w")
    assert found["adam/w_momentum"] == ("slot", "w")
    assert found["w/Momentum"] == ("variable", None)


def test_what_belongs_to_a_variable_is_found_under_any_scope_but_never_guessed() -> None:
    ema = "ExponentialMovingAverage"
    names = [
        *("w", f"avg/w/{ema}", "train/w/Adam", "train/w/Adam_1", "train/beta1_power"),
        *("b", f"b/{ema}", f"avg/b/{ema}", "b/Adam", "train/b/Adam"),
        *("c", f"one/c/{ema}", f"two/c/{ema}", "one/c/Adam", "two/c/Adam", "one/beta2_power", "two/beta2_power"),
    ]
    found = owned(dict.fromkeys(names, (2,)))
    assert found.emas == {"w": f"avg/w/{ema}", "b": f"b/{ema}"}
    assert found.several_emas == {"c": [f"one/c/{ema}", f"two/c/{ema}"]}
    assert found.slots == {
        ("w", "Adam"): "train/w/Adam",
        ("w", "Adam_1"): "train/w/Adam_1",
        ("b", "Adam"): "b/Adam",
    }
    assert found.counters == {"beta1_power": "train/beta1_power"}
