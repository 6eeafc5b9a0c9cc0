from __future__ import annotations

import pytest

from expkit.network.names import Reuse, absolute, ema_name, inherit, is_name, is_path, join, name_seed


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("a", True),
        ("A9_.-z", True),
        ("9a", True),
        (".a", True),
        ("_a", False),
        ("-a", False),
        ("", False),
        (".", False),
        ("..", False),
        ("a b", False),
        ("a/b", False),
        ("ä", False),
        ("a\n", False),
    ],
)
def test_a_name_is_what_tensorflow_takes_but_no_folder_above(word: str, right: bool) -> None:
    assert is_name(word) is right


def test_a_name_inside_a_scope_may_begin_with_an_underscore() -> None:
    assert is_name("_a", inside=True)
    assert not is_name("-a", inside=True)
    assert is_path("a/_b")
    assert not is_path("_a/b")
    assert is_path("_a/b", inside=True)


@pytest.mark.parametrize(
    ("words", "right"),
    [("a", True), ("a/b/c", True), ("/a", False), ("a/", False), ("a//b", False), ("a/../b", False), ("", False)],
)
def test_a_path_is_names_between_slashes(words: str, right: bool) -> None:
    assert is_path(words) is right


@pytest.mark.parametrize(
    ("scope", "name", "joined"),
    [("a", "b", "a/b"), ("", "b", "b"), ("a", "", "a"), ("", "", ""), ("a/b", "c/d", "a/b/c/d")],
)
def test_join_puts_one_slash_between_what_is_there(scope: str, name: str, joined: str) -> None:
    assert join(scope, name) == joined


@pytest.mark.parametrize(
    ("parent", "scope", "full"),
    [("a", "b", "a/b"), ("a", "", "a"), ("a", "/b", "b"), ("a", "/", ""), ("", "b", "b"), ("a/b", "/c/d", "c/d")],
)
def test_a_scope_is_relative_unless_it_begins_with_a_slash(parent: str, scope: str, full: str) -> None:
    assert absolute(parent, scope) == full


@pytest.mark.parametrize(
    ("parent", "own", "inside", "inside_from_root"),
    [
        ("false", "false", "false", "false"),
        ("false", "true", "true", "true"),
        ("false", "auto", "auto", "auto"),
        ("true", "false", "true", "false"),
        ("true", "true", "true", "true"),
        ("true", "auto", "auto", "auto"),
        ("auto", "false", "auto", "false"),
        ("auto", "true", "true", "true"),
        ("auto", "auto", "auto", "auto"),
    ],
)
def test_false_inherits_and_the_others_replace(
    parent: Reuse, own: Reuse, inside: Reuse, inside_from_root: Reuse
) -> None:
    assert inherit(parent, own) == inside
    assert inherit(parent, own, from_root=True) == inside_from_root


def test_shadow_is_named_as_tensorflow_names_it() -> None:
    assert ema_name("a/kernel") == "a/kernel/ExponentialMovingAverage"


def test_name_seed_is_a_promise() -> None:
    assert name_seed("layer1/kernel") == 1488743631
    assert name_seed("") == 0
    assert all(0 <= name_seed(f"layer{i}/kernel") < 2**31 for i in range(100))
