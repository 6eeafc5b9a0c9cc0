"""The restore plan as a value: a true map, and every mistake in one message."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from expkit.checkpoints.restore.plan import Assignment, Plan, Target
from expkit.checkpoints.restore.planner import restore_plan
from expkit.config.sections.restore import RenameRule
from expkit.errors import CheckpointError
from expkit.tensor_spec import TensorSpec
from support.plans import Shapes, opened, targets_of

EMA = "/ExponentialMovingAverage"
SPEC = TensorSpec.of_variable((2, 3), "float32")
VARIABLES = {"a/w": (2, 3), "b/w": (2, 3)}


def names(*variables: str, **shapes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {**dict.fromkeys(variables, (2, 3)), **shapes}


def exact(name: str, to: str | None = None, **more: Any) -> RenameRule:
    return RenameRule.model_validate({"name": name, "to": to, **more}, strict=False)


def pattern(word: str, to: str | None = None, **more: Any) -> RenameRule:
    return RenameRule.model_validate({"pattern": word, "to": to, **more}, strict=False)


def plan_of(targets: Shapes, available: Shapes, keep_initial: Sequence[str] = (), **asked: Any) -> Plan:
    beside = {key: asked.pop(key) for key in (("ema_required", "emas", "slots", "counters")) if key in asked}
    return restore_plan(targets_of(targets, **beside), [opened(available, **asked)], keep_initial)


def sources(plan: Plan) -> dict[str, str]:
    plan.check()
    return {item.variable: "+".join(item.sources) for item in plan.assignments}


def problems(targets: Any, available: Any, **asked: Any) -> list[str]:
    plan = plan_of(targets, available, **asked)
    assert not plan.complete
    with pytest.raises(CheckpointError) as caught:
        plan.check()
    return [str(problem) for problem in caught.value.problems]


def test_equal_names_need_no_rule() -> None:
    plan = plan_of(VARIABLES, names("b/w", "a/w", "global_step"))
    assignments = tuple(
        Assignment(variable=name, checkpoint="restore", sources=(name,), weights="raw", spec=SPEC) for name in VARIABLES
    )
    files, unused = {"restore": "restore.ckpt"}, {"restore": ("global_step",)}
    assert plan == Plan(assignments=assignments, unused=unused, files=files, variables=2)
    assert (plan.complete, plan.loaded) == (True, "2/2")


@pytest.mark.parametrize(
    ("available", "rules", "targets"),
    [
        (["old", "b/w"], [exact("old", "a/w")], {"a/w": "old", "b/w": "b/w"}),
        (["x/1/w", "x/2/w"], [exact("x/1/w", "a/w"), exact("x/2/w", "b/w")], {"a/w": "x/1/w", "b/w": "x/2/w"}),
        (["net/a/v", "net/b/v"], [pattern("net/(.*)/v", r"\1/w")], {"a/w": "net/a/v", "b/w": "net/b/v"}),
        (
            ["w_a", "w_b"],
            [pattern("(?P<what>w)_(?P<layer>.)", r"\g<layer>/\g<what>")],
            {"a/w": "w_a", "b/w": "w_b"},
        ),
        (["a/w", "b/w"], [exact("a/w", "b/w"), exact("b/w", "a/w")], {"a/w": "b/w", "b/w": "a/w"}),
        (["one"], [exact("one", "a/w"), exact("one", "b/w")], {"a/w": "one", "b/w": "one"}),
        (["a/w"], [exact("a/w", "a/w"), exact("a/w", "b/w")], {"a/w": "a/w", "b/w": "a/w"}),
        (["b/w", "b/w/Adam"], [pattern("b/(.*)", r"a/\1"), exact("b/w", "b/w")], {"a/w": "b/w", "b/w": "b/w"}),
    ],
    ids=["exact", "two exact", "groups", "named groups", "swap", "fan-out", "fan-out and itself", "copy"],
)
def test_rules_map_names_of_the_checkpoint_to_variables(
    available: list[str], rules: list[RenameRule], targets: dict[str, str]
) -> None:
    assert sources(plan_of(VARIABLES, names(*available), rename=rules)) == targets


def test_rename_there_and_back_is_the_identity() -> None:
    there = [exact("a/w", "b/w"), exact("b/w", "a/w")]
    first = sources(plan_of(VARIABLES, VARIABLES, rename=there))
    assert {first[source] for source in first.values()} == set(VARIABLES)
    assert {name: first[first[name]] for name in first} == {name: name for name in VARIABLES}


def test_a_renamed_name_no_longer_matches_its_own_variable() -> None:
    assert problems(VARIABLES, names("a/w"), rename=[exact("a/w", "b/w")]) == [
        "restore: variable 'a/w' gets no value from the checkpoint; names: a/w; "
        "add a rename rule, or add it to keep_initial"
    ]


def test_every_mistake_is_reported_in_one_message() -> None:
    available = {"a/w": (2, 3), "other": (2, 3), "c/w": (3, 2), "bb/w": (2, 3)}
    targets = {**VARIABLES, "c/w": (2, 3), "d": ()}
    rules = [
        exact("othr", "a/w"),
        exact("a/w", "a/w"),
        exact("other", "a/w"),
        pattern("bb/(.*)", r"nowhere/\1"),
        pattern("x/.*", "a/w"),
    ]
    assert problems(targets, available, rename=rules, keep_initial=["dd"]) == [
        "restore.keep_initial: 'dd' matches no variable; did you mean 'd'? variables: a/w, b/w, c/w, d",
        "restore.rename[0]: 'othr' matches no name in the checkpoint; did you mean 'other'? names: a/w, other, c/w, "
        "bb/w",
        "restore.rename[2]: variable 'a/w' would get both 'a/w' (rename[1]) and 'other'; keep one",
        "restore.rename[3]: 'nowhere/w' is not a variable to restore; variables: a/w, b/w, c/w, d",
        "restore.rename[4]: 'x/.*' matches no name in the checkpoint; names: a/w, other, c/w, bb/w",
        "restore: variable 'b/w' gets no value from the checkpoint; did you mean 'bb/w'? names: a/w, other, c/w, bb/w; "
        "add a rename rule, or add it to keep_initial",
        "restore: variable 'c/w' has shape [2, 3], 'c/w' in the checkpoint has [3, 2]; make the network fit, "
        "give its rule a transform or on_shape_mismatch, or add 'c/w' to keep_initial",
        "restore: variable 'd' gets no value from the checkpoint; add a rename rule, or add it to keep_initial",
    ]


def test_one_pattern_that_sends_two_names_to_one_variable_collides() -> None:
    rules = [pattern(".*/old", "a/w")]
    assert problems({"a/w": (2, 3)}, names("x/old", "y/old"), rename=rules) == [
        "restore.rename[0]: variable 'a/w' would get both 'x/old' (rename[0]) and 'y/old'; keep one"
    ]


def test_the_target_of_a_rule_without_effect_is_corrected() -> None:
    assert problems(VARIABLES, names("a/w", "b/w", "x"), rename=[exact("x", "b/ww")]) == [
        "restore.rename[0]: 'b/ww' is not a variable to restore; did you mean 'b/w'? variables: a/w, b/w"
    ]


def test_keep_initial_excludes_variables_by_regular_expression_over_whole_names() -> None:
    targets = {**VARIABLES, "head/w": (9, 9), "head/b": (9,)}
    plan = plan_of(targets, names("a/w", "b/w"), keep_initial=["head/.*", ".*/b"])
    assert (plan.kept_initial, set(sources(plan))) == (("head/w", "head/b"), {"a/w", "b/w"})
    assert "'a' matches no variable" in problems(VARIABLES, VARIABLES, keep_initial=["a"])[0]


def test_a_rule_for_a_variable_that_keeps_its_initial_value_has_no_effect() -> None:
    assert problems(VARIABLES, names("a/w", "b/w", "x"), rename=[exact("x", "a/w")], keep_initial=["a/w"]) == [
        "restore.rename[0]: 'a/w' is not a variable to restore; did you mean 'b/w'? variables: b/w"
    ]


WITH_EMA = names("a/w", f"a/w{EMA}", "b/w", f"b/w{EMA}", "global_step")


def test_ema_restores_every_variable_from_its_ema() -> None:
    plan = plan_of(VARIABLES, WITH_EMA, weights="ema", ema_required=["a/w", "b/w"])
    assert [(item.sources, item.weights) for item in plan.assignments] == [((name + EMA,), "ema") for name in VARIABLES]
    assert plan.unused == {"restore": ("a/w", "b/w", "global_step")}


def test_a_required_ema_that_is_absent_is_an_error_and_never_the_raw_value() -> None:
    available = names("a/w", "b/w", f"b/w{EMA}")
    assert problems(VARIABLES, available, weights="ema", ema_required=["a/w", "b/w"]) == [
        f"restore: variable 'a/w' has no EMA in the checkpoint: 'a/w{EMA}' is absent; set weights to "
        "ema_if_present or raw, or leave the variable out of ema.variables"
    ]


def test_ema_uses_raw_values_where_no_ema_is_required_or_present() -> None:
    available = names("a/w", f"a/w{EMA}", "b/w")
    plan = plan_of(VARIABLES, available, weights="ema", ema_required=["a/w"])
    assert [(item.sources, item.weights) for item in plan.assignments] == [
        ((f"a/w{EMA}",), "ema"),
        (("b/w",), "raw"),
    ]


def test_ema_uses_an_ema_in_the_file_even_where_none_is_required() -> None:
    plan = plan_of(VARIABLES, WITH_EMA, weights="ema", ema_required=[])
    assert sources(plan) == {name: name + EMA for name in VARIABLES}


def test_ema_works_on_a_file_of_emas_alone() -> None:
    available = names(f"a/w{EMA}", f"old{EMA}")
    plan = plan_of(VARIABLES, available, weights="ema", ema_required=list(VARIABLES), rename=[exact("old", "b/w")])
    assert sources(plan) == {"a/w": f"a/w{EMA}", "b/w": f"old{EMA}"}


def test_raw_values_are_missing_from_a_file_of_emas_alone() -> None:
    assert problems({"a/w": (2, 3)}, names(f"a/w{EMA}")) == [
        f"restore: variable 'a/w' gets no value from the checkpoint; names: a/w{EMA}; add a rename rule, or add it "
        "to keep_initial"
    ]


def test_rules_rename_the_ema_with_its_owner() -> None:
    available = names("old/a", f"old/a{EMA}", "b/w", f"b/w{EMA}")
    rules = [exact("old/a", "a/w")]
    ema = plan_of(VARIABLES, available, weights="ema", ema_required=list(VARIABLES), rename=rules)
    assert sources(ema)["a/w"] == f"old/a{EMA}"
    raw = plan_of(VARIABLES, available, rename=rules, emas=list(VARIABLES))
    assert sources(raw) == {
        "a/w": "old/a",
        f"a/w{EMA}": f"old/a{EMA}",
        "b/w": "b/w",
        f"b/w{EMA}": f"b/w{EMA}",
    }


def test_emas_are_swapped_with_their_owners() -> None:
    rules = [exact("a/w", "b/w"), exact("b/w", "a/w")]
    plan = plan_of(VARIABLES, WITH_EMA, rename=rules, emas=list(VARIABLES))
    assert sources(plan) == {
        "a/w": "b/w",
        f"a/w{EMA}": f"b/w{EMA}",
        "b/w": "a/w",
        f"b/w{EMA}": f"a/w{EMA}",
    }


def test_a_pattern_over_all_names_covers_emas_and_is_not_a_mistake() -> None:
    available = names("old/a/w", f"old/a/w{EMA}", "old/b/w", f"old/b/w{EMA}", "old/a/w/Adam")
    plan = plan_of(VARIABLES, available, rename=[pattern("old/(.*)", r"\1")], emas=list(VARIABLES))
    assert sources(plan)[f"a/w{EMA}"] == f"old/a/w{EMA}"
    ema = plan_of(
        VARIABLES, available, rename=[pattern("old/(.*)", r"\1")], weights="ema", ema_required=list(VARIABLES)
    )
    assert sources(ema) == {"a/w": f"old/a/w{EMA}", "b/w": f"old/b/w{EMA}"}


def test_an_ema_of_another_shape_is_an_error_too() -> None:
    available = {**WITH_EMA, f"a/w{EMA}": (9,)}
    targets = (
        f"restore: variable 'a/w' has shape [2, 3], 'a/w{EMA}' in the checkpoint has [9]; make the network fit, "
        "give its rule a transform or on_shape_mismatch, or add 'a/w' to keep_initial"
    )
    assert problems(VARIABLES, available, weights="ema", ema_required=list(VARIABLES)) == [targets]
    assert problems(VARIABLES, available, emas=list(VARIABLES)) == [
        f"restore: variable 'a/w{EMA}' has shape [2, 3], 'a/w{EMA}' in the checkpoint has [9]; make the network "
        "fit, give its rule a transform or on_shape_mismatch, or add 'a/w' to keep_initial"
    ]


def test_problems_name_the_section_that_requested_the_restore() -> None:
    plan = restore_plan(targets_of({"v": ()}), [opened({}, at="runs/x")], at="runs/x")
    assert str(plan.issues[0].problem).startswith("runs/x: variable 'v' gets no value")


def test_issues_of_an_incomplete_plan_have_kinds() -> None:
    targets = {**VARIABLES, "c/w": (9,)}
    plan = plan_of(targets, names("a/w", "c/w"), rename=[exact("x", "b/w")])
    assert (plan.complete, plan.loaded, plan.variables) == (False, "1/3", 3)
    kinds = {"missing": ("b/w",), "shape": ("c/w",), "rule": ("restore.rename[0]",), "collision": ()}
    assert {kind: plan.about(kind) for kind in kinds} == kinds


@pytest.mark.parametrize(
    ("available", "prefix", "to", "targets"),
    [
        (["old/a/w", "old/b/w"], "old/", "", {"a/w": "old/a/w", "b/w": "old/b/w"}),
        (["a/w", "b/w"], "", "net/", {"net/a/w": "a/w", "net/b/w": "b/w"}),
        (["cc/w", "b/w"], "c", "a", {"ac/w": "cc/w", "b/w": "b/w"}),
    ],
    ids=["scope off", "scope on", "part of a name"],
)
def test_a_prefix_is_replaced_literally(available: list[str], prefix: str, to: str, targets: dict[str, str]) -> None:
    assert sources(plan_of(names(*targets), names(*available), rename=[{"prefix": prefix, "to": to}])) == targets


def test_a_prefix_that_matches_nothing_is_reported() -> None:
    assert problems(VARIABLES, VARIABLES, rename=[{"prefix": "c/", "to": ""}]) == [
        "restore.rename[0]: 'c/' matches no name in the checkpoint; names: a/w, b/w"
    ]


def test_of_two_rules_for_one_name_and_variable_the_first_applies() -> None:
    rules = [exact("x/a/w", "a/w", transform=[{"scale": 2.0}]), pattern("x/(.*)", r"\1")]
    plan = plan_of(VARIABLES, names("x/a/w", "x/b/w"), rename=rules)
    assert {item.variable: item.changes for item in plan.assignments} == {"a/w": "scale 2", "b/w": ""}
    assert problems(VARIABLES, names("x/a/w", "x/b/w"), rename=rules[::-1]) == [
        "restore.rename[1]: has no effect: earlier rules cover everything that 'x/a/w' matches; move it before "
        "them, or leave it out"
    ]


def test_an_optional_rule_may_match_nothing_and_reach_nothing() -> None:
    rules = [exact("x", "a/w", optional=True), exact("y", "z", optional=True)]
    assert sources(plan_of(VARIABLES, names("a/w", "b/w", "y"), rename=rules)) == {"a/w": "a/w", "b/w": "b/w"}


def test_include_and_exclude_select_names_of_the_file() -> None:
    available = names("a/w", "b/w", "x/a/w")
    rules = [pattern("x/(.*)", r"\1")]
    assert problems(VARIABLES, available, rename=rules, exclude=["x/.*"])[0] == (
        "restore.rename[0]: 'x/(.*)' matches no name in the checkpoint; names: a/w, b/w"
    )
    assert sources(plan_of(VARIABLES, available, exclude=["x/.*"])) == {"a/w": "a/w", "b/w": "b/w"}
    plan = plan_of(VARIABLES, available, include=["a/.*"], keep_initial=["b/.*"])
    assert (sources(plan), plan.unused) == ({"a/w": "a/w"}, {"restore": ("b/w", "x/a/w")})
    assert problems(VARIABLES, available, include=[".*", "c"], exclude=["d"]) == [
        "restore.include: 'c' matches no name in the checkpoint; names: a/w, b/w, x/a/w",
        "restore.exclude: 'd' matches no name in the checkpoint; names: a/w, b/w, x/a/w",
    ]


def two(first: Shapes, other: Shapes, keep_initial: Sequence[str] = (), **asked: Any) -> Plan:
    """Return the plan of two files; what is asked is asked of the second."""
    at = "restore.sources.head"
    return restore_plan(targets_of(VARIABLES), [opened(first), opened(other, at, **asked)], keep_initial)


def test_each_file_gives_its_variables_and_rules_take_precedence_over_equal_names() -> None:
    plan = two(names("a/w"), names("b/w"))
    assert {item.variable: item.checkpoint for item in plan.assignments} == {
        "a/w": "restore",
        "b/w": "restore.sources.head",
    }
    ruled = two(names("a/w", "b/w"), names("old"), rename=[exact("old", "b/w")])
    assert sources(ruled) == {"a/w": "a/w", "b/w": "old"}
    assert ruled.unused == {"restore": ("b/w",), "restore.sources.head": ()}


def test_two_files_for_one_variable_are_an_error_with_a_fix() -> None:
    plan = two(names("a/w", "b/w"), names("b/w"))
    assert [str(issue.problem) for issue in plan.issues] == [
        "restore: variable 'b/w' would get its value from restore (restore.ckpt) and restore.sources.head "
        "(restore.sources.head.ckpt); leave it out of one with exclude"
    ]
    assert plan.about("collision") == ("b/w",)
    rules = two(names("a/w", "x"), names("y"), rename=[exact("y", "a/w")])
    assert rules.about("missing") == ("b/w",)
    both = restore_plan(
        targets_of(VARIABLES),
        [
            opened(names("x", "b/w"), rename=[exact("x", "a/w")]),
            opened(names("y"), "other", rename=[exact("y", "a/w")]),
        ],
    )
    assert [str(issue.problem) for issue in both.issues] == [
        "other.rename[0]: variable 'a/w' would get both 'x' (restore.rename[0]) and 'y'; keep one"
    ]


def test_each_file_has_its_own_weights() -> None:
    targets = targets_of(VARIABLES, ema_required=list(VARIABLES))
    both = [opened(WITH_EMA, exclude=["b/.*"]), opened(WITH_EMA, "other", exclude=["a/.*"], weights="ema")]
    assert sources(restore_plan(targets, both)) == {"a/w": "a/w", "b/w": f"b/w{EMA}"}


def test_emas_are_used_where_present_and_raw_values_elsewhere() -> None:
    available = names("a/w", f"a/w{EMA}", "b/w")
    plan = plan_of(VARIABLES, available, weights="ema_if_present", ema_required=list(VARIABLES))
    assert [(item.sources, item.weights) for item in plan.assignments] == [
        ((f"a/w{EMA}",), "ema"),
        (("b/w",), "raw"),
    ]


def test_an_ema_that_is_not_in_the_file_starts_as_its_variable() -> None:
    plan = plan_of(VARIABLES, names("old", "b/w"), rename=[exact("old", "a/w")], emas=list(VARIABLES))
    assert sources(plan) == {"a/w": "old", "b/w": "b/w", f"a/w{EMA}": "old", f"b/w{EMA}": "b/w"}
    averaged = plan_of(VARIABLES, WITH_EMA, weights="ema", ema_required=list(VARIABLES), emas=["a/w"])
    assert sources(averaged)[f"a/w{EMA}"] == f"a/w{EMA}"


def test_every_assignment_names_its_rule() -> None:
    targets = targets_of(VARIABLES | {"c/w": (2, 6)}, ema_required=list(VARIABLES), emas=["a/w", "b/w"], slots=["Adam"])
    first = opened(
        names("old", f"old{EMA}", "old/Adam", "q", "k", "q/Adam", "k/Adam"),
        rename=[pattern("(q)", "c/w", concat=["k"], axis=1), exact("old", "a/w")],
    )
    other = opened(
        names("b/x", "b/x/Adam", global_step=()), "restore.sources.head", rename=[{"prefix": "b/x", "to": "b/w"}]
    )
    plan = restore_plan(targets | targets_of({}, counters=["global_step"]), [first, other])
    plan.check()
    joined = r"rename[0] '(q)' + 'k' -> 'c/w'"
    head = "sources.head.rename[0] 'b/x' -> 'b/w'"
    assert {item.variable: str(item.origin) for item in plan.assignments} == {
        "a/w": "rename[1] 'old' -> 'a/w'",
        "b/w": head,
        "c/w": joined,
        f"a/w{EMA}": "rename[1] 'old' -> 'a/w', renamed with its owner",
        f"b/w{EMA}": f"{head}, EMA starts as its variable",
        "a/w/Adam": "rename[1] 'old' -> 'a/w', renamed with its owner",
        "b/w/Adam": head,
        "c/w/Adam": f"{joined}, renamed with its owner",
        "global_step": "same name",
    }


@pytest.mark.parametrize(
    ("counter", "stored", "wanted"), [("global_step", "int32", "int64"), ("beta1_power", "float64", "float32")]
)
def test_a_counter_of_another_width_is_cast_by_itself(counter: str, stored: str, wanted: str) -> None:
    target = Target(spec=TensorSpec.of_variable((), wanted), role="counter")
    source = opened({counter: ()})
    source.variables[counter] = TensorSpec.of_variable((), stored)
    plan = restore_plan({counter: target}, [source])
    plan.check()
    assert [str(transform) for transform in plan.assignments[0].transforms] == [f"cast {wanted}"]
    assert plan.assignments[0].spec.dtype == wanted


def test_a_counter_that_is_no_integer_is_not_cast() -> None:
    target = Target(spec=TensorSpec.of_variable((), "int64"), role="counter")
    source = opened({"global_step": ()})  # float32
    (issue,) = restore_plan({"global_step": target}, [source]).issues
    assert issue.kind == "dtype"


def test_a_raw_value_in_place_of_an_ema_has_a_note() -> None:
    plan = plan_of(VARIABLES, WITH_EMA | names("c/w"), weights="ema_if_present", ema_required=list(VARIABLES))
    assert {str(item.origin) for item in plan.assignments} == {"same name"}
    plan = plan_of(VARIABLES, names(*VARIABLES), weights="ema_if_present", ema_required=["a/w"])
    assert [str(item.origin) for item in plan.assignments] == ["same name, no EMA in the file", "same name"]


def test_a_required_ema_variable_that_is_absent_is_reported() -> None:
    targets = targets_of(VARIABLES) | {f"a/w{EMA}": Target(spec=SPEC, role="average", owner="a/w", ema_required=True)}
    plan = restore_plan(targets, [opened(names("a/w", "b/w"))])
    assert [str(issue.problem) for issue in plan.issues] == [
        f"restore: the EMA of 'a/w' is not in the checkpoint: 'a/w{EMA}' is absent"
    ]


def test_names_are_joined_into_one_variable_in_the_order_of_the_rule() -> None:
    targets = {"q1/w": (2, 6), "q2/w": (2, 6)}
    available = {f"layer_{i}/{part}/w": (2, size) for i in (1, 2) for part, size in (("q", 1), ("k", 2), ("v", 3))}
    rule = pattern(r"layer_(\d)/q/w", r"q\1/w", concat=[r"layer_\1/k/w", r"layer_\1/v/w"], axis=1)
    plan = plan_of(targets, available, rename=[rule])
    assert sources(plan)["q2/w"] == "layer_2/q/w+layer_2/k/w+layer_2/v/w"
    assert {item.changes for item in plan.assignments} == {"concat axis 1"}


def test_sources_that_cannot_be_joined_are_reported() -> None:
    targets, available = {"qk": (2, 6)}, {"q": (2, 3), "k": (3, 3), "s": ()}
    from_both = "restore.rename[0]: variable 'qk' from 'q' + 'k': shapes [2, 3], [3, 3]"
    for other, axis, said in (
        ("k", 1, f"{from_both} differ in more than dimension 1"),
        ("k", 2, f"{from_both} have no dimension 2 to join along"),
        ("x", 1, "restore.rename[0]: x, to join with 'q', is not in the checkpoint; names: q, k, s"),
    ):
        assert problems(targets, available, rename=[exact("q", "qk", concat=[other], axis=axis)])[0] == said


def test_many_to_one_is_rejected_without_concat() -> None:
    assert problems({"a/w": (2, 3)}, names("x", "y"), rename=[exact("x", "a/w"), exact("y", "a/w")]) == [
        "restore.rename[1]: variable 'a/w' would get both 'x' (rename[0]) and 'y'; keep one"
    ]


def test_transforms_make_shapes_and_types_fit_in_order() -> None:
    steps = [{"reshape": [-1, 4]}, {"slice": [[1, 3], None]}, {"transpose": [1, 0]}, {"pad": [[0, 0], [1, 0]]}]
    plan = plan_of({"v": (4, 3)}, {"v": (24,)}, rename=[exact("v", transform=[*steps, {"scale": 0.5}])])
    assert sources(plan) == {"v": "v"}
    assert plan.assignments[0].changes == (
        "reshape [-1, 4], slice [[1, 3], null], transpose [1, 0], pad [[0, 0], [1, 0]], scale 0.5"
    )
    cast = restore_plan(
        targets_of({"v": ()}), [opened({"v": ()}, dtype="int64", rename=[exact("v", transform=[{"cast": "float32"}])])]
    )
    assert cast.complete


def test_another_dtype_is_reported_with_the_cast_that_fixes_it() -> None:
    plan = restore_plan(targets_of({"v": ()}), [opened({"v": ()}, dtype="int64")])
    assert [str(issue.problem) for issue in plan.issues] == [
        "restore: variable 'v' is float32, 'v' in the checkpoint is int64; give its rule transform: [{cast: float32}], "
        "or add 'v' to keep_initial"
    ]


@pytest.mark.parametrize("dtype", ["complex64", "string"])
def test_no_cast_is_suggested_where_none_preserves_the_value(dtype: str) -> None:
    plan = restore_plan(targets_of({"v": ()}), [opened({"v": ()}, dtype=dtype)])
    assert [str(issue.problem) for issue in plan.issues] == [
        f"restore: variable 'v' is float32, 'v' in the checkpoint is {dtype}; add 'v' to keep_initial"
    ]


def test_a_shape_that_differs_after_a_transform_is_reported_as_transformed() -> None:
    assert problems({"v": (2,)}, {"v": (2, 3)}, rename=[exact("v", transform=[{"reshape": [6]}])]) == [
        "restore.rename[0]: variable 'v' has shape [2], 'v' after its rule has [6]; make the network fit, give "
        "its rule a transform or on_shape_mismatch, or add 'v' to keep_initial"
    ]


def test_a_rule_may_skip_shapes_that_differ() -> None:
    rules = [pattern(".*", on_shape_mismatch="skip")]
    plan = plan_of({**VARIABLES, "head": (5,)}, {**VARIABLES, "head": (9,)}, rename=rules, emas=["head"])
    assert (sources(plan), plan.skipped) == ({"a/w": "a/w", "b/w": "b/w"}, {"head": "head"})
    assert plan.kept_initial == (f"head{EMA}",)


def test_a_rule_may_slice_or_pad_shapes_that_differ() -> None:
    rule = exact("v", on_shape_mismatch="slice_or_pad")
    plan = plan_of({"v": (2, 5)}, {"v": (3, 4), f"v{EMA}": (3, 4)}, rename=[rule], emas=["v"])
    assert {item.changes for item in plan.assignments} == {"slice [[0, 2], null], pad [[0, 0], [0, 1]]"}
    assert len(plan.assignments) == 2
    assert problems({"v": (2, 5)}, {"v": (10,)}, rename=[rule]) == [
        "restore.rename[0]: variable 'v' from 'v': [10] and [2, 5] have different numbers of dimensions"
    ]


SLOTS = ("Adam", "Adam_1")


def slotted(*variables: str) -> dict[str, tuple[int, ...]]:
    return names(
        *variables, *(f"{name}/{slot}" for name in variables for slot in SLOTS), beta1_power=(), global_step=()
    )


def test_slots_and_counters_are_renamed_with_their_owner() -> None:
    asked = {"slots": SLOTS, "counters": ["beta1_power", "global_step"], "emas": ["a/w"]}
    available = {**slotted("x/w", "b/w"), f"x/w{EMA}": (2, 3)}
    for rule in (exact("x/w", "a/w"), pattern("x/(.*)", r"a/\1")):
        assert sources(plan_of(VARIABLES, available, rename=[rule], **asked)) == {
            "a/w": "x/w",
            "b/w": "b/w",
            f"a/w{EMA}": f"x/w{EMA}",
            "a/w/Adam": "x/w/Adam",
            "a/w/Adam_1": "x/w/Adam_1",
            "b/w/Adam": "b/w/Adam",
            "b/w/Adam_1": "b/w/Adam_1",
            "beta1_power": "beta1_power",
            "global_step": "global_step",
        }


def test_slots_are_swapped_with_their_owners() -> None:
    rules = [exact("a/w", "b/w"), exact("b/w", "a/w")]
    plan = sources(plan_of(VARIABLES, slotted(*VARIABLES), rename=rules, slots=SLOTS))
    assert {name: plan[name] for name in plan if "Adam" in name} == {
        f"{name}/{slot}": f"{other}/{slot}" for name, other in (("a/w", "b/w"), ("b/w", "a/w")) for slot in SLOTS
    }


def test_a_rule_over_all_names_does_not_remove_counters() -> None:
    available = {**slotted("a/w"), "global_step": ()}
    plan = plan_of({"net/a/w": (2, 3)}, available, rename=[{"prefix": "", "to": "net/"}], counters=["global_step"])
    assert sources(plan) == {"net/a/w": "a/w", "global_step": "global_step"}


def test_slots_of_another_programs_naming_are_reached_by_rules() -> None:
    rules = [pattern("(.*)/adam_m", r"\1/Adam"), pattern("(.*)/adam_v", r"\1/Adam_1")]
    plan = plan_of({"a/w": (2, 3)}, names("a/w", "a/w/adam_m", "a/w/adam_v"), rename=rules, slots=SLOTS)
    assert sources(plan) == {"a/w": "a/w", "a/w/Adam": "a/w/adam_m", "a/w/Adam_1": "a/w/adam_v"}


def test_an_absent_slot_is_reported_with_fixes() -> None:
    available = names("a/w", "a/w/Adam")
    assert problems({"a/w": (2, 3)}, available, slots=SLOTS) == [
        "restore: slot 'a/w/Adam_1' gets no value: 'a/w/Adam_1' is not in the checkpoint; set optimizer to reset, or "
        "add the slot to keep_initial"
    ]
    plan = plan_of({"a/w": (2, 3)}, available, ["a/w/Adam_1"], slots=SLOTS)
    assert (plan.complete, plan.kept_initial) == (True, ("a/w/Adam_1",))


def test_slots_and_emas_keep_their_initial_values_with_their_owner() -> None:
    plan = plan_of(VARIABLES, slotted("b/w"), ["a/w"], slots=SLOTS, emas=["a/w"])
    assert (plan.complete, set(plan.kept_initial)) == (True, {"a/w", f"a/w{EMA}", "a/w/Adam", "a/w/Adam_1"})


def test_slots_are_transformed_as_their_owner_and_never_scaled() -> None:
    available = {name: tuple(reversed(shape)) for name, shape in slotted("a/w").items()}
    turned = exact("a/w", transform=[{"transpose": [1, 0]}])
    plan = plan_of({"a/w": (2, 3)}, available, rename=[turned], slots=SLOTS)
    assert {item.changes for item in plan.assignments} == {"transpose [1, 0]"}
    scaled = exact("a/w", transform=[{"scale": 2.0}])
    assert problems({"a/w": (2, 3)}, slotted("a/w"), rename=[scaled], slots=SLOTS[:1]) == [
        "restore.rename[0]: variable 'a/w/Adam' from 'a/w/Adam': a slot does not scale as its variable does; set "
        "optimizer to reset"
    ]


@pytest.mark.parametrize("weights", ["raw", "ema", "ema_if_present"])
def test_a_rule_may_name_emas_themselves(weights: str) -> None:
    available = names(f"train/a/w{EMA}", f"train/b/w{EMA}", "a/w")
    rule = pattern(f"train/(.*){EMA}", r"\1")
    plan = plan_of(VARIABLES, available, rename=[rule], weights=weights, ema_required=list(VARIABLES), emas=["a/w"])
    assert sources(plan) == {name: f"train/{name}{EMA}" for name in VARIABLES} | {f"a/w{EMA}": f"train/a/w{EMA}"}
    assert {item.weights for item in plan.assignments} == {"ema"}


def test_any_permutation_of_names_renames_slots_and_emas_there_and_back() -> None:
    for seed in range(30):
        draw = random.Random(seed)
        variables = [f"{draw.choice('ab')}/{draw.choice('cd')}/v{i}" for i in range(8)]
        others = [f"other/v{i}" if draw.random() < 0.3 else name for i, name in enumerate(variables)]
        to = dict(zip(variables, draw.sample(others, len(others)), strict=True))
        there = [exact(name, target) for name, target in to.items()]
        back = [exact(target, name) for name, target in to.items()]
        draw.shuffle(there)
        available = {**slotted(*variables), **{name + EMA: (2, 3) for name in variables}}
        ends = ("", EMA, "/Adam", "/Adam_1")

        def carried(shapes: Shapes, asked: Shapes, rename: list[RenameRule]) -> dict[str, str]:
            return sources(plan_of(asked, shapes, rename=rename, slots=SLOTS, emas=list(asked)))

        moved = carried(available, names(*others), there)
        assert moved == {target + end: name + end for name, target in to.items() for end in ends}
        again = carried(dict.fromkeys(moved, (2, 3)), names(*variables), back)
        assert {name: moved[source] for name, source in again.items()} == {
            name + end: name + end for name in variables for end in ends
        }


def test_a_state_is_restored_where_batches_have_the_same_size_and_starts_with_zeros_otherwise() -> None:
    targets = {
        **targets_of({"a/w": (2, 3)}),
        **{
            name: Target(spec=TensorSpec.of_variable((8, 3), "float32"), role="state")
            for name in ("a/carried_h", "a/carried_c", "b/carried_h")
        },
    }
    file = {"a/w": (2, 3), "a/carried_h": (8, 3), "a/carried_c": (4, 3)}
    plan = restore_plan(targets, [opened(file)])
    assert sources(plan) == {"a/w": "a/w", "a/carried_h": "a/carried_h"}
    assert plan.skipped == {"a/carried_c": "a/carried_c"}
    assert plan.kept_initial == ("b/carried_h",)
    assert (plan.loaded, plan.unused) == ("1/1", {"restore": ("a/carried_c",)})
    moved = restore_plan(targets, [opened(file, rename=[exact("a/carried_h", "b/carried_h")])])
    assert sources(moved) == {"a/w": "a/w", "b/carried_h": "a/carried_h"}
