"""Plans of new checkpoints: true maps of names, with slots and EMA variables following their owner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expkit.checkpoints.edit.plan import EditPlan, bake, copy, remove, rename, same_variables, select
from expkit.errors import CheckpointError

EMA = "/ExponentialMovingAverage"
W, B = (2, 3), (3,)
TRAINED = {
    "a/b": B,
    "a/w": W,
    "a/w/Adam": W,
    f"a/w{EMA}": W,
    f"a/w{EMA}/local_step": (),
    "c/w": W,
    "global_step": (),
    "train/c/w/Adam": W,
}


def moved(plan: EditPlan) -> dict[str, str]:
    """Return what has another name in the new file: new names by old."""
    return {source: name for name, source in plan.sources.items() if source != name}


def said(caught: pytest.ExceptionInfo[CheckpointError]) -> list[str]:
    return [str(problem) for problem in caught.value.problems]


def test_slots_emas_and_their_counters_are_renamed_with_their_owner() -> None:
    plan = rename(TRAINED, [("a/w", "x/kernel"), ("c/w", "y/kernel")], "rename")
    assert moved(plan) == {
        "a/w": "x/kernel",
        "a/w/Adam": "x/kernel/Adam",
        f"a/w{EMA}": f"x/kernel{EMA}",
        f"a/w{EMA}/local_step": f"x/kernel{EMA}/local_step",
        "c/w": "y/kernel",
        "train/c/w/Adam": "train/y/kernel/Adam",
    }
    assert list(plan.sources.values()) == list(TRAINED)


def test_names_are_swapped_and_exact_names_take_precedence() -> None:
    assert moved(rename({"a": 1, "b": 1}, [("a", "b"), ("b", "a")], "rename")) == {"a": "b", "b": "a"}
    rules = [(r"(\w+)/(.*)", r"\2/\1"), ("a/w/Adam", "kept"), ("global_step", "global_step"), ("c/w", "c/w")]
    plan = rename({name: TRAINED[name] for name in ("a/w", "a/w/Adam", "c/w", "global_step")}, rules, "rename")
    assert moved(plan) == {"a/w": "w/a", "a/w/Adam": "kept"}


NAMES = st.lists(st.sampled_from([f"s{i}/v{j}" for i in range(4) for j in range(3)]), unique=True, min_size=1)


@given(NAMES, st.data())
def test_any_permutation_of_names_is_carried_out_and_undone(names: list[str], data: st.DataObject) -> None:
    to = data.draw(st.permutations(names))
    variables = dict.fromkeys(names, W)
    there = rename(variables, list(zip(names, to, strict=True)), "rename")
    assert {source: name for name, source in there.sources.items()} == dict(zip(names, to, strict=True))
    back = rename(variables, list(zip(to, names, strict=True)), "rename")
    assert {name: there.sources[source] for name, source in back.sources.items()} == dict(
        zip(names, names, strict=True)
    )


@given(NAMES, st.data())
def test_a_random_map_is_carried_out_as_a_map_or_refused_for_its_collisions(
    names: list[str], data: st.DataObject
) -> None:
    slots = [f"{name}/Adam" for name in names if data.draw(st.booleans())]
    targets = st.sampled_from([*names, "x/1", "x/2", "x/3"])
    chosen = data.draw(st.dictionaries(st.sampled_from(names), targets))
    wanted = {name: chosen.get(name, name) for name in names}
    variables = dict.fromkeys([*names, *slots], W)
    if len(set(wanted.values())) == len(names):
        plan = rename(variables, list(chosen.items()), "rename")
        assert {source: name for name, source in plan.sources.items()} == {
            **wanted,
            **{slot: f"{wanted[slot.removesuffix('/Adam')]}/Adam" for slot in slots},
        }
    else:
        with pytest.raises(CheckpointError, match="would both be"):
            rename(variables, list(chosen.items()), "rename")


def test_all_mistakes_of_a_rename_are_reported_at_once() -> None:
    rules = [("a/wx", "b"), ("a/b", "c/w"), ("(", "x"), ("a/(w)", r"\2"), ("(c)/w", "p"), ("c/(w)", "q"), ("g.*", "")]
    with pytest.raises(CheckpointError) as caught:
        rename({name: TRAINED[name] for name in ("a/b", "a/w", "c/w", "global_step")}, rules, "rename")
    assert said(caught) == [
        "rename: 'a/wx' matches no name; did you mean 'a/w'? names: a/b, a/w, c/w, global_step",
        "rename: '(' -> 'x' is not a valid regular expression: missing ), unterminated subpattern at position 0",
        "rename: 'a/(w)' -> '\\2' is not a valid regular expression: invalid group reference 2 at position 1",
        "rename: 'c/w' would be 'p' by '(c)/w' and 'q' by 'c/(w)'; keep one",
        "rename: 'global_step' would have an empty name, by 'g.*'",
    ]
    with pytest.raises(CheckpointError) as caught:
        rename(TRAINED, [("a/b", "c/w")], "rename")
    assert said(caught) == ["rename: 'a/b' and 'c/w' would both be 'c/w'; give one of them another name"]


def test_slots_and_emas_are_removed_with_their_owner() -> None:
    plan = remove(TRAINED, ["a/w", ".*/Adam"], "remove")
    assert list(plan.sources) == ["a/b", "c/w", "global_step"]
    assert plan.dropped == ("a/w", "a/w/Adam", f"a/w{EMA}", f"a/w{EMA}/local_step", "train/c/w/Adam")
    with pytest.raises(CheckpointError, match=r"remove: nothing would be left of the 8 variables"):
        remove(TRAINED, [".*"], "remove")


def test_some_variables_are_copied_and_some_under_a_second_name_too() -> None:
    everything = copy(TRAINED, [], [("a/w", "b/w")], "copy")
    assert everything.sources == {
        **{name: name for name in TRAINED},
        "b/w": "a/w",
        "b/w/Adam": "a/w/Adam",
        f"b/w{EMA}": f"a/w{EMA}",
        f"b/w{EMA}/local_step": f"a/w{EMA}/local_step",
    }
    some = copy(TRAINED, ["c/w"], [("a/b", "bias")], "copy")
    assert some.sources == {
        "c/w": "c/w",
        "train/c/w/Adam": "train/c/w/Adam",
        "bias": "a/b",
    }
    assert "a/w" in some.dropped
    with pytest.raises(CheckpointError, match=r"copy: 'a/b' and 'c/w' would both be 'a/b'"):
        copy(TRAINED, [], [("c/w", "a/b")], "copy")


def test_emas_replace_the_variables_and_the_rest_is_unchanged() -> None:
    plan = bake({**TRAINED, f"lonely{EMA}": B}, "bake-ema")
    assert plan.sources == {
        **{name: name for name in TRAINED if EMA not in name},
        "a/w": f"a/w{EMA}",
        "lonely": f"lonely{EMA}",
    }
    assert plan.dropped == ("a/w", f"a/w{EMA}/local_step")
    with pytest.raises(CheckpointError) as caught:
        bake({"w": W}, "bake-ema")
    assert said(caught) == ["bake-ema: holds no EMA: no name ends in /ExponentialMovingAverage; names: w"]


def test_emas_under_a_scope_replace_their_variables() -> None:
    plan = bake({"a/w": W, f"avg/a/w{EMA}": W, f"avg/a/w{EMA}/local_step": (), "b": B}, "bake-ema")
    assert plan.sources == {"a/w": f"avg/a/w{EMA}", "b": "b"}
    with pytest.raises(CheckpointError) as caught:
        bake({"w": W, f"one/w{EMA}": W, f"two/w{EMA}": W}, "bake-ema")
    assert said(caught) == [f"bake-ema: 'w' has several EMA: one/w{EMA}, two/w{EMA}; remove all but one"]


def test_every_difference_between_files_to_average_is_reported() -> None:
    with pytest.raises(CheckpointError) as caught:
        same_variables({"one": {"a": W, "b": B, "c": B}, "two": {"a": B, "b": B, "d": B}}, "average")
    assert said(caught) == [
        "average: 'a' is (2, 3) in one, (3,) in two",
        "average: two has 'd', which one lacks",
        "average: two lacks 'c', which one has",
    ]


def test_names_are_selected_exactly_or_by_expression() -> None:
    assert select(["a.b", "aXb", "c"], ["a.b"], "show") == ["a.b"]
    assert select(["a.b", "aXb", "c"], ["c", "a.?b"], "show") == ["a.b", "aXb", "c"]
    with pytest.raises(CheckpointError, match=r"show: 'd' matches no name; names: a, b"):
        select(["a", "b"], ["d"], "show")
