"""The restore plan as a value: a true map, and every mistake in one message."""

from __future__ import annotations

from typing import Any

import pytest

from expkit.checkpoints.rename import Pair, Plan, restore_plan
from expkit.config.schema import RenameRule
from expkit.errors import CheckpointError

SHADOW = "/ExponentialMovingAverage"
WANTED = {"a/w": (2, 3), "b/w": (2, 3)}


def names(*variables: str, **shapes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {**dict.fromkeys(variables, (2, 3)), **shapes}


def exact(name: str, to: str) -> RenameRule:
    return RenameRule(name=name, to=to)


def pattern(word: str, to: str) -> RenameRule:
    return RenameRule(pattern=word, to=to)


def sources(plan: Plan) -> dict[str, str]:
    return {pair.variable: pair.source for pair in plan.pairs}


def problems(wanted: Any, available: Any, **asked: Any) -> list[str]:
    with pytest.raises(CheckpointError) as caught:
        restore_plan(wanted, available, **asked)
    return [str(problem) for problem in caught.value.problems]


def test_names_that_agree_need_no_rule() -> None:
    plan = restore_plan(WANTED, names("b/w", "a/w", "global_step"))
    assert plan == Plan((Pair("a/w", "a/w", "raw"), Pair("b/w", "b/w", "raw")), (), ("global_step",))


@pytest.mark.parametrize(
    ("available", "rules", "wanted"),
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
    available: list[str], rules: list[RenameRule], wanted: dict[str, str]
) -> None:
    assert sources(restore_plan(WANTED, names(*available), rename=rules)) == wanted


def test_rename_there_and_back_is_the_identity() -> None:
    there = [exact("a/w", "b/w"), exact("b/w", "a/w")]
    first = sources(restore_plan(WANTED, WANTED, rename=there))
    assert {first[source] for source in first.values()} == set(WANTED)
    assert {name: first[first[name]] for name in first} == {name: name for name in WANTED}


def test_a_name_sent_elsewhere_no_longer_stands_for_itself() -> None:
    assert problems(WANTED, names("a/w"), rename=[exact("a/w", "b/w")]) == [
        "restore: variable 'a/w' gets no value from the checkpoint; names: a/w; "
        "add a rename rule, or add the variable to keep_initial"
    ]


def test_every_mistake_is_told_in_one_message() -> None:
    available = {"a/w": (2, 3), "other": (2, 3), "c/w": (3, 2), "bb/w": (2, 3)}
    wanted = {**WANTED, "c/w": (2, 3), "d": ()}
    rules = [
        exact("othr", "a/w"),
        exact("a/w", "a/w"),
        exact("other", "a/w"),
        pattern("bb/(.*)", r"nowhere/\1"),
        pattern("x/.*", "a/w"),
        pattern("(", "a/w"),
        pattern("b.*", r"\2"),
    ]
    assert problems(wanted, available, rename=rules, keep_initial=["dd", "("]) == [
        "restore.keep_initial: 'dd' matches no variable; did you mean 'd'? variables: a/w, b/w, c/w, d",
        "restore.keep_initial: '(' is no regular expression: missing ), unterminated subpattern at position 0",
        "restore.rename[0]: 'othr' matches no name in the checkpoint; did you mean 'other'? names: a/w, other, c/w, "
        "bb/w",
        "restore.rename[2]: variable 'a/w' would get both 'a/w' (rename[1]) and 'other'; keep one",
        "restore.rename[3]: 'nowhere/w' is no variable to restore; variables: a/w, b/w, c/w, d",
        "restore.rename[4]: 'x/.*' matches no name in the checkpoint; names: a/w, other, c/w, bb/w",
        "restore.rename[5]: '(' -> 'a/w' is no regular expression rule: missing ), unterminated subpattern at "
        "position 0",
        "restore.rename[6]: 'b.*' -> '\\2' is no regular expression rule: invalid group reference 2 at position 1",
        "restore: variable 'b/w' gets no value from the checkpoint; did you mean 'bb/w'? names: a/w, other, c/w, bb/w; "
        "add a rename rule, or add the variable to keep_initial",
        "restore: variable 'c/w' has shape [2, 3], 'c/w' in the checkpoint has [3, 2]; make the network fit, or add "
        "'c/w' to keep_initial",
        "restore: variable 'd' gets no value from the checkpoint; names: a/w, other, c/w, bb/w; add a rename rule, or "
        "add the variable to keep_initial",
    ]


def test_one_pattern_that_sends_two_names_to_one_variable_collides() -> None:
    rules = [pattern(".*/old", "a/w")]
    assert problems({"a/w": (2, 3)}, names("x/old", "y/old"), rename=rules) == [
        "restore.rename[0]: variable 'a/w' would get both 'x/old' (rename[0]) and 'y/old'; keep one"
    ]


def test_the_target_of_a_useless_rule_is_corrected() -> None:
    assert problems(WANTED, names("a/w", "b/w", "x"), rename=[exact("x", "b/ww")]) == [
        "restore.rename[0]: 'b/ww' is no variable to restore; did you mean 'b/w'? variables: a/w, b/w"
    ]


def test_keep_initial_leaves_variables_out_by_regular_expression_over_whole_names() -> None:
    wanted = {**WANTED, "head/w": (9, 9), "head/b": (9,)}
    plan = restore_plan(wanted, names("a/w", "b/w"), keep_initial=["head/.*", ".*/b"])
    assert (plan.kept_initial, set(sources(plan))) == (("head/w", "head/b"), {"a/w", "b/w"})
    assert "'a' matches no variable" in problems(WANTED, WANTED, keep_initial=["a"])[0]


def test_a_rule_for_a_variable_that_keeps_its_initial_value_is_useless() -> None:
    assert problems(WANTED, names("a/w", "b/w", "x"), rename=[exact("x", "a/w")], keep_initial=["a/w"]) == [
        "restore.rename[0]: 'a/w' is no variable to restore; did you mean 'b/w'? variables: b/w"
    ]


AVERAGED = names("a/w", f"a/w{SHADOW}", "b/w", f"b/w{SHADOW}", "global_step")


def test_ema_takes_the_average_of_every_variable() -> None:
    plan = restore_plan(WANTED, AVERAGED, weights="ema", averaged=["a/w", "b/w"])
    assert plan.pairs == (Pair("a/w", f"a/w{SHADOW}", "ema"), Pair("b/w", f"b/w{SHADOW}", "ema"))
    assert plan.spare == ("a/w", "b/w", "global_step")


def test_an_expected_average_that_is_absent_is_an_error_and_never_the_raw_value() -> None:
    available = names("a/w", "b/w", f"b/w{SHADOW}")
    assert problems(WANTED, available, weights="ema", averaged=["a/w", "b/w"]) == [
        f"restore: variable 'a/w' has no average in the checkpoint: 'a/w{SHADOW}' is absent; set weights to raw, or "
        "leave the variable out of ema.variables"
    ]


def test_ema_takes_raw_values_where_no_average_is_expected_and_none_is_there() -> None:
    available = names("a/w", f"a/w{SHADOW}", "b/w")
    plan = restore_plan(WANTED, available, weights="ema", averaged=["a/w"])
    assert plan.pairs == (Pair("a/w", f"a/w{SHADOW}", "ema"), Pair("b/w", "b/w", "raw"))


def test_ema_uses_an_average_in_the_file_even_where_none_is_expected() -> None:
    plan = restore_plan(WANTED, AVERAGED, weights="ema", averaged=[])
    assert sources(plan) == {name: name + SHADOW for name in WANTED}


def test_ema_works_on_a_file_of_averages_alone() -> None:
    available = names(f"a/w{SHADOW}", f"old{SHADOW}")
    plan = restore_plan(WANTED, available, weights="ema", averaged=list(WANTED), rename=[exact("old", "b/w")])
    assert sources(plan) == {"a/w": f"a/w{SHADOW}", "b/w": f"old{SHADOW}"}


def test_raw_values_are_missing_from_a_file_of_averages_alone() -> None:
    assert problems({"a/w": (2, 3)}, names(f"a/w{SHADOW}")) == [
        f"restore: variable 'a/w' gets no value from the checkpoint; names: a/w{SHADOW}; add a rename rule, or add the "
        "variable to keep_initial"
    ]


def test_rules_carry_the_average_with_the_variable() -> None:
    available = names("old/a", f"old/a{SHADOW}", "b/w", f"b/w{SHADOW}")
    rules = [exact("old/a", "a/w")]
    ema = restore_plan(WANTED, available, weights="ema", averaged=list(WANTED), rename=rules)
    assert sources(ema)["a/w"] == f"old/a{SHADOW}"
    raw = restore_plan(WANTED, available, rename=rules, shadows=list(WANTED))
    assert sources(raw) == {
        "a/w": "old/a",
        f"a/w{SHADOW}": f"old/a{SHADOW}",
        "b/w": "b/w",
        f"b/w{SHADOW}": f"b/w{SHADOW}",
    }


def test_averages_are_swapped_with_their_variables() -> None:
    rules = [exact("a/w", "b/w"), exact("b/w", "a/w")]
    plan = restore_plan(WANTED, AVERAGED, rename=rules, shadows=list(WANTED))
    assert sources(plan) == {
        "a/w": "b/w",
        f"a/w{SHADOW}": f"b/w{SHADOW}",
        "b/w": "a/w",
        f"b/w{SHADOW}": f"a/w{SHADOW}",
    }


def test_a_pattern_over_all_names_takes_averages_along_and_is_no_mistake() -> None:
    available = names("old/a/w", f"old/a/w{SHADOW}", "old/b/w", f"old/b/w{SHADOW}", "old/a/w/Adam")
    plan = restore_plan(WANTED, available, rename=[pattern("old/(.*)", r"\1")], shadows=list(WANTED))
    assert sources(plan)[f"a/w{SHADOW}"] == f"old/a/w{SHADOW}"
    ema = restore_plan(WANTED, available, rename=[pattern("old/(.*)", r"\1")], weights="ema", averaged=list(WANTED))
    assert sources(ema) == {"a/w": f"old/a/w{SHADOW}", "b/w": f"old/b/w{SHADOW}"}


def test_an_average_of_another_shape_is_an_error_too() -> None:
    available = {**AVERAGED, f"a/w{SHADOW}": (9,)}
    wanted = (
        f"restore: variable 'a/w' has shape [2, 3], 'a/w{SHADOW}' in the checkpoint has [9]; make the network fit, or "
        "add 'a/w' to keep_initial"
    )
    assert problems(WANTED, available, weights="ema", averaged=list(WANTED)) == [wanted]
    assert problems(WANTED, available, shadows=list(WANTED)) == [
        f"restore: variable 'a/w{SHADOW}' has shape [2, 3], 'a/w{SHADOW}' in the checkpoint has [9]; make the network "
        "fit, or add 'a/w' to keep_initial"
    ]


def test_problems_name_the_place_that_asked() -> None:
    assert problems({"v": ()}, {}, at="runs/x")[0].startswith("runs/x: variable 'v' gets no value")
