from __future__ import annotations

import pytest

from expkit import errors
from expkit.errors import ConfigError, ExpkitError, Problem, comma_list, did_you_mean, limit_problems, unknown


def test_an_error_shows_every_problem_on_a_line_of_its_own() -> None:
    error = ConfigError(Problem("a.b", "first"), Problem("", "second"))
    assert str(error) == "a.b: first\nsecond"
    assert error.problems == (Problem("a.b", "first"), Problem("", "second"))


def test_at_makes_an_error_of_one_problem() -> None:
    error = ConfigError.at("a", "wrong")
    assert type(error) is ConfigError
    assert str(error) == "a: wrong"


def test_an_error_needs_a_problem() -> None:
    with pytest.raises(AssertionError, match="an error needs a problem"):
        ConfigError()


def test_every_error_of_the_tree_is_an_expkit_error_and_not_of_another() -> None:
    tree = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error") and name != "ExpkitError"]
    assert {cls.__mro__[1] for cls in tree} == {ExpkitError, errors.CheckpointError}
    assert [cls for cls in tree if issubclass(cls, errors.CheckpointError)] == [
        errors.CheckpointError,
        errors.DamagedCheckpointError,
    ]
    drawn = {line.split()[0] for line in (errors.__doc__ or "").splitlines() if line.startswith("  ")}
    assert drawn == {cls.__name__ for cls in tree}


@pytest.mark.parametrize(
    ("word", "hint"), [("dens", "; did you mean 'dense'?"), ("zzz", ""), ("dense", "; did you mean 'dense'?")]
)
def test_did_you_mean_offers_one_near_word_or_nothing(word: str, hint: str) -> None:
    assert did_you_mean(word, ["conv2d", "dense", "dense_2"]) == hint


def test_a_message_about_an_unknown_word_has_the_nearest_and_all_allowed_words() -> None:
    assert unknown("no layer 'dens'", "dens", ["conv2d", "dense"]) == (
        "no layer 'dens'; did you mean 'dense'? allowed: conv2d, dense"
    )
    assert unknown("no alias 'x'", "x", iter(["best"]), label="aliases", shown=["best (version 2)"]) == (
        "no alias 'x'; aliases: best (version 2)"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [([], "none"), (["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d", "e"], "a, b, c and 2 more")],
)
def test_comma_list_cuts_after_the_most(words: list[str], text: str) -> None:
    assert comma_list(words, most=3) == text


def test_problems_that_were_limited_before_are_counted_as_what_they_stand_for() -> None:
    many = [Problem(f"p{number}", "is wrong") for number in range(250)]
    once = limit_problems(many)
    assert str(once[-1]) == "and 150 more; fix these first"
    assert limit_problems(once) == once
    assert str(limit_problems([*once, *many[:5]])[-1]) == "and 155 more; fix these first"
