"""Search space from the command line."""

from __future__ import annotations

import pytest

from expkit.errors import ConfigError
from expkit.sweeps.given_overrides import parse_overrides
from expkit.sweeps.space import Categorical, Numeric, Space, space_of


def space(*words: str) -> Space:
    return space_of(parse_overrides(words))


@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("a=interval(0.001,0.1)", Numeric(low=0.001, high=0.1)),
        ("a=tag(log,interval(0.001,0.1))", Numeric(low=0.001, high=0.1, log=True)),
        ("a=int(interval(1,64))", Numeric(low=1, high=64)),
        ("a=tag(log,int(interval(1,64)))", Numeric(low=1, high=64, log=True)),
        ("a=int(tag(log,interval(1,64)))", Numeric(low=1, high=64, log=True)),
        ("a=range(1,10,2)", Numeric(low=1, high=9, step=2)),
        ("a=range(10,0,-3)", Numeric(low=1, high=10, step=3)),
        ("a=range(0.1,0.5,0.1)", Numeric(low=0.1, high=0.4, step=0.1)),
        ("a=range(3,4)", Numeric(low=3, high=3, step=1)),
        ("a=relu,tanh", Categorical(("relu", "tanh"))),
        ("a=1,0.1,1e-1,null,true,'x y'", Categorical(("1", "0.1", "null", "True", "'x y'"))),
        ("a=choice([1,2],{b:1})", Categorical(("[1,2]", "{b:1}"))),
    ],
)
def test_overrides_of_hydra_are_dimensions(word: str, dimension: object) -> None:
    assert space(word).dimensions == {"a": dimension}


def test_a_point_is_the_overrides_of_a_job() -> None:
    found = space("b=range(0.1,0.5,0.1)", "run.name='x y'", "++a=interval(0,1)", "~c", "+d=tanh,relu")
    assert list(found.dimensions) == ["a", "b", "d"]
    assert found.overrides({"a": 0.123456789012345678, "b": 0.3, "d": "relu"}) == [
        "b=0.3",
        "run.name='x y'",
        "++a=0.12345678901234568",
        "~c",
        "+d=relu",
    ]


def test_every_bound_is_checked_once_but_not_every_combination() -> None:
    found = space("a=interval(0,1)", "b=x,y,z", "c=range(3,4)")
    assert found.bounds() == [
        {"a": 0.0, "b": "x", "c": 3},
        {"a": 1.0, "b": "x", "c": 3},
        {"a": 0.0, "b": "y", "c": 3},
        {"a": 0.0, "b": "z", "c": 3},
    ]


def test_a_grid_has_every_combination_without_rounding() -> None:
    found = space("b=x,y", "a=range(0.1,0.4,0.1)")
    points = [(point["a"], point["b"]) for point in found.grid()]
    assert points == [(0.1, "x"), (0.1, "y"), (0.2, "x"), (0.2, "y"), (0.3, "x"), (0.3, "y")]
    assert found.grid_size() == len(points)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a=interval(1,0)"], "a: interval(1,0) is empty; the first number must be smaller than the second"),
        (["a=interval(2,2)"], "a: interval(2,2) is empty; the first number must be smaller than the second"),
        (["a=interval(0,inf)"], "a: an interval needs two finite numbers, not 0.0 and inf"),
        (["a=tag(log,interval(0,1))"], "a: interval(0,1) with tag(log, ...) must start above 0"),
        (["a=tag(lgo,interval(0,1))"], "a: unknown tag 'lgo'; allowed: log"),
        (["a=tag(log,choice(1,2))"], "a: tag(log, ...) takes an interval; write tag(log, interval(LOW,HIGH))"),
        (["a=range(3,3)"], "a: has no values, so the sweep is empty; give it some"),
        (["a=glob(*)"], "a: has no values, so the sweep is empty; give it some"),
        (["a=shuffle(1,2)"], "a: a search chooses the order itself; write choice(A,B) without shuffle(...)"),
        (["a=1,2", "a=3,4"], "a: is varied twice; give it one choice, range or interval"),
        (
            ["a=1"],
            "hydra/sweeper: there is nothing to search; vary a key: KEY=interval(LOW,HIGH), "
            "KEY=range(START,STOP,STEP), KEY=choice(A,B), or KEY=A,B",
        ),
    ],
)
def test_invalid_dimensions(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space(*words)
    assert str(caught.value) == said


def test_all_mistakes_of_a_space_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        space("a=interval(1,0)", "b=range(3,3)")
    assert [problem.path for problem in caught.value.problems] == ["a", "b"]
