"""Expressions in braces: Python's arithmetic, nothing else of Python, and an answer at once to the largest powers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit.network.expressions import ExpressionError, evaluated, filled, filled_text, names_in

NAMES: dict[str, Any] = {"width": 64, "rate": 0.25, "same": True, "sizes": [3, 5, 7], "word": "relu", "index": 2}
NAMES |= {"index.stage": 1}

NUMBERS = st.one_of(
    st.integers(0, 40).map(str), st.sampled_from(["width", "rate", "index", "0.5", "1e3"]), st.just("index.stage")
)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return expressions that are built from others."""
    compared = st.builds("{} {} {}".format, inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner)
    both = st.builds("({}) {} not {}".format, compared, st.sampled_from(["and", "or"]), compared)
    return st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner),
        st.builds("({} ** {})".format, inner, st.sampled_from(["2", "3", "index", "(-1)", "0.5"])),
        st.builds("-{}".format, inner),
        st.builds("({} if {} else {})".format, inner, st.one_of(compared, both), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from(["int", "round"]), inner),
        st.builds("[{}, {}][index - 1]".format, inner, inner),
    )


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.recursive(NUMBERS, larger, max_leaves=8))
def test_an_expression_has_the_value_that_python_gives_it(text: str) -> None:
    python = {**NAMES, "stage_index": 1}
    try:
        expected = eval(re.sub(r"index\.stage", "stage_index", text), {}, python)
    except (ZeroDivisionError, OverflowError):
        expected = None
    try:
        value = evaluated(text, NAMES)
    except ExpressionError as error:
        limited = "too large" in str(error) or "is not a number" in str(error)  # perhaps on the way to the value
        if not limited and expected is not None:
            raise
        return
    assert (type(value), value) == (type(expected), expected), text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{width}", 64),
        ("{ width * 2 }", 128),
        ("{width / 2}", 32.0),
        ("{same}", True),
        ("{not same}", False),
        ("{sizes}", [3, 5, 7]),
        ("{sizes[index]}", 7),
        ("{[64, 128][index.stage]}", 128),
        ("{[width, [index, 'a']]}", [64, [2, "a"]]),
        ("{word}", "relu"),
        ("{'same' if index == 2 else 'valid'}", "same"),
        ("{null}", None),
        ("{true}", True),
        ("unit_{index + 1}/{word}_{rate}_{same}", "unit_3/relu_0.25_true"),
        ("{{index}}", "{index}"),
        ("{{{index}}}", "{2}"),
        ("a{{1,3}}{index}", "a{1,3}2"),
        ("", ""),
    ],
)
def test_a_text_is_filled_in(text: str, value: object) -> None:
    result = filled(text, NAMES)
    assert (type(result), result) == (type(value), value)


ALLOWED = (
    "allowed: numbers, quoted text, true, false, null, lists, names, + - * / // % **, == != < <= > >=, and, or, not, "
    "A if C else B, LIST[I], int, max, min, round"
)
KNOWN = "allowed: width, rate, same, sizes, word, index, index.stage"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{widht}", f"'{{widht}}': unknown name 'widht'; did you mean 'width'? {KNOWN}"),
        ("{index.stag}", f"'{{index.stag}}': unknown name 'index.stag'; did you mean 'index.stage'? {KNOWN}"),
        ("{width // (index - 2)}", "'{width // (index - 2)}' divides by zero"),
        ("{5 % 0}", "'{5 % 0}' divides by zero"),
        ("{0 ** -1}", "'{0 ** -1}' divides by zero"),
        ("{word * 2}", "'{word * 2}': needs a number, got 'relu' (text)"),
        ("{same + 1}", "'{same + 1}': needs a number, got true"),
        ("{1 if width else 2}", "'{1 if width else 2}': a condition is true or false, got 64"),
        ("{sizes[3]}", "'{sizes[3]}': [3] is outside of a list of 3, whose items are counted from 0"),
        ("{sizes[-1]}", "'{sizes[-1]}': [-1] is outside of a list of 3, whose items are counted from 0"),
        ("{sizes[rate]}", "'{sizes[rate]}': [...] needs a whole number, got 0.25"),
        ("{width[0]}", "'{width[0]}': [...] chooses from a list, got 64"),
        ("a{sizes}", "'{sizes}' is a list of 3, which cannot be part of a text"),
        ("{True}", "'{True}': write true, not True"),
        ("{None}", "'{None}': write null, not None"),
        ("{}", f"'{{}}' is empty; {ALLOWED}; for braces write '{{{{' and '}}}}'"),
        ("{2 +}", f"'{{2 +}}' is not an expression; {ALLOWED}; for braces write '{{{{' and '}}}}'"),
        ("{width:d}", f"'{{width:d}}' is not an expression; {ALLOWED}; for braces write '{{{{' and '}}}}'"),
        ("a{2,3}", f"'{{2,3}}': '(2, 3)' is not allowed; {ALLOWED}"),
        ("{index is 2}", f"'{{index is 2}}': 'is' and 'in' are not allowed; {ALLOWED}"),
        ("{word.upper()}", f"'{{word.upper()}}': 'word.upper()' is not allowed; {ALLOWED}"),
        ("{width.real}", f"'{{width.real}}': 'width.real' is not allowed; {ALLOWED}"),
        ("{index.stage.real}", f"'{{index.stage.real}}': 'index.stage.real' is not allowed; {ALLOWED}"),
        ("{__import__('os')}", f"'{{__import__('os')}}': '__import__('os')' is not allowed; {ALLOWED}"),
        ("{lambda: 1}", f"'{{lambda: 1}}': 'lambda: 1' is not allowed; {ALLOWED}"),
        ("{max(*sizes)}", f"'{{max(*sizes)}}': '*sizes' is not allowed; {ALLOWED}"),
        ("{round(1.5, 1)}", "'{round(1.5, 1)}': round takes one number, got 2"),
        ("{(-8) ** 0.5}", "'{(-8) ** 0.5}': a root of a negative number is not a number"),
        ("a{", "'a{': a '{' without '}'; write '{{' for a brace"),
        ("a}b", "'a}b': a '}' without '{'; write '}}' for a brace"),
    ],
)
def test_what_is_no_expression_is_explained(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        filled(text, NAMES)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    ["9**9**9", "9**999999999", "2**63", "(2**62) * 4", "9.0**9999", "1e308 * 10", "int(1e300)", "1e999", "-(2**63)"],
)
def test_a_number_beyond_63_bits_or_a_float_is_refused_before_it_is_computed(text: str) -> None:
    with pytest.raises(ExpressionError, match="has a number that is too large"):
        evaluated(text, {})


def test_long_expressions_and_long_texts_are_refused() -> None:
    with pytest.raises(ExpressionError, match="an expression may have 500 characters"):
        evaluated("1" + "+1" * 300, {})
    for deep in ("(" * 240 + "1" + ")" * 240, "-" * 490 + "1", "not " * 120 + "true", "[" * 240 + "]" * 240):
        try:
            evaluated(deep, {})
        except ExpressionError:
            continue
    with pytest.raises(ExpressionError, match="more than 10,000 characters"):
        filled_text("{word}" * 3000, NAMES)


def test_the_names_of_a_text() -> None:
    assert names_in("a_{width * index.stage}/{sizes[index]}") == {"width", "index.stage", "sizes", "index"}
    assert names_in("{{width}} {2 +} {index.stage}") == {"index.stage"}
