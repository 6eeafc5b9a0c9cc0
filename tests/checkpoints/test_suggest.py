"""Which old name became which new one, and the rules that say so."""

from __future__ import annotations

import random

import pytest

from expkit.checkpoints.suggest import Made, Suggestion, keep_initial_patterns, suggest
from plans import plan_between

Shapes = dict[str, tuple[int, ...]]


def made(shapes: Shapes) -> dict[str, Made]:
    return {name: Made(shape, "float32") for name, shape in shapes.items()}


def suggested(old: Shapes, new: Shapes) -> Suggestion:
    return suggest(made(old), made(new))


def rules(old: Shapes, new: Shapes) -> list[tuple[str, str]]:
    """Return the rules as pairs, after showing that a restore by them gives every variable what was its own."""
    found = suggested(old, new)
    plan = plan_between(new, old, rename=found.rules)
    moved = {to: name for name, to in found.names.items()}
    assert {pair.variable: pair.sources[0] for pair in plan.pairs} == {name: moved.get(name, name) for name in new}
    return [(str(rule.name or rule.pattern), str(rule.to)) for rule in found.rules]


TOWER = {"tower/conv/kernel": (3, 3, 1, 8), "tower/conv/bias": (8,), "head/kernel": (8, 2)}
BLOCKS = {f"model/layer_{i}/{name}": (4, 4) for i in range(12) for name in ("a/kernel", "b/kernel")}


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (TOWER, TOWER, []),
        ({"a/kernel": (2,)}, {"b/kernel": (2,)}, [("a/kernel", "b/kernel")]),
        (
            TOWER,
            {name.replace("tower", "enc-1/x"): shape for name, shape in TOWER.items()},
            [("tower/(.*)", r"enc-1/x/\1")],
        ),
        (
            {"a.b/kernel": (2,), "a.b/bias": (3,), "aab/kernel": (4,)},
            {"c/kernel": (2,), "c/bias": (3,), "aab/kernel": (4,)},
            [(r"a\.b/(.*)", r"c/\1")],
        ),
        (
            {name.replace("tower/", ""): shape for name, shape in TOWER.items()},
            TOWER,
            [("conv/(.*)", r"tower/conv/\1")],
        ),
        (
            BLOCKS,
            {name.replace("model/layer_", "net/block"): shape for name, shape in BLOCKS.items()},
            [(r"model/layer_(\d+)/(.*)", r"net/block\1/\2")],
        ),
        (
            {"a/kernel": (2, 3), "a/bias": (3,), "b/kernel": (3, 4)},
            {"a/weights": (2, 3), "a/bias": (3,), "b/weights": (3, 4)},
            [("(.*)/kernel", r"\1/weights")],
        ),
        (  # What stays under the old scope forbids the pattern.
            {**TOWER, "tower/norm/gamma": (8,)},
            {"code/conv/kernel": (3, 3, 1, 8), "code/conv/bias": (8,), "head/kernel": (8, 2), "tower/norm/gamma": (8,)},
            [("tower/conv/(.*)", r"code/conv/\1")],
        ),
        (  # A layer put before another of its name: the old one is the one with its shape.
            {"dense/kernel": (4, 5), "dense/bias": (5,)},
            {"dense/kernel": (9, 4), "dense/bias": (4,), "dense_1/kernel": (4, 5), "dense_1/bias": (5,)},
            None,
        ),
        ({"w": (2,), "v": (3,)}, {"x": (2,), "v": (3,)}, [("w", "x")]),
    ],
)  # fmt: skip
def test_what_moved_is_told_in_few_rules(old: Shapes, new: Shapes, wanted: list[tuple[str, str]] | None) -> None:
    if wanted is None:
        assert [(rule.pattern, rule.to) for rule in suggested(old, new).rules] == [("dense/(.*)", r"dense_1/\1")]
    else:
        assert rules(old, new) == wanted


def test_a_pattern_that_would_move_what_stays_is_not_suggested() -> None:
    old = {"a/x/kernel": (2,), "a/y/kernel": (3,), "a/z/kernel": (4,)}
    new = {"b/x/kernel": (2,), "b/y/kernel": (3,), "a/z/kernel": (4,)}
    assert rules(old, new) == [("a/x/kernel", "b/x/kernel"), ("a/y/kernel", "b/y/kernel")]


def test_a_name_that_fits_several_is_left_to_the_user() -> None:
    found = suggested({"a/kernel": (2,), "b/kernel": (2,)}, {"x/kernel": (2,), "y/kernel": (2,)})
    assert (found.names, found.rules) == ({}, ())
    assert found.unclear == {"a/kernel": ("x/kernel", "y/kernel"), "b/kernel": ("x/kernel", "y/kernel")}


def test_what_is_clear_makes_the_rest_clear() -> None:
    found = suggested({"a/kernel": (2,), "b/bias": (2,)}, {"c/kernel": (2,), "d/offset": (2,)})
    assert found.names == {"a/kernel": "c/kernel", "b/bias": "d/offset"}


def test_another_shape_or_dtype_is_never_a_match() -> None:
    assert suggested({"a/kernel": (2,)}, {"b/kernel": (3,)}).names == {}
    assert suggest({"a/ids": Made((2,), "int32")}, {"b/ids": Made((2,), "int64")}).names == {}


def test_random_renames_of_scopes_are_found_again() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        parts = [f"{word}_{i}" for word in ("conv", "dense", "norm") for i in range(4)]
        old = {f"net/{part}/{name}": (i + 1, j + 1) for i, part in enumerate(parts) for j, name in enumerate("kb")}
        moved = {part: f"{rng.choice(('a', 'b/c'))}/{part}" for part in rng.sample(parts, rng.randint(1, len(parts)))}
        new = {}
        for name, shape in old.items():
            part = name.split("/")[1]
            new[name.replace(part, moved[part], 1) if part in moved else name] = shape
        rules(old, new)
        assert len(suggested(old, new).names) == 2 * len(moved)


@pytest.mark.parametrize(
    ("wanted", "patterns"),
    [
        ([], []),
        (["a/w"], ["a/w"]),
        (["a/w", "a/b"], ["a/.*"]),
        (["c/d/w", "c/d/b"], ["c/d/.*"]),
        (["c/d/w", "c/d/b", "c/e"], ["c/.*"]),
        (["x.y-z/w"], [r"x\.y\-z/.*"]),
    ],
)
def test_initial_values_are_kept_by_scope_where_all_of_it_is_new(wanted: list[str], patterns: list[str]) -> None:
    names = ["a/w", "a/b", "c/d/w", "c/d/b", "c/e", "x.y-z/w", "xxy-z/w"]
    assert keep_initial_patterns(wanted, names) == patterns
