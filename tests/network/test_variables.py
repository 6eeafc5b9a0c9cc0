"""Which variables are made, which shared, and what rules make of them."""

from __future__ import annotations

import pytest

from expkit.kinds.initializers import Constant, GlorotUniform, Zeros
from expkit.kinds.layers.base import Regularizer
from support.networks import problems_of, spec_of

SIAMESE = """
    inputs: {left: {shape: [4]}, right: {shape: [4]}}
    layers:
      left_tower: {kind: scope, input: left, scope: tower, layers: {code: {kind: dense, units: 2}}}
      right_tower: {kind: scope, input: right, scope: tower, REUSElayers: {code: {kind: dense, units: 2}}}
      joined: {kind: concat, input: [left_tower, right_tower]}
"""


@pytest.mark.parametrize("reuse", ["reuse: true, ", "reuse: auto, "])
def test_siamese_towers_share_one_set_of_weights(reuse: str) -> None:
    spec = spec_of(SIAMESE.replace("REUSE", reuse))
    towers = ("left_tower/code", "right_tower/code")
    assert {name: variable.layers for name, variable in spec.variables.items()} == {
        "tower/code/kernel": towers,
        "tower/code/bias": towers,
    }
    assert spec.layers[0].bindings == spec.layers[1].bindings
    assert spec.output_spec("out").shape == (4,)


def test_without_reuse_the_second_tower_names_the_layer_and_who_made_the_variable() -> None:
    assert problems_of(SIAMESE.replace("REUSE", "")) == [
        "network.layers.right_tower.layers.code.reuse: layer 'right_tower/code' would create variable "
        f"'tower/code/{name}', which layer 'left_tower/code' already created; to share it set reuse: true, "
        "otherwise give the layer another scope"
        for name in ("kernel", "bias")
    ]


@pytest.mark.parametrize(("reuse", "made"), [("false", ["a/kernel", "b/kernel"]), ("auto", ["a/kernel", "b/kernel"])])
def test_a_variable_that_does_not_exist_is_made_unless_reuse_is_true(reuse: str, made: list[str]) -> None:
    spec = spec_of(f"""
        layers:
          a: {{kind: dense, units: 4, use_bias: false}}
          b: {{kind: dense, units: 4, use_bias: false, reuse: {reuse}}}
    """)
    assert list(spec.variables) == made


def test_reuse_of_unknown_scope_names_the_layer() -> None:
    assert problems_of("""
        layers:
          tower: {kind: dense, units: 4, use_bias: false, scope: tower/conv}
          other: {kind: dense, units: 4, use_bias: false}
          again: {kind: dense, units: 4, use_bias: false, scope: tower/cnov, reuse: true}
    """) == [
        "network.layers.again.reuse: reuse is true, but no earlier layer creates variable 'tower/cnov/kernel'; nearest "
        "existing scopes: 'tower/conv', 'other'; set the scope to one of them, or reuse: auto to create missing "
        "variables"
    ]


def test_reuse_with_nothing_before_says_so() -> None:
    assert problems_of("layers: {a: {kind: dense, units: 4, use_bias: false, reuse: true}}") == [
        "network.layers.a.reuse: reuse is true, but no earlier layer creates variable 'a/kernel'; nearest existing "
        "scopes: none; set the scope to one of them, or reuse: auto to create missing variables"
    ]


@pytest.mark.parametrize(
    ("first", "second", "problems"),
    [
        pytest.param(
            "units: 4",
            "units: 5, reuse: true",
            [
                "network.layers.second: shares variable 'a/kernel' but needs [4, 5] float32; layer 'first' created it "
                "with [4, 4] float32",
                "network.layers.second: shares variable 'a/bias' but needs [5] float32; layer 'first' created it "
                "with [4] float32",
            ],
            id="another shape",
        ),
        pytest.param(
            "units: 4",
            "units: 4, reuse: auto, initializer: {kernel: {kind: zeros}}, regularizer: {bias: {l1: 1.0}}",
            [
                "network.layers.second.initializer.kernel: variable 'a/kernel' is created by layer 'first'; set its "
                "initializer there",
                "network.layers.second.regularizer.bias: variable 'a/bias' is created by layer 'first'; set its "
                "regularizer there",
            ],
            id="an initializer or regularizer where nothing is made",
        ),
        pytest.param(
            "units: 4, use_bias: false",
            "units: 4, use_bias: false, reuse: true, trainable: false",
            [
                "network.layers.second.trainable: variable 'a/kernel' is created by layer 'first', which trains it; "
                "set trainable: false there"
            ],
            id="frozen where it is shared only",
        ),
    ],
)
def test_what_a_sharing_layer_cannot_ask_for(first: str, second: str, problems: list[str]) -> None:
    text = (
        f"layers: {{first: {{kind: dense, scope: a, {first}}}, second: {{kind: dense, scope: a, input: x, {second}}}}}"
    )
    assert problems_of(text) == problems


def test_a_frozen_variable_is_shared_by_layers_that_agree_and_by_those_that_say_nothing() -> None:
    spec = spec_of("""
        layers:
          a: {kind: dense, units: 4, scope: s, trainable: false}
          b: {kind: dense, units: 4, scope: s, trainable: false, reuse: true}
          c: {kind: dense, units: 4, scope: s, reuse: true}
    """)
    assert spec.trainable == ()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            "layers: {a: {kind: dense, units: 4}, A: {kind: dense, units: 4}}",
            [
                "network.layers.A: variable 'A/kernel' differs from 'a/kernel' only in upper and lower case",
                "network.layers.A: variable 'A/bias' differs from 'a/bias' only in upper and lower case",
            ],
            id="upper and lower case",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1, input: x, variables: {kernel: v, bias: v}, reuse: auto}}",
            [
                "network.layers.a: shares variable 'a/v' but needs [1] float32; layer 'a' created it with [4, 1] "
                "float32",
                "network.layers.a.variables: two variables of one layer get one name: {'kernel': 'a/v', 'bias': 'a/v'}",
            ],
            id="two variables of one layer",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1, variables: {kernl: w}, initializer: {wights: {kind: zeros}}, "
            "regularizer: {bais: {l2: 1.0}}}}",
            [
                "network.layers.a.variables.kernl: kind 'dense' has no variable 'kernl'; did you mean 'kernel'? "
                "allowed: kernel, bias",
                "network.layers.a.initializer.wights: kind 'dense' has no variable 'wights'; allowed: kernel, bias",
                "network.layers.a.regularizer.bais: kind 'dense' has no variable 'bais'; did you mean 'bias'? "
                "allowed: kernel, bias",
            ],
            id="variables that the kind does not have",
        ),
        pytest.param(
            "layers: {a: {kind: flatten, variables: {kernel: w}}}",
            ["network.layers.a.variables.kernel: kind 'flatten' has no variable 'kernel'; allowed: none"],
            id="a kind without variables",
        ),
        pytest.param(
            "{variables: {kernl: w}, layers: {a: {kind: dense, units: 1}}}",
            ["network.variables.kernl: no layer has a variable 'kernl'; did you mean 'kernel'? allowed: bias, kernel"],
            id="a name for the network that no layer uses",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1}, s: {kind: scope, layers: {t: {kind: scope, variables: {kernel: w}, "
            "layers: {b: {kind: batch_norm}}}}}}",
            [
                "network.layers.s.layers.t.variables.kernel: no layer has a variable 'kernel'; allowed: beta, gamma, "
                "moving_mean, moving_variance"
            ],
            id="a name for a scope that no layer inside uses",
        ),
    ],
)
def test_every_mistake_in_variables_is_reported_with_its_path(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


RULED = """
    rules:
      all: {variables: ".*/kernel", initializer: {kind: zeros}, regularizer: {l2: 0.5}}
      second: {variables: "b/.*", initializer: {kind: constant, value: 2.0}, trainable: false}
    layers:
      a: {kind: dense, units: 4, regularizer: {bias: {l1: 0.25}}}
      b: {kind: dense, units: 4, initializer: {kernel: {kind: ones}}}
"""


def test_rules_match_whole_names_and_later_ones_win() -> None:
    variables = spec_of(RULED).variables
    assert {name: (v.initializer, v.regularizer, v.trainable) for name, v in variables.items()} == {
        "a/kernel": (Zeros(), Regularizer(l2=0.5), True),
        "a/bias": (Zeros(), Regularizer(l1=0.25), True),
        "b/kernel": (Constant(value=2.0), Regularizer(l2=0.5), False),
        "b/bias": (Constant(value=2.0), None, False),
    }


def test_a_rule_can_train_what_a_layer_froze() -> None:
    spec = spec_of("""
        rules: {thaw: {variables: a/bias, trainable: true}}
        layers: {a: {kind: dense, units: 4, trainable: false}}
    """)
    assert spec.trainable == ("a/bias",)


def test_without_rules_the_layer_says_how_a_variable_begins() -> None:
    spec = spec_of("layers: {a: {kind: dense, units: 4, initializer: {bias: {kind: constant, value: 1.0}}}}")
    assert spec.variables["a/kernel"].initializer == GlorotUniform()
    assert spec.variables["a/bias"].initializer == Constant(value=1.0)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("a/kern", "'a/kern' matches no variable; variables: a/kernel, a/bias"),
        ("a/(", "'a/(' is not a regular expression"),
    ],
)
def test_a_rule_that_does_nothing_is_an_error(rule: str, problem: str) -> None:
    text = f"{{rules: {{mine: {{variables: {rule!r}}}}}, layers: {{a: {{kind: dense, units: 4}}}}}}"
    assert problems_of(text) == [f"network.rules.mine.variables: {problem}"]


def test_size_counts_the_numbers_of_a_variable() -> None:
    variables = spec_of("layers: {a: {kind: dense, units: 3}}").variables
    assert [variable.size for variable in variables.values()] == [12, 3]
