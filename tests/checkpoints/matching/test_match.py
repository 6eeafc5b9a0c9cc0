"""Suggested names and the rules made from them."""

from __future__ import annotations

import re

import pytest

from expkit.checkpoints.matching.match import Proposal, Suggestion, suggest
from expkit.checkpoints.matching.rules_yaml import (
    keep_initial_patterns,
    restore_section,
    suggested_rules,
    suggestion_as_json,
)
from expkit.tensor_spec import TensorSpec
from support.plans import plan_between

Shapes = dict[str, tuple[int, ...]]


def specs(shapes: Shapes) -> dict[str, TensorSpec]:
    return {name: TensorSpec.of_variable(shape, "float32") for name, shape in shapes.items()}


def suggested(old: Shapes, new: Shapes) -> Suggestion:
    return suggest(specs(old), specs(new), in_order=True)


def moved(found: Suggestion) -> dict[str, str]:
    """Return what certainly became what, where the name is another."""
    return {p.source: p.variable for p in found.proposals if p.confidence == "high" and p.source != p.variable}


def unclear(found: Suggestion) -> dict[str, tuple[str, ...]]:
    return {p.variable: (p.source, *p.others) for p in found.proposals if p.confidence == "ambiguous"}


def rules(old: Shapes, new: Shapes) -> list[tuple[str, str]]:
    """Return the rules as pairs, after showing that a restore by them gives every variable what was its own."""
    found = suggested(old, new)
    plan = plan_between(new, old, rename=suggested_rules(found))
    sources = {to: name for name, to in moved(found).items()}
    assert {item.variable: item.sources[0] for item in plan.assignments} == {
        name: sources.get(name, name) for name in new
    }
    return [(rule.selector, str(rule.to)) for rule in suggested_rules(found)]


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
    ],
)  # fmt: skip
def test_moved_names_are_covered_by_few_rules(old: Shapes, new: Shapes, wanted: list[tuple[str, str]] | None) -> None:
    if wanted is None:
        assert [(rule.pattern, rule.to) for rule in suggested_rules(suggested(old, new))] == [
            ("dense/(.*)", r"dense_1/\1")
        ]
    else:
        assert rules(old, new) == wanted


def test_a_pattern_that_would_move_unchanged_names_is_not_suggested() -> None:
    pairs = [("b/x/w", "a/x/w"), ("b/y/w", "a/y/w"), ("a/z/w", "a/z/w")]
    found = Suggestion(
        tuple(Proposal(variable=variable, source=source, confidence="high") for variable, source in pairs), (), ()
    )
    assert [(rule.selector, rule.to) for rule in suggested_rules(found)] == [("a/x/w", "b/x/w"), ("a/y/w", "b/y/w")]


def test_scopes_and_endings_are_renamed_by_one_pattern() -> None:
    names = [f"{part}/conv{i}" for part in ("one", "two") for i in range(3)]
    found = Suggestion(
        tuple(
            Proposal(variable=f"net/{name}/kernel", source=f"old/{name}/weights", confidence="high") for name in names
        ),
        (),
        (),
    )
    assert [(rule.selector, rule.to) for rule in suggested_rules(found)] == [("old/(.*)/weights", r"net/\1/kernel")]


def test_a_name_that_fits_several_is_left_to_the_user() -> None:
    found = suggested({"a/kernel": (2,), "b/kernel": (2,)}, {"x/kernel": (2,), "y/kernel": (2,)})
    assert (moved(found), suggested_rules(found), found.certain) == ({}, (), False)
    assert unclear(found) == {"x/kernel": ("a/kernel", "b/kernel"), "y/kernel": ("b/kernel", "a/kernel")}


def test_where_the_order_is_known_a_layer_between_the_same_neighbours_is_the_same() -> None:
    old = {"a/kernel": (2, 2), "b/kernel": (2, 2), "c/kernel": (2, 2)}
    new = {"a/kernel": (2, 2), "x/kernel": (2, 2), "c/kernel": (2, 2)}
    assert moved(suggest(specs(old), specs(new), in_order=True)) == {"b/kernel": "x/kernel"}
    assert unclear(suggest(specs(old), specs(new))) == {"x/kernel": ("b/kernel",)}


def test_the_only_variable_of_a_shape_is_only_a_guess() -> None:
    old = {"net/conv/kernel": (3, 3, 1, 8), "net/auxiliary/kernel": (8, 2)}
    new = {"net/conv/kernel": (3, 3, 1, 8), "net/logits/kernel": (8, 2)}
    assert unclear(suggest(specs(old), specs(new))) == {"net/logits/kernel": ("net/auxiliary/kernel",)}


def test_shifted_numbers_take_precedence_over_equal_names() -> None:
    old = {f"bert/layer_{i}/{part}/kernel": (4, 4) for i in range(12) for part in ("query", "key")}
    new = {_after(name): shape for name, shape in old.items()}
    found = suggest(specs(dict(sorted(old.items()))), specs(new))
    assert found.certain
    assert {p.variable: p.source for p in found.proposals} == {_after(name): name for name in old}


def _after(name: str) -> str:
    return re.sub(r"\d+", lambda match: str(int(match[0]) + 1), name)


def test_numbers_with_two_explanations_are_left_to_the_user() -> None:
    old = {f"layer_{i}/kernel": (4, 4) for i in range(12)}
    new = {f"layer_{i}/kernel": (4, 4) for i in range(1, 12)}
    assert {p.confidence for p in suggest(specs(old), specs(new)).proposals} == {"ambiguous"}


def test_a_name_beside_another_shape_is_doubted() -> None:
    old = {"a/conv/kernel": (3, 4), "a/norm/gamma": (4,), "b/conv/kernel": (5, 4), "b/norm/gamma": (4,)}
    new = {"a/conv/kernel": (5, 4), "a/norm/gamma": (4,), "b/conv/kernel": (3, 4), "b/norm/gamma": (4,)}
    found = suggest(specs(old), specs(new))
    other = {p.variable: p.source for p in found.proposals if p.confidence == "high"}
    assert all(source[0] != variable[0] for variable, source in other.items())


def test_counters_slots_and_emas_are_not_mistaken_for_weights() -> None:
    old = specs({"dense/kernel": (2, 2), "dense/kernel/Adam": (2, 2), "dense/kernel/ExponentialMovingAverage": (2, 2)})
    found = suggest(
        old | {"global_step": TensorSpec.of_variable((), "int64")},
        specs({"net/dense/kernel": (2, 2), "more/kernel": (2, 2)}),
    )
    assert [(p.variable, p.source) for p in found.proposals] == [("net/dense/kernel", "dense/kernel")]
    assert (found.missing, found.unused) == (("more/kernel",), ())


def test_an_ema_without_its_owner_replaces_it() -> None:
    names = specs({"dense/kernel/ExponentialMovingAverage": (2, 2)})
    found = suggest(names, specs({"net/dense/weights": (2, 2)}))
    assert [(p.variable, p.source) for p in found.proposals] == [("net/dense/weights", "dense/kernel")]
    assert restore_section(found, names).splitlines()[:2] == [
        "restore:",
        "  weights: ema_if_present  # the checkpoint has EMA variables without their owners",
    ]
    assert suggestion_as_json(found, names)["restore"] == {
        "weights": "ema_if_present",
        "rename": [],
        "keep_initial": [],
    }


def test_given_keep_initial_patterns_are_repeated_beside_new_ones() -> None:
    names = specs({"a/kernel": (2,)})
    found = suggest(names, specs({"a/kernel": (2,), "head/kernel": (3,)}))
    assert suggestion_as_json(found, names, ["old/.*"])["restore"] == {
        "rename": [],
        "keep_initial": ["old/.*", "head/.*"],
    }
    assert restore_section(found, names, ["old/.*"]).splitlines() == [
        "restore:",
        "  keep_initial: ['old/.*', 'head/.*']",
    ]


def test_layers_that_differ_in_numbers_only_are_guessed_in_their_order() -> None:
    old = {f"x/block_{i}/kernel": (2, 2) for i in (0, 1, 10, 2)}
    new = {f"y{letter}/weights": (2, 2) for letter in "abcd"}
    found = suggest(specs(old), specs(new))
    assert [proposal.source for proposal in found.proposals] == [f"x/block_{i}/kernel" for i in (0, 1, 2, 10)]
    assert {proposal.confidence for proposal in found.proposals} == {"ambiguous"}


def test_another_shape_or_dtype_is_never_a_match() -> None:
    assert suggested({"a/kernel": (2,)}, {"b/kernel": (3,)}).proposals == ()
    assert (
        suggest(
            {"a/ids": TensorSpec.of_variable((2,), "int32")}, {"b/ids": TensorSpec.of_variable((2,), "int64")}
        ).proposals
        == ()
    )


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
def test_keep_initial_names_a_scope_where_all_of_it_is_new(wanted: list[str], patterns: list[str]) -> None:
    names = ["a/w", "a/b", "c/d/w", "c/d/b", "c/e", "x.y-z/w", "xxy-z/w"]
    assert keep_initial_patterns(wanted, names) == patterns
